"""Prediction from an exported file: the same findings as from the model, without torch."""

import json
import subprocess
import sys

import numpy as np
import pytest

from modeling_enecg import EnECGModel
from modeling_enecg.cli import main
from modeling_enecg.io import read_ecg
from modeling_enecg.leads import STANDARD_LEADS
from modeling_enecg.prediction import Predictor
from tests.helpers.prediction import by_label, save_calibrated_model, write_leads, write_recordings

pytest.importorskip("onnx", reason="onnx, onnxscript and onnxruntime export models; `pip install -e '.[onnx]'`")
pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")

import onnx

from modeling_enecg.export import OnnxModel, OnnxPredictor

# As on a machine where torch is not installed.
WITHOUT_TORCH = """
import sys
from importlib.machinery import PathFinder

class WithoutTorch(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.split(".")[0] == "torch" else super().find_spec(name, path, target)

sys.meta_path = [WithoutTorch if each is PathFinder else each for each in sys.meta_path]
from modeling_enecg.cli import main
main(sys.argv[1:])
assert not any(name.split(".")[0] == "torch" for name in sys.modules)
"""


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory):
    """A small calibrated ensemble that compares records with those it knows, not to be changed."""
    folder = save_calibrated_model(tmp_path_factory.mktemp("export") / "model")
    model, rng = EnECGModel.from_pretrained(folder), np.random.default_rng(0)
    sizes = {name: expert.config.feature_size for name, expert in model.backbones.items()}
    train, validation = ({name: rng.random((40, size)) for name, size in sizes.items()} for _ in range(2))
    model.fit_novelty(train, validation)
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def onnx_file(model_dir):
    """What the command makes of it, not to be changed."""
    file = model_dir.parent / "model.onnx"
    main(["export", str(model_dir), str(file)])
    return file


@pytest.fixture(scope="module")
def recordings(tmp_path_factory, simulated):
    return write_recordings(tmp_path_factory.mktemp("recordings"), simulated)


def assert_same(ours, theirs):
    """Compare everything: numbers closely, all else exactly."""
    for key in ("score", "raw_score", "value", "lower", "upper"):
        assert by_label(ours, key) == pytest.approx(by_label(theirs, key), abs=1e-5)
    for key in ("present", "threshold", "unit"):
        assert by_label(ours, key) == by_label(theirs, key)
    assert (ours.novelty is None) == (theirs.novelty is None) == (not ours.is_scored)
    assert ours.novelty is None or ours.novelty == pytest.approx(theirs.novelty, rel=1e-5)
    assert [list(each) for each in ours.gate_weights.values()] == [list(each) for each in theirs.gate_weights.values()]
    for name in ("quality", "used_leads", "missing_leads", "left_out"):
        assert getattr(ours, name) == getattr(theirs, name)


def test_a_file_finds_what_its_model_finds(model_dir, onnx_file, recordings, simulated, tmp_path):
    find, find_exported = Predictor(model_dir), OnnxPredictor(onnx_file, batch_size=2)
    whole = read_ecg(simulated / "records500/00000/00003_hr")
    long = {"signal": np.tile(whole.signal_mv, 4)[:, :17_000], "sampling_rate": 500, "lead_names": whole.lead_names}
    two_leads = write_leads(tmp_path / "two_leads", simulated / "records500/00000/00003_hr", ["II", "V2"])
    for recording in (recordings / "a", recordings / "below" / "b", two_leads, long):
        found = find_exported(recording)
        assert found.is_scored
        assert_same(found, find(recording))


def test_an_unusable_recording_is_not_scored_unless_forced(model_dir, onnx_file, recordings):
    find_exported = OnnxPredictor(onnx_file)
    found, forced = find_exported(recordings / "noise"), find_exported(recordings / "noise", force=True)
    assert_same(found, Predictor(model_dir)(recordings / "noise"))
    assert not found.is_scored
    assert forced.is_scored
    assert_same(forced, Predictor(model_dir)(recordings / "noise", force=True))


