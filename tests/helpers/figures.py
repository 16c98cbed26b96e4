"""What tests ask of a figure's file."""

from pathlib import Path

import numpy as np
from PIL import Image


def has_ink_at_its_edge(path: Path) -> bool:
    """Whether something reaches the edge of a picture on white, so that it may be cut there."""
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("L"))
    return bool(min(pixels[0].min(), pixels[-1].min(), pixels[:, 0].min(), pixels[:, -1].min()) < 255)
