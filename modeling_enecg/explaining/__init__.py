"""Explanations of one output for one recording, each with its controls: a model and arrays in, numbers out."""

from .explanation import Explanation, explain

__all__ = ["Explanation", "explain"]
