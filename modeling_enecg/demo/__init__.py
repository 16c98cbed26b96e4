"""What the demo page shows, as HTML: recordings in, findings, explanations and neighbours out. `app.py` serves it."""

from .demo import Demo
from .uploads import Recording, read_uploads, simulate

__all__ = ["Demo", "Recording", "read_uploads", "simulate"]
