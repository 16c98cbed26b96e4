"""Published checkpoints of the backbones, brought into this package's form."""

from .checkpoint import read_checkpoint
from .convert import CONVERTERS, ConversionError, Converter, convert_checkpoint

__all__ = ["CONVERTERS", "ConversionError", "Converter", "convert_checkpoint", "read_checkpoint"]
