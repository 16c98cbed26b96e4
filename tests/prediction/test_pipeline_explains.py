"""The pipeline with `explain`: the same explanation as `enecg explain` gives, beside the findings."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from transformers import pipeline

from modeling_enecg import EnECGModel
from modeling_enecg.explaining import explain
from tests.helpers.explaining import beats
from tests.helpers.inputs import with_random_weights
from tests.helpers.tiny_models import AGE, RHYTHM
from tests.helpers.training import tiny_ecgfounder

pytestmark = pytest.mark.xdist_group("pipeline_explains")  # its pipeline is shared


@pytest.fixture(scope="module")
def find():
    torch.manual_seed(0)
    model = EnECGModel.from_experts({"expert": with_random_weights(tiny_ecgfounder())}, [RHYTHM, AGE])
    return pipeline("ecg-classification", model=model, feature_extractor=model.feature_extractor())


def test_an_explanation_has_the_numbers_of_the_function_at_home(find):
    record = beats(10)
    found = find(record, explain=("rhythm", "SR"))
    wanted = explain(find.model, find.feature_extractor, record, "rhythm", "SR").to_dict()
    assert found.to_dict()["explanation"] == wanted
    assert wanted["integrated_gradients"]["deletion"]["scores"]
    assert wanted["occlusion"]["random_weights_correlation"] is not None
    assert "explanation" not in find(record).to_dict()


@pytest.mark.parametrize("batch_size", [1, 3])
def test_each_recording_of_a_batch_has_its_own_explanation_and_what_is_not_scored_has_none(find, batch_size):
    long, short = beats(25), beats(10)
    array = {"signal": short.signal_mv, "sampling_rate": short.sampling_rate}
    flat = {"signal": np.zeros((12, 5000)), "sampling_rate": 500}
    found = find([long, flat, array], batch_size=batch_size, explain="age")
    assert found[1].explanation is None
    assert [found[row].explanation.num_windows for row in (0, 2)] == [3, 1]
    for row in (0, 2):
        assert found[row].explanation.score == pytest.approx(found[row]["age"][0]["value"], abs=1e-3)
    assert len(found[2].explanation.beats) == len(find(short, explain="age").explanation.beats) > 5


def test_a_doubtful_recording_is_explained_with_the_doubt(find):
    record = beats(4)
    found = find(record, explain="rhythm")
    assert found.quality.verdict == "doubtful"
    assert found.explanation.warnings[0].startswith("The recording is doubtful")


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ("sex", "no task 'sex'; there are rhythm, age"),
        (("rhythm", "PVC"), "no label 'PVC'"),
        (("rhythm", "SR", "AFIB"), "explain must be a task, or a task and a label of it"),
        (("rhythm", 1), "explain must be a task"),
    ],
)
def test_what_cannot_be_explained_is_refused(find, wanted, message):
    with pytest.raises(ValueError, match=message):
        find(beats(10), explain=wanted)


def test_a_model_away_from_home_says_what_explanations_need(find, tmp_path):
    """Its code is on the disk beside it, and the package is not imported."""
    find.save_pretrained(tmp_path)
    script = (
        "import sys\n"
        "from transformers import pipeline\n"
        f"find = pipeline('ecg-classification', model={str(tmp_path)!r}, trust_remote_code=True)\n"
        "assert 'modeling_enecg' not in sys.modules\n"
        "find('nowhere.dat', explain='rhythm')\n"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    last = ended.stderr.splitlines()[-1]
    assert last.startswith("ImportError: Explanations need the package"), ended.stderr
    assert last.endswith(
        "install enecg with its extra train from its source, and import modeling_enecg before the pipeline is made."
    )
