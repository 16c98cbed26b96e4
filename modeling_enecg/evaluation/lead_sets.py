"""The worth of a model, by the test of its own run, on leads such as a recording has."""

from collections.abc import Mapping, Sequence

import numpy as np

from ..configuration_enecg import Task
from ..leads import ALL_LEADS, LEAD_SETS
from ..leads import missing_leads as leads_missing_of
from .metrics import main_metric, metric_title


def worth_on_leads(task: Task, missing_leads: Sequence[str]) -> str:
    """Return the main score of a task on a recording's leads, in words; an empty text where no lead is missing.

    Args:
        task (`Task`): The task, with the scores that its run measured.
        missing_leads (`Sequence[str]`): The standard leads that the recording neither holds nor gives by calculation.
    """
    if not missing_leads:
        return ""
    measured = task.measured or {}
    lead_set = _lead_set_without(missing_leads)
    whole = f"; on {ALL_LEADS}: {_words(task, measured[ALL_LEADS])}" if ALL_LEADS in measured else ""
    if lead_set not in measured:
        return f"never measured on these leads{whole}"
    return f"measured on {lead_set}: {_words(task, measured[lead_set])}{whole}"


def _lead_set_without(missing: Sequence[str]) -> str | None:
    """Return the set of leads that lacks just these."""
    for name, leads in LEAD_SETS.items():
        if set(leads_missing_of(np.zeros((len(leads), 1)), leads)) == set(missing):
            return name
    return None


def _words(task: Task, scores: Mapping[str, float]) -> str:
    metric = main_metric(task)
    return f"{metric_title(metric)} {scores[metric]:.3f}" if metric in scores else f"no {metric_title(metric)}"


__all__ = ["worth_on_leads"]
