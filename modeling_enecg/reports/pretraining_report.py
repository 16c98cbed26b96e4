"""The artefacts of a pre-training: its curves, the backbone's card, and `metrics.json`."""

from collections.abc import Mapping, Sequence
from typing import Any

from ..figures.pretraining import plot_pretraining
from ..hub.card import pretraining_card
from ..runs.files import write_text
from ..runs.info import RunInfo
from ..runs.run import METRICS, RUN_INFO, Run

CURVES = "pretraining.png"


def write_pretraining_report(
    run: Run,
    info: RunInfo,
    log: Sequence[Mapping[str, Any]],
    metrics: Mapping[str, Any],
    collapse_rank: float,
) -> None:
    """Write `run_info.json`, `figures/`, `README.md` and, last of all, `metrics.json`.

    Args:
        run (`Run`): The run, whose folder holds the backbone.
        info (`RunInfo`): How the run was made.
        log (`Sequence[Mapping]`): The trainer's log.
        metrics (`Mapping[str, Any]`): The content of `metrics.json`.
        collapse_rank (`float`): Features of a lower effective rank have collapsed.
    """
    run.write(RUN_INFO, info.to_dict())
    plot_pretraining(log, collapse_rank, run.figures / CURVES)
    figures = [f"{run.figures.name}/{CURVES}"]
    write_text(run.card, pretraining_card(run.config, info, log, metrics["pretraining"], collapse_rank, figures))
    run.write(METRICS, metrics)


__all__ = ["write_pretraining_report"]
