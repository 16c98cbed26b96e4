"""The findings of a model in one recording."""

import numpy as np
import pytest

from modeling_enecg.decisions import recording_findings
from modeling_enecg.findings import Findings, Note, leading_findings
from modeling_enecg.signal_quality import SignalQuality
from modeling_enecg.tasks import Task


def finding(label, score, present):
    return {"label": label, "score": score, "present": present}


@pytest.mark.parametrize(("missing", "has_interval"), [([], True), (["V1"], False)])
def test_intervals_and_sets_are_given_of_whole_recordings_alone(missing, has_interval):
    tasks = {
        "age": Task("age", "regression", conformal={"coverage": 0.9, "half_widths": [5.0]}),
        "sex": Task("sex", "single_label_classification", ["f", "m"], conformal={"coverage": 0.9, "quantile": 0.7}),
    }
    outputs = {"logits.age": np.array([60.0]), "logits.sex": np.array([0.0, 1.0])}
    outputs |= {f"gate_weights.{name}": np.ones(1) for name in tasks}
    note = Note(SignalQuality("ok", [], {}), ["I"], missing, {})
    found = recording_findings(tasks, ["only"], note, outputs)
    assert ({"lower", "upper"} <= found["age"][0].keys()) == has_interval
    assert all(("possible" in each) == has_interval for each in found["sex"])


@pytest.mark.parametrize("order", [("coarse", "fine"), ("fine", "coarse")])
def test_a_label_of_several_tasks_leads_where_it_ranks_highest(order):
    tasks = {
        "coarse": [finding("STTC", 0.9, True), finding("NORM", 0.2, False)],
        "fine": [finding("STTC", 0.1, False), finding("NORM", 0.3, False), finding("LVH", 0.4, True)],
    }
    found = Findings({name: tasks[name] for name in order}, SignalQuality("ok", [], {}), [], [], {}, {})
    leading = [(each["label"], each["score"]) for each in leading_findings(found)]
    assert leading == [("STTC", 0.9), ("LVH", 0.4), ("NORM", 0.3)]
    assert len(leading_findings(found, limit=2)) == 2
