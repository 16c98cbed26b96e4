"""The findings of a model in one recording."""

import pytest

from modeling_enecg.findings import Findings, leading_findings
from modeling_enecg.signal_quality import SignalQuality


def finding(label, score, present):
    return {"label": label, "score": score, "present": present}


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
