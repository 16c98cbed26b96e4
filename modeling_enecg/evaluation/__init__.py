from .metrics import bootstrap_scores, multilabel_scores
from .regression import regression_scores
from .singlelabel import singlelabel_scores

__all__ = ["bootstrap_scores", "multilabel_scores", "regression_scores", "singlelabel_scores"]
