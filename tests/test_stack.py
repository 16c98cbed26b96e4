"""An EnECG model in the Hugging Face stack: plain `Trainer` and peft, extractor, revisions, loading."""

from functools import partial

import numpy as np
import pytest
import torch
from peft import AdaLoraConfig, AutoPeftModel, LoraConfig, ShiraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from torch.utils.data import default_collate
from transformers import AutoFeatureExtractor, AutoModel, Trainer, TrainingArguments

from modeling_enecg import ECGFeatureExtractor, EnECGConfig, EnECGFeatureExtractor, EnECGModel
from modeling_enecg.adapters import new_layers
from modeling_enecg.loading import place_and_revision
from tests.helpers.tiny_models import RHYTHM, SEX, one_task

# peft 0.21 asks for what transformers 5.23 calls deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")


@pytest.fixture
def pair(tiny_experts):
    """An ensemble whose experts take different inputs."""
    torch.manual_seed(0)
    return EnECGModel.from_experts(tiny_experts, [RHYTHM, SEX])


@pytest.fixture
def records(pair):
    """Records as the model's own extractor prepares them, with labels of both tasks."""
    extractor, generator = pair.feature_extractor(), np.random.default_rng(0)
    prepared = [extractor(generator.normal(size=(12, 5000)), 500, return_tensors="pt") for _ in range(6)]
    labels = {"rhythm": torch.tensor([1.0, 0.0, 1.0]), "sex": torch.tensor(1)}
    return [{"input_values": [view[0] for view in each["input_values"]], "labels": labels} for each in prepared]


def trained_adapter(model, config, folder):
    """Save a plain peft adapter that has learnt something, with its base; return inputs and what it gives for them."""
    model.save_pretrained(folder / "base")
    adapted = get_peft_model(EnECGModel.from_pretrained(folder / "base"), config).eval()
    with torch.no_grad():
        for parameter in adapted.parameters():
            if parameter.requires_grad:
                parameter += 0.1 * torch.randn_like(parameter)
        adapted.save_pretrained(folder / "adapter")
        inputs = torch.randn(2, 12, 150)
        return inputs, adapted(inputs).logits["rhythm"]


def train(model, records, folder):
    arguments = TrainingArguments(
        str(folder),
        max_steps=3,
        per_device_train_batch_size=4,
        per_device_eval_batch_size=4,
        eval_strategy="steps",
        eval_steps=3,
        label_names=["labels"],
        report_to=[],
        use_cpu=True,
        save_strategy="no",
    )
    trainer = Trainer(model, arguments, default_collate, records, records)
    trainer.train()
    return trainer


def test_a_plain_trainer_trains_an_ensemble_whose_experts_take_different_inputs(pair, records, tmp_path):
    trainer = train(pair, records, tmp_path)
    assert np.isfinite(trainer.state.log_history[-2]["eval_loss"])


def test_plain_peft_adapts_heads_and_keeps_final_layers_whole(pair, records, tmp_path):
    hidden, final = new_layers(pair)
    adapted = get_peft_model(pair, LoraConfig(target_modules=hidden, modules_to_save=final))
    before = {name: each.clone() for name, each in adapted.named_parameters()}
    train(adapted, records, tmp_path)
    changed = {name for name, each in adapted.named_parameters() if not torch.equal(each, before[name])}
    assert changed
    assert all(".lora_" in name or ".modules_to_save." in name for name in changed)


KINDS = {
    "lora": LoraConfig,
    "dora": partial(LoraConfig, use_dora=True),
    "adalora": partial(AdaLoraConfig, total_step=10),
    "shira": partial(ShiraConfig, r=2),
}


@torch.no_grad()
@pytest.mark.parametrize("kind", KINDS)
def test_a_plain_peft_adapter_loads_whole_by_peft_and_by_transformers_whole_or_not_at_all(pair, tmp_path, kind):
    hidden, final = new_layers(pair)
    config = KINDS[kind](target_modules=hidden, modules_to_save=final)
    inputs, wanted = trained_adapter(pair, config, tmp_path)
    loaded = AutoPeftModel.from_pretrained(tmp_path / "adapter", import_allowlist=["modeling_enecg.modeling_enecg"])
    torch.testing.assert_close(loaded.eval()(inputs).logits["rhythm"], wanted)
    if kind == "lora":
        model = AutoModel.from_pretrained(tmp_path / "adapter")
        torch.testing.assert_close(model(inputs).logits["rhythm"], wanted)
    else:  # transformers leaves out some of what peft has saved
        with pytest.raises(ValueError, match=r"cannot load the adapter .*/adapter: .*PeftModel\.from_pretrained"):
            AutoModel.from_pretrained(tmp_path / "adapter")


@pytest.mark.parametrize("field", [{"num_labels": 7}, {"id2label": {0: "AFIB"}}, {"problem_type": "regression"}])
def test_labels_past_the_tasks_are_refused(pair, tmp_path, field):
    with pytest.raises(ValueError, match=f"{next(iter(field))}.*tasks"):
        EnECGConfig(experts=pair.config.experts, tasks=pair.config.tasks, **field)
    pair.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=f"{next(iter(field))}.*tasks"):
        AutoModel.from_pretrained(tmp_path, **field)


