"""The records of a table of features that are most like a recording, as HTML."""

import os.path
from pathlib import Path
from typing import Any

from ..prediction import Predictor
from ..prediction.embedder import Embedder
from ..prediction.embeddings import read_embeddings
from ..recording import ECGRecord
from .cards import card_html, row_html

NUM_NEIGHBOURS = 5


class Neighbours:
    """The records of a table that `enecg embed` wrote, ready to be compared with.

    Args:
        predictor ([`Predictor`]): The model that made the table.
        table (`str` or `Path`): The table.

    Raises:
        FileNotFoundError: if there is no such table.
        ValueError: if another model made it, or it is none.
    """

    def __init__(self, predictor: Predictor, table: str | Path):
        self._known, self._embedder = read_embeddings(table), Embedder(predictor)
        self._known.check_made_by(self._embedder)
        names = [str(each) for each in self._known.ids]
        self._root = os.path.commonpath([os.path.dirname(name) for name in names])

    def html(self, record: ECGRecord) -> str:
        """Return a card with the most similar records, and what the table knows of them."""
        similar = self._known.most_similar(self._embedder, record, NUM_NEIGHBOURS, force=True)
        rows = [
            row_html(self._name(each), max(cosine, 0.0), f"{cosine:.3f}", self._known.describe(each))
            for each, cosine in similar
        ]
        title = f"Most similar of {len(self._known.ids)} records"
        return card_html(title, f"<table>{''.join(rows)}</table>", "neighbours")

    def _name(self, record_id: Any) -> str:
        """Return a record's name without the folder that all are in, which is nobody's business."""
        return os.path.relpath(str(record_id), self._root) if self._root else str(record_id)


__all__ = ["Neighbours"]
