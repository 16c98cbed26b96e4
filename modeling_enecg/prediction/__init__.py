"""Prediction: of one recording, of a dataset, and of labelled records."""

from .predictor import Predictor, leading_findings

__all__ = ["Predictor", "leading_findings"]
