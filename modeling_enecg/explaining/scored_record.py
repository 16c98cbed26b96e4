"""A recording as a model sees it, on one grid of leads and moments, with parts of it made flat at will.

Experts take inputs of different leads, rates and lengths, and long recordings several windows. What is explained is
one number, the output's mean over the windows; what explains it is one grid over all of that: a row per standard lead,
a column per 10 ms.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch

from ..feature_extraction_ecg import ECGFeatureExtractor
from ..feature_extraction_enecg import EnECGFeatureExtractor
from ..judged_recording import JudgedRecording
from ..leads import STANDARD_LEADS
from ..modeling_enecg import EnECGModel
from ..pipeline_ecg import cast_signal, flat_inputs, nested_inputs

CELL_S = 0.01  # a column of the grid
GATE_INPUT, VALUES, MASK = "gate_values", "input_values_", "input_mask_"


@dataclass(frozen=True)
class Output:
    """One output of a model.

    Attributes:
        task (`str`): The task.
        index (`int`): Its output.
    """

    task: str
    index: int


@dataclass(frozen=True, eq=False)
class _View:
    """Where one input of a window lies on the grid.

    Attributes:
        rows (`np.ndarray`): The grid's row of each of its leads.
        edges (`np.ndarray`): When each sample begins and the last one ends, in seconds of the recording.
        is_recorded (`np.ndarray` of shape `(num_leads, num_samples)`): Whether a sample was recorded.
    """

    rows: np.ndarray
    edges: np.ndarray
    is_recorded: np.ndarray

    def columns(self, num_columns: int) -> np.ndarray:
        """Return the grid's column of each sample's middle."""
        middles = (self.edges[:-1] + self.edges[1:]) / 2
        return np.clip((middles / CELL_S).astype(int), 0, num_columns - 1)


class ScoredRecord:
    """A recording, and one output of a model for it as a function of what of the recording is left.

    What is removed is replaced by the baseline: each lead's median in the model's input, its isoelectric line.

    Args:
        model ([`EnECGModel`]): In eval mode.
        extractor: Its feature extractor.
        judged ([`JudgedRecording`]): The recording, cut into windows.
        num_samples (`int`): Of the whole recording.
        output ([`Output`]): What is explained.
        batch_size (`int`, *optional*, defaults to 16): Windows computed at once.

    Attributes:
        lead_names (`list[str]`): The grid's rows, as far as the model reads them and they were recorded.
        num_columns (`int`): The grid's columns, of `CELL_S` seconds each.
        is_seen (`np.ndarray` of shape `(num_leads, num_columns)`): Which cells some input of the model holds.
    """

    def __init__(
        self,
        model: EnECGModel,
        extractor: ECGFeatureExtractor | EnECGFeatureExtractor,
        judged: JudgedRecording,
        num_samples: int,
        output: Output,
        batch_size: int = 16,
    ):
        self.model, self.output, self.batch_size = model, output, batch_size
        self._judged = judged
        rate, names = judged.sampling_rate, judged.lead_names
        self.windows = [
            self._on_device(flat_inputs(extractor(each, rate, names, return_tensors="pt"))) for each in judged.signals
        ]
        extractors = _extractors(extractor)
        recorded = [_recorded(window, extractors) for window in self.windows]
        there = {lead for window in recorded for leads in window.values() for lead in leads[0]}
        self.lead_names = [lead for lead in STANDARD_LEADS if lead in there]
        self.num_columns = int(np.ceil(round(num_samples / rate / CELL_S, 6)))
        self.views = [self._views(index, window, extractors) for index, window in enumerate(recorded)]
        self.is_seen = self._seen()
        self.baselines = [
            {name: _baseline(window[name], view) for name, view in views.items()}
            for window, views in zip(self.windows, self.views, strict=True)
        ]

    def with_model(self, model: EnECGModel) -> "ScoredRecord":
        """Return the same recording before another model of the same inputs, device and type."""
        other = copy(self)
        other.model = model
        return other

    def with_output(self, index: int) -> "ScoredRecord":
        """Return the same recording with another output of the task explained."""
        other = copy(self)
        other.output = Output(self.output.task, index)
        return other

    def logits(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the output of a batch of windows, `(batch_size,)`; of a regression in the target's own unit."""
        found = self.model(**nested_inputs(inputs)).logits[self.output.task]
        return found[:, self.output.index].float()

    @torch.inference_mode()
    def all_logits(self) -> np.ndarray:
        """Return the mean over the windows of all outputs of the task."""
        logits = [self.model(**nested_inputs(window)).logits[self.output.task][0] for window in self.windows]
        return torch.stack(logits).float().mean(dim=0).cpu().numpy()

    @torch.inference_mode()
    def scores(self, removals: Iterable[np.ndarray]) -> np.ndarray:
        """Return the output with parts of the recording removed.

        Args:
            removals (`Iterable[np.ndarray]`): Of shape `(num_leads, num_columns)`, True for the cells to remove.

        Returns:
            `np.ndarray`: A number each.
        """
        parts, source = [], iter(removals)
        while batch := list(islice(source, self.batch_size)):
            parts.append(sum(self._scores(index, batch) for index in range(len(self.windows))) / len(self.windows))
        return np.concatenate(parts)

    def _scores(self, index: int, removals: Sequence[np.ndarray]) -> np.ndarray:
        window, stacked = self.windows[index], np.stack(removals)
        inputs = {name: each.expand(len(removals), *each.shape[1:]) for name, each in window.items()}
        for name, view in self.views[index].items():
            columns = view.columns(self.num_columns)
            is_removed = stacked[:, view.rows[:, None], columns[None]] & view.is_recorded
            mask = torch.from_numpy(is_removed).to(window[name].device)
            inputs[name] = torch.where(mask, self.baselines[index][name], window[name])
        return self.logits(inputs).cpu().numpy().astype(np.float64)

    def on_grid(self, index: int, name: str, values: np.ndarray) -> np.ndarray:
        """Spread what belongs to the samples of one input over the grid's cells; the sum stays.

        Args:
            index (`int`): The window.
            name (`str`): The input.
            values (`np.ndarray` of shape `(num_leads, num_samples)`): A number per sample.

        Returns:
            `np.ndarray` of shape `(num_leads, num_columns)`.
        """
        view, grid = self.views[index][name], np.zeros((len(self.lead_names), self.num_columns))
        borders = np.arange(self.num_columns + 1) * CELL_S
        borders[0], borders[-1] = min(0.0, view.edges[0]), max(borders[-1], view.edges[-1])
        for row, of_lead in zip(view.rows, np.where(view.is_recorded, values, 0.0), strict=True):
            summed = np.concatenate([[0.0], np.cumsum(of_lead, dtype=np.float64)])
            grid[row] += np.diff(np.interp(borders, view.edges, summed))
        return grid

    def _on_device(self, inputs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {name: cast_signal(each, self.model.dtype).to(self.model.device) for name, each in inputs.items()}

    def _views(
        self,
        index: int,
        recorded: Mapping[str, tuple[list[str], np.ndarray]],
        extractors: Mapping[str, ECGFeatureExtractor],
    ) -> dict[str, _View]:
        """Return where the inputs of a window lie; only leads that were recorded have a row."""
        judged, views = self._judged, {}
        for name, (leads, is_recorded) in recorded.items():
            extractor = extractors[name]
            skipped = extractor.skipped_seconds(judged.signals[index].shape[1], judged.sampling_rate)
            start = judged.starts[index] / judged.sampling_rate + skipped
            edges = start + np.arange(is_recorded.shape[1] + 1) / extractor.sampling_rate
            # A lead that was not recorded has no cell; whatever row stands for it, nothing of it is touched.
            rows = [self.lead_names.index(lead) if lead in leads else 0 for lead in extractor.lead_names]
            views[name] = _View(np.array(rows), edges, is_recorded)
        return views

    def _seen(self) -> np.ndarray:
        is_seen = np.zeros((len(self.lead_names), self.num_columns), dtype=bool)
        for index, views in enumerate(self.views):
            for name, view in views.items():
                is_seen |= self.on_grid(index, name, view.is_recorded.astype(float)) > 1e-9
        return is_seen


def _extractors(extractor: ECGFeatureExtractor | EnECGFeatureExtractor) -> dict[str, ECGFeatureExtractor]:
    """Return the feature extractor of each input by its name in a flat batch."""
    if isinstance(extractor, ECGFeatureExtractor):
        return {f"{VALUES}0": extractor}
    by_input = {f"{VALUES}{index}": each for index, each in enumerate(extractor.extractors().values())}
    gate = extractor.gate_extractor()
    return by_input if gate is None else by_input | {GATE_INPUT: gate}


def _recorded(
    window: Mapping[str, torch.Tensor], extractors: Mapping[str, ECGFeatureExtractor]
) -> dict[str, tuple[list[str], np.ndarray]]:
    """Return of each input the leads that were recorded, and which samples were."""
    lead_mask = window["lead_mask"][0].cpu().numpy()
    recorded = {}
    for name, extractor in extractors.items():
        names = STANDARD_LEADS if len(lead_mask) == len(STANDARD_LEADS) else extractor.lead_names
        there = {lead for lead, is_there in zip(names, lead_mask, strict=True) if is_there}
        leads = [lead for lead in extractor.lead_names if lead in there]
        is_lead = np.array([lead in there for lead in extractor.lead_names])
        mask = window.get(name.replace(VALUES, MASK))
        num_samples = window[name].shape[-1]
        is_sample = np.ones(num_samples, bool) if mask is None or name == GATE_INPUT else mask[0].cpu().numpy()
        recorded[name] = (leads, is_lead[:, None] & is_sample)
    return recorded


def _baseline(values: torch.Tensor, view: _View) -> torch.Tensor:
    """Return an input in which every recorded sample is its lead's median, `(1, num_leads, num_samples)`."""
    given = values[0].float().cpu().numpy()
    samples = np.where(view.is_recorded, given, np.nan)
    flat = given.copy()
    for row, of_lead in enumerate(samples):
        if view.is_recorded[row].any():
            flat[row, view.is_recorded[row]] = np.nanmedian(of_lead)
    return torch.from_numpy(flat)[None].to(values)


def batches(number: int, size: int) -> Iterator[slice]:
    """Yield slices of at most `size` that cover `number`."""
    for start in range(0, number, size):
        yield slice(start, min(start + size, number))


__all__ = ["CELL_S", "Output", "ScoredRecord", "batches"]
