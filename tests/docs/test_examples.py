"""The examples in Python on the README and on pages that are no tutorials run, on the model in the box."""

import numpy as np
import pytest
from transformers import AutoFeatureExtractor, AutoModel

import modeling_enecg
from modeling_enecg import BACKBONES, EnECGModel
from modeling_enecg.io import read_ecg
from tests.helpers.pages import ROOT, blocks
from tests.helpers.tiny_models import RHYTHM, tiny_backbone_configs

RECORD = "PTB-XL/records500/00000/00001_hr"
REPLACED = {
    '"tracing.xml"': f'"{RECORD}"',
    '"recording.dcm"': f'"{RECORD}"',
    '"ecgfounder"': '"wide"',
    '"diagnosis"': '"rhythm"',
}
MODEL_PATHS = ("runs/mine", "runs/smoke")


@pytest.fixture
def names(simulated, tmp_path, monkeypatch) -> dict[str, object]:
    """What examples take for granted, in a folder with the places that they name."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "PTB-XL").symlink_to(simulated)
    for path in MODEL_PATHS:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).symlink_to(modeling_enecg.builtin("small"))
    (tmp_path / "new_recordings").mkdir()
    for end in (".hea", ".dat"):
        (tmp_path / "new_recordings" / f"00001_hr{end}").symlink_to(
            simulated / "records500" / "00000" / f"00001_hr{end}"
        )
    rng = np.random.default_rng(0)
    targets = (rng.random((60, 3)) < 0.4).astype(np.float32)
    signal_mv = read_ecg(RECORD).signal_mv
    return {
        "read_ecg": read_ecg,
        "signal_mv": signal_mv,
        "other_mv": signal_mv[:, ::-1].copy(),
        "targets": targets,
        "logits": rng.normal(size=targets.shape),
        "model": AutoModel.from_pretrained(modeling_enecg.builtin("small")),
        "extractor": AutoFeatureExtractor.from_pretrained(modeling_enecg.builtin("small")),
    }


def run_examples(page: str, names: dict[str, object], *numbers: int) -> None:
    """Run the blocks of Python of a page, or those of some numbers, one after another."""
    texts = [block.text for block in blocks(ROOT / page) if block.language == "python"]
    for number in numbers or range(len(texts)):
        text = texts[number]
        for shown, real in REPLACED.items():
            text = text.replace(shown, real)
        exec(text, names)


@pytest.mark.parametrize("page", ["README.md", "docs/sharing.md"])
def test_pipelines_and_auto_classes(page, names):
    run_examples(page, names)


def test_reading_a_recording_and_giving_some_of_its_leads(names):
    run_examples("docs/recordings.md", names, 0)
    names["signal_mv"] = names["signal_mv"][:2]
    run_examples("docs/recordings.md", names, 1)
    assert names["outputs"].logits["rhythm"].isfinite().all()


def test_explanations(names):
    run_examples("docs/explanations.md", names)


def test_embeddings(names):
    run_examples("docs/embeddings.md", names, 2)


def test_the_builder_of_ptbxl(names, monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(ROOT))
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    run_examples("docs/datasets.md", names)
    assert names["signal"].shape == (12, 5000)


def test_metrics(names):
    run_examples("docs/evaluation.md", names, 0)


def test_a_plain_trainer_and_plain_peft(names):
    configs = tiny_backbone_configs()
    experts = {name: BACKBONES[name](configs[name]) for name in ("enecg-ecgfounder", "enecg-stmem")}
    model = EnECGModel.from_experts(
        {name[6:]: expert for name, expert in experts.items()}, [RHYTHM], head_hidden_sizes=[8]
    )
    model.save_pretrained("path/or/hub-id")
    names["target"] = np.array([0, 1, 0], np.float32)

    class Records(list):
        """The record of the page, four times: it is made on the way."""

        def __len__(self) -> int:
            return 4

        def __getitem__(self, index):
            return names["record"]

    names["records"] = Records()
    run_examples("docs/stack.md", names, 0, 1)
    names["adapted"].save_pretrained("path/to/adapter")
    run_examples("docs/stack.md", names, 2)
