"""Prediction: of one recording, of a dataset, and of labelled records."""

from ..findings import leading_findings
from .predictor import Predictor

__all__ = ["Predictor", "leading_findings"]
