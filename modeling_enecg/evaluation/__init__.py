"""From predictions to metrics with intervals: arrays in, numbers out."""

from .bootstrap import Bootstrap
from .multilabel import bootstrap_scores, multilabel_scores
from .regression import regression_scores
from .scored import Scored
from .scoring import evaluate_task, score_predictions
from .singlelabel import singlelabel_scores

__all__ = [
    "Bootstrap",
    "Scored",
    "bootstrap_scores",
    "evaluate_task",
    "multilabel_scores",
    "regression_scores",
    "score_predictions",
    "singlelabel_scores",
]
