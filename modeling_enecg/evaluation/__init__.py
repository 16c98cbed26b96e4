"""From predictions to metrics with intervals, figures and a model card."""

from .metrics import bootstrap_scores, multilabel_scores
from .regression import regression_scores
from .scoring import evaluate_task, score_predictions
from .singlelabel import singlelabel_scores

__all__ = [
    "bootstrap_scores",
    "evaluate_task",
    "multilabel_scores",
    "regression_scores",
    "score_predictions",
    "singlelabel_scores",
]
