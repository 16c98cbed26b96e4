"""A run that an earlier version finished, on simulated records, reads and predicts as ever."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoFeatureExtractor, AutoModel

from modeling_enecg.runs.run import Run

FINISHED = Path(__file__).parents[1] / "fixtures" / "finished_run"


def test_its_description_predictions_and_scores_are_read():
    run = Run(FINISHED)
    assert list(run.info.stages) == ["linear_probing", "post_training"]
    assert run.info.dataset.num_records == {"train": 95, "validation": 12, "test": 13}
    assert [task.name for task in run.tasks] == ["superdiagnostic", "age"]
    assert {split: len(predictions.records) for split, predictions in run.splits.items()} == {
        "validation": 12,
        "test": 13,
    }
    assert set(run.metrics) >= {"validation", "test"}
    assert run.history("post_training")["best_epoch"] == 1


def test_its_model_gives_the_logits_that_it_gave():
    model, extractor = AutoModel.from_pretrained(FINISHED), AutoFeatureExtractor.from_pretrained(FINISHED)
    signal = np.random.default_rng(0).normal(size=(12, 5000))
    with torch.inference_mode():
        logits = model(**extractor(signal, sampling_rate=500, return_tensors="pt")).logits
    wanted = json.loads((FINISHED / "logits.json").read_text())
    assert {name: each.tolist() for name, each in logits.items()} == {
        name: [pytest.approx(row, abs=1e-4) for row in rows] for name, rows in wanted.items()
    }


def test_a_report_is_made_of_it(tmp_path, run):
    folder = shutil.copytree(FINISHED, tmp_path / "run")
    run("report", folder)
    assert "superdiagnostic" in (folder / "report" / "report.html").read_text()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"num_parameters": "many"}, "num_parameters of its description is 'many'; expected int"),
        ({"dataset": {"name": ["a"], "sampling_rate": 100, "num_records": {}}}, r"name of its description is \['a'\]"),
        ({"stages": {"linear_probing": {"num_trainable": None}}}, "its description lacks something"),
        ({"experts": []}, r"experts of its description is \[\]; expected dict"),
    ],
)
def test_a_description_that_somebody_damaged_is_told_with_its_field(tmp_path, changes, reason):
    folder = shutil.copytree(FINISHED, tmp_path / "run")
    content = json.loads((folder / "run_info.json").read_text()) | changes
    (folder / "run_info.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=rf"holds no run of an EnECG model: .*{reason}"):
        _ = Run(folder).info


@pytest.mark.parametrize(("content", "reason"), [("[" * 100_000, "is not JSON"), ("[]", "must hold a mapping")])
def test_a_description_that_is_none_is_told(tmp_path, content, reason):
    folder = shutil.copytree(FINISHED, tmp_path / "run")
    (folder / "run_info.json").write_text(content)
    with pytest.raises(ValueError, match=reason):
        _ = Run(folder).info