def without_torch(*arguments):
    """Run the command where there is no torch; return what it printed."""
    command = [sys.executable, "-c", WITHOUT_TORCH, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_command_prints_and_draws_alike_without_torch(model_dir, onnx_file, simulated, tmp_path, capsys):
    record = write_leads(tmp_path / "lead_i", simulated / "records500/00000/00003_hr", ["I"])
    main(["predict", str(model_dir), str(record)])
    assert without_torch("predict", onnx_file, record, "--plot", tmp_path / "ecg.png") == capsys.readouterr().out
    assert (tmp_path / "ecg.png").stat().st_size > 10_000


def test_the_command_predicts_folders_alike_without_torch(model_dir, onnx_file, recordings, capsys):
    places = [str(recordings / "below"), str(recordings / "a"), "--json"]
    main(["predict", str(model_dir), *places])
    wanted = json.loads(capsys.readouterr().out)
    given = json.loads(without_torch("predict", onnx_file, *places))
    assert [each["record"] for each in given] == [each["record"] for each in wanted]
    assert [each["quality"] for each in given] == [each["quality"] for each in wanted]
    for ours, theirs in zip(given, wanted, strict=True):
        assert by_label(ours["tasks"], "score") == pytest.approx(by_label(theirs["tasks"], "score"), abs=1e-5)


def test_the_file_says_what_it_is(model_dir, onnx_file):
    model, exported = Predictor(model_dir).model, OnnxModel(onnx_file)
    assert exported.tasks == dict(model.tasks)
    assert exported.experts == list(model.experts)
    assert exported.extractor.to_dict() == model.feature_extractor().to_dict()
    assert str(model_dir.parent) not in onnx_file.read_bytes().decode("latin-1")


def test_eight_bits_are_measured_on_ones_own_records(model_dir, recordings, tmp_path, capsys, fail):
    main(["export", str(model_dir), str(tmp_path / "int8.onnx"), "--int8", "--check", str(recordings / "below")])
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == f"Against the model, on 1 records of {recordings / 'below'}:"
    assert "superdiagnostic: probabilities differ by up to" in lines[2]
    assert "age: values differ by up to" in lines[4]
    found = OnnxPredictor(tmp_path / "int8.onnx")(recordings / "a")
    wanted = by_label(Predictor(model_dir)(recordings / "a"), "score")
    assert by_label(found, "score") == pytest.approx(wanted, abs=0.05)
    assert by_label(found, "score") != pytest.approx(wanted, abs=1e-6)


def test_what_is_no_exported_model_is_refused_in_one_line(onnx_file, recordings, tmp_path, fail):
    (tmp_path / "damaged.onnx").write_bytes(onnx_file.read_bytes()[:5000])
    assert "is no ONNX file that onnxruntime can run" in fail("predict", tmp_path / "damaged.onnx", recordings / "a")
    assert "There is no file" in fail("predict", tmp_path / "missing.onnx", recordings / "a")
    content = onnx.load(onnx_file)
    for text, message in (("{}", "missing 4 required"), ("[", "Expecting value")):
        onnx.helper.set_model_props(content, {"enecg": text})
        onnx.save(content, tmp_path / "other.onnx")
        assert message in fail("predict", tmp_path / "other.onnx", recordings / "a")
    del content.metadata_props[:]
    onnx.save(content, tmp_path / "other.onnx")
    assert "which `enecg export` writes" in fail("predict", tmp_path / "other.onnx", recordings / "a")


def test_a_file_takes_recordings_alone_and_has_its_ending(model_dir, onnx_file, recordings, fail):
    assert "predicts RECORDs" in fail("predict", onnx_file, recordings / "a", "--output", "table.parquet")
    assert "must end in .onnx" in fail("export", model_dir, "model.pb")
    assert STANDARD_LEADS[0] in OnnxPredictor(onnx_file)(recordings / "a").used_leads
