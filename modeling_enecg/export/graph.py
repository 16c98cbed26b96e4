"""Writing a model as an ONNX file, and seeing that the graph computes what the model does."""

import json
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path

import numpy as np
import onnx
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic
from torch import nn

from ..leads import STANDARD_LEADS
from ..modeling_enecg import EnECGModel
from ..pipeline_ecg import named_outputs
from ..runs.files import new_file
from ..version import __version__
from .inputs import MASK, VALUES, Extractor, input_names, named_inputs, view_names
from .onnx_model import METADATA_KEY, Meaning, OnnxModel

MOST_BYTES = 2 * 1024**3  # of a protobuf message, which an ONNX file is
TOLERANCE = 1e-4
NOISE_HZ = 500


def export_model(model: EnECGModel, extractor: Extractor, file: str | Path, int8: bool = False) -> Path:
    """Write a model with its pre-processing, tasks and decisions into one ONNX file.

    The graph takes what `named_inputs` gives, in batches of any size, and gives what `named_outputs` does. It is run
    on random records beside the model before the file is there.

    Args:
        model ([`EnECGModel`]): The model; it stays as it is.
        extractor ([`ECGFeatureExtractor`] or [`EnECGFeatureExtractor`]): Its feature extractor.
        file (`str` or `Path`): Where to write.
        int8 (`bool`, *optional*, defaults to False): Keep weights in 8 bits, and compute with 8-bit activations whose
            range is taken from each input (dynamic quantisation). What that loses is for `compare` to measure.

    Returns:
        `Path`: The file.

    Raises:
        ValueError: if the weights are too large for one file, or the graph does not equal the model within 1e-4.
    """
    size = sum(each.numel() for each in model.state_dict().values()) * torch.float32.itemsize
    if size >= MOST_BYTES:
        raise ValueError(f"The weights take {size / 1024**3:.1f} GB; an ONNX file holds less than 2 GB.")
    model = deepcopy(model).float().cpu().eval()
    graph, names = _Graph(model, view_names(extractor)).eval(), input_names(extractor)
    with new_file(file) as aside:
        with _quiet(), torch.no_grad():
            inputs = _noise(extractor, num_records=2)
            batch = torch.export.Dim("batch_size")
            program = torch.onnx.export(
                graph,
                kwargs={"inputs": inputs},
                dynamo=True,
                dynamic_shapes={"inputs": {name: {0: batch} for name in names}},
                input_names=names,
                output_names=list(graph(inputs)),
                verbose=False,
            )
        assert program is not None  # as it is with dynamo
        written = program.model_proto
        onnx.helper.set_model_props(written, {METADATA_KEY: _meaning(model, extractor).to_json()})
        onnx.save(written, aside)
        _check_equal(graph, OnnxModel(aside), _noise(extractor, num_records=3))
        if int8:
            _quantise(aside)
    return Path(file)


class _Graph(nn.Module):
    """The model from named tensors to named tensors."""

    def __init__(self, model: EnECGModel, views: list[str]):
        super().__init__()
        self.model, self.views = model, views

    def forward(self, inputs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        values, masks = ([inputs[f"{kind}{view}"] for view in self.views] for kind in (VALUES, MASK))
        is_one = len(self.views) == 1
        return named_outputs(
            self.model,
            input_values=values[0] if is_one else values,
            lead_mask=inputs["lead_mask"],
            input_mask=masks[0] if is_one else masks,
            gate_values=inputs.get("gate_values"),
        )


def _meaning(model: EnECGModel, extractor: Extractor) -> Meaning:
    settings = json.loads(extractor.to_json_string())
    quantiles = None if model.novelty is None else model.novelty.quantiles.double().tolist()
    tasks = [task.to_dict() for task in model.tasks.values()]
    return Meaning(settings, tasks, list(model.experts), __version__, quantiles)


def _noise(extractor: Extractor, num_records: int) -> dict[str, torch.Tensor]:
    """Return records of noise, of which the second lacks a lead and the third is padded."""
    samples = round(extractor.window_seconds() * NOISE_HZ)
    signals = list(np.random.default_rng(0).normal(size=(num_records, len(STANDARD_LEADS), samples)) ** 3 / 4)
    signals[1][-1] = np.nan
    signals[2:] = [signal[:, : samples * 3 // 4] for signal in signals[2:]]
    batch = extractor(signals, NOISE_HZ, STANDARD_LEADS, return_tensors="np")
    return {name: torch.from_numpy(values) for name, values in named_inputs(extractor, batch).items()}


def _check_equal(graph: _Graph, exported: OnnxModel, inputs: Mapping[str, torch.Tensor]) -> None:
    """Refuse a file that gives other numbers than the model."""
    with torch.inference_mode():
        wanted = graph(inputs)
    given = exported({name: values.numpy() for name, values in inputs.items()})
    for name, values in given.items():
        expected = wanted[name].numpy()
        if not np.allclose(values, expected, rtol=TOLERANCE, atol=TOLERANCE):
            largest = float(np.abs(values - expected).max())
            raise ValueError(f"The graph's {name} differs by up to {largest:.2g} from the model's.")


def _quantise(file: Path) -> None:
    """Keep the weights of a file in 8 bits."""
    with _quiet():
        # Unsigned, because onnxruntime has no signed convolution on CPUs.
        quantize_dynamic(file, file, weight_type=QuantType.QUInt8)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's notes on its progress and on packages that are not needed from the terminal."""
    logger = logging.getLogger("torch.onnx")
    root, levels = logging.getLogger(), (logging.getLogger().level, logger.level)
    logger.setLevel(logging.ERROR)
    root.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        root.setLevel(levels[0])
        logger.setLevel(levels[1])


__all__ = ["TOLERANCE", "export_model"]
