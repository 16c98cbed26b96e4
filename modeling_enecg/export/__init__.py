"""ONNX files: a model with all that prediction needs, for machines without torch."""

from .inputs import input_names, named_inputs
from .onnx_model import OnnxModel
from .predictor import OnnxPredictor

__all__ = ["OnnxModel", "OnnxPredictor", "input_names", "named_inputs"]