def test_blocks_of_the_experts_stay_whole_where_a_model_is_split_over_devices(pair):
    assert {"ECGFounderBlock", "STMEMBlock"} <= set(pair._no_split_modules)


# The feature extractor


def test_a_saved_model_has_the_extractor_that_fits_it(pair, tmp_path):
    pair.save_pretrained(tmp_path)
    extractor = AutoFeatureExtractor.from_pretrained(tmp_path)
    assert isinstance(extractor, EnECGFeatureExtractor)
    assert list(extractor.experts) == list(pair.experts)
    assert extractor.to_dict() == AutoModel.from_pretrained(tmp_path).feature_extractor().to_dict()


def test_experts_of_the_same_input_share_one_extractor_and_a_gate_on_the_signal_has_its_own(tiny_experts):
    assert isinstance(one_task(tiny_experts, RHYTHM).feature_extractor(), ECGFeatureExtractor)
    gated = EnECGModel.from_experts(tiny_experts, [RHYTHM], gate="encoder")
    assert gated.feature_extractor().gate == gated.config.gate_extractor_settings()


def test_an_extractor_that_was_saved_with_an_expert_or_a_model_stays_its_own(tiny_experts, tmp_path):
    settings = tiny_experts["ecgfounder"].config.feature_extractor_settings() | {"sampling_rate": 250}
    tiny_experts["ecgfounder"].save_pretrained(tmp_path / "expert")
    ECGFeatureExtractor(**settings).save_pretrained(tmp_path / "expert")
    model = EnECGModel.from_experts({"founder": tmp_path / "expert"}, [RHYTHM])
    model.save_pretrained(tmp_path / "model")
    loaded = EnECGModel.from_pretrained(tmp_path / "model")
    loaded.save_pretrained(tmp_path / "again")
    for each in (model.feature_extractor(), AutoFeatureExtractor.from_pretrained(tmp_path / "again")):
        assert each.sampling_rate == 250


def test_a_damaged_extractor_is_named(pair, tmp_path):
    pair.save_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text('{"feature_extractor_type": "Other"}')
    with pytest.raises(
        ValueError, match=r"preprocessor_config.json in .* cannot be used: feature_extractor_type is 'Other'"
    ):
        EnECGModel.from_pretrained(tmp_path).feature_extractor()


# Places and strict loading


@pytest.mark.parametrize(
    ("place", "revision", "wanted"),
    [
        ("org/name", None, ("org/name", None)),
        ("org/name@v1.0", None, ("org/name", "v1.0")),
        ("org/name@refs/pr/3", None, ("org/name", "refs/pr/3")),
        ("org/name", "main", ("org/name", "main")),
        ("org/name@main", "main", ("org/name", "main")),
        ("runs/a/b@c", None, ("runs/a/b@c", None)),
    ],
)
def test_a_hub_id_may_end_in_its_revision(place, revision, wanted):
    assert place_and_revision(place, revision) == wanted


def test_a_folder_with_an_at_sign_is_a_folder_and_two_revisions_are_refused(tiny_experts, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tiny_experts["ecgfounder"].save_pretrained("expert@home")
    assert EnECGModel.from_experts({"founder": "expert@home"}, [RHYTHM])
    with pytest.raises(ValueError, match="must name one revision after its @; got main, too"):
        place_and_revision("org/name@v1", "main")
    with pytest.raises(ValueError, match="must name one revision"):
        place_and_revision("org/name@")


def test_other_shapes_are_forgiven_on_request_and_nothing_else(pair, tmp_path):
    pair.save_pretrained(tmp_path)
    config = AutoModel.from_pretrained(tmp_path).config
    config.tasks = [{**RHYTHM, "labels": ["A", "B"]}, SEX]
    with pytest.raises(RuntimeError, match="ignore_mismatched_sizes"):
        EnECGModel.from_pretrained(tmp_path, config=config)
    loaded = EnECGModel.from_pretrained(tmp_path, config=config, ignore_mismatched_sizes=True)
    assert loaded.heads["rhythm"]["stmem"].layers[-1].out_features == 2
    weights = load_file(tmp_path / "model.safetensors")
    del weights["experts.stmem.norm.weight"]
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"missing keys: experts\.stmem\.norm\.weight"):
        EnECGModel.from_pretrained(tmp_path, config=config, ignore_mismatched_sizes=True)


@pytest.mark.parametrize("of", [lambda pair: pair, lambda pair: pair.experts["stmem"]])
def test_a_config_and_weights_at_hand_make_a_model_if_they_fit(pair, of):
    model = of(pair)
    weights = {name: each.clone() for name, each in model.state_dict().items()}
    loaded = type(model).from_pretrained(None, config=model.config, state_dict=weights)
    assert all(torch.equal(each, weights[name]) for name, each in loaded.state_dict().items())
    del weights[next(iter(weights))]
    with pytest.raises(ValueError, match=r"The weights given are not those of .* missing keys: "):
        type(model).from_pretrained(None, config=model.config, state_dict=weights)


# What a signal has not


def test_a_model_has_no_table_of_words_and_says_so_to_those_who_ask(pair):
    assert pair.get_input_embeddings() is None
    assert {expert.get_input_embeddings() for expert in pair.experts.values()} == {None}
    pair.enable_input_require_grads()  # which peft and the Trainer call
