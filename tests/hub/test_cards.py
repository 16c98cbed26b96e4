"""Cards of models and adapters, from small made-up reports."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from modeling_enecg.hub.card import adapter_card, base_sentence, model_card, rebased_card
from modeling_enecg.hub.licences import expert_weights, licence_metadata
from modeling_enecg.runs.info import RunInfo, source_commit

FINDINGS = {"name": "rhythm", "problem_type": "multi_label_classification", "labels": ["AFIB", "SR"]}
AGE = {"name": "age", "problem_type": "regression", "unit": "years"}
POINTS = {"rhythm": {"macro_auroc": 0.912345678, "macro_auprc": 0.71}, "age": {"mae": 8.5, "rmse": 10.25, "r2": None}}
METRICS = {
    split: {
        task: {
            "num_records": 40,
            "undefined": [],
            **{name: {"point": point, "lower": 0.25, "upper": 0.75} for name, point in scores.items()},
        }
        for task, scores in POINTS.items()
    }
    for split in ("validation", "test")
}
INSIDE = {
    "rhythm": {
        "gate_weights": {"all_records": {"weights": {"cnn": 0.7, "vit": 0.3}}},
        "leave_one_out": {"cnn": {"macro_auroc": {"point": -0.05, "lower": -0.1, "upper": 0.01}}},
    }
}
STAGE = {"num_trainable": 250, "num_epochs": 3, "best_epoch": 2, "best_score": 0.5, "seconds": 61.0}


def config(licences=("mit", None), references=None) -> dict:
    sources = {"mit": "https://huggingface.co/their/cnn", "cc-by-nc-4.0": "https://github.com/other/vit"}
    experts = {
        name: {"model_type": f"enecg-{kind}", "weights_licence": licence, "weights_source": sources.get(licence)}
        for (name, kind), licence in zip({"cnn": "ecgfounder", "vit": "stmem"}.items(), licences, strict=True)
    }
    return {"model_type": "enecg", "experts": experts, "tasks": [FINDINGS, AGE], "expert_references": references}


def run_info(dataset="PTB-XL", stages=("lora_heads",), **recipe) -> RunInfo:
    counts = {"train": 300, "validation": 40, "test": 40}
    content = {
        "name": "made up",
        "experts": {"cnn": "cnn", "vit": "random weights"},
        "dataset": {
            "name": dataset,
            "sampling_rate": 500,
            "num_records": counts,
            "num_labelled": {"rhythm": counts, "age": counts},
            "note": "A smoke signal.",
        },
        "stages": dict.fromkeys(stages, STAGE),
        "num_parameters": 1000,
        "num_resamples": 20,
        "confidence": 0.9,
        "device": "CPU (2 cores)",
        "num_processes": 1,
        "versions": {"python": "3.11.7", "torch": "2.13.0"},
        "recipe": {"stages": {stage: {} for stage in stages}, "experts": {}, "model": None, "seed": 7} | recipe,
        "commit": "0123abc with changes",
    }
    return RunInfo.from_dict(content)


def card_of(*arguments, **options) -> ModelCard:
    text = model_card(*arguments, **options)
    assert not any(sign in text for sign in ("{{", "{%", "None", "Undefined"))
    return ModelCard(text)


def full_card(**changes) -> ModelCard:
    parts = {"config": config(), "name": "made up", "info": run_info(), "metrics": METRICS, "experts": INSIDE}
    return card_of(**parts | {"figures": ["figures/a.png"]} | changes)


def rows(card: ModelCard, first: str) -> list[list[str]]:
    lines = [line for line in card.text.splitlines() if line.startswith(f"| {first} |")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_the_model_index_holds_every_metric_that_is_defined():
    results = full_card().data.eval_results
    assert {(each.dataset_split, each.metric_name): each.metric_value for each in results} == {
        (split, f"{name}, {task}"): round(value, 6)
        for split in METRICS
        for task, name, value in (
            ("rhythm", "macro AUROC", 0.912345678),
            ("rhythm", "macro AUPRC", 0.71),
            ("age", "MAE", 8.5),
        )
    }
    assert {(each.dataset_name, each.dataset_type, each.dataset_config) for each in results} == {
        ("PTB-XL", "ptb-xl", "500hz")
    }


def test_scores_without_an_interval_are_none_to_publish_as_at_the_end_of_a_training():
    scores = {"macro_auroc": {"point": 1.0, "lower": None, "upper": None, "no_interval": "3 records"}}
    card = full_card(metrics={"test": {"rhythm": scores | {"num_records": 3}}})
    assert not card.data.eval_results
    assert "1.000" in card.text


def test_the_tables_repeat_metrics_weights_and_stages():
    card = full_card()
    assert ["test", "rhythm", "macro AUROC", "0.912", "0.250", "0.750", "40"] in rows(card, "test")
    assert ["test", "age", "RMSE (years)", "10.250", "0.250", "0.750", "40"] in rows(card, "test")
    assert ["test", "age", "R²", "undefined", "0.250", "0.750", "40"] in rows(card, "test")
    assert ["rhythm", "cnn", "0.700", "macro AUROC -0.050 (-0.100 to +0.010)"] in rows(card, "rhythm")
    assert ["rhythm", "multi label classification", "AFIB, SR"] in rows(card, "rhythm")
    missing = ["not measured"] * 3
    assert rows(card, "lora heads") == [["lora heads", "250", "25.00 %", "3", "2", "61.0 s", *missing]]
    for text in ("90 % percentile bootstrap", "20 resamples", "A smoke signal.", "](figures/a.png)", "torch 2.13.0"):
        assert text in card.text


@pytest.mark.parametrize(("point", "is_explained"), [(0.5, False), (0.2, True)])
def test_a_value_outside_its_interval_is_explained(point, is_explained):
    scores = {"num_records": 40, "macro_auroc": {"point": point, "lower": 0.25, "upper": 0.75}}
    text = full_card(metrics={"test": {"rhythm": scores}}).text
    assert ("Where a value lies outside its interval, a label has too few positives" in text) == is_explained


def test_the_card_says_how_to_use_and_to_reproduce_the_model():
    text = full_card().text
    for line in (
        'find = pipeline("ecg-classification", model="path/or/hub-id", trust_remote_code=True)',
        'model = AutoModel.from_pretrained("path/or/hub-id")',
        "enecg train recipe.yaml --data_dir PTB-XL",
        "seed 7; commit 0123abc with changes",
        "not a medical device",
        "chosen on the validation records",
    ):
        assert line in text
    assert "carbon" not in text.lower()


def test_what_is_said_of_ptbxl_is_said_of_nothing_else():
    card, simulated = full_card(), full_card(info=run_info("simulated records"))
    assert "between October 1989 and June 1996" in card.text
    assert "Schiller" not in simulated.text
    assert "Trained on simulated records; how it does on others was not measured." in simulated.text
    assert (card.data.datasets, simulated.data.datasets) == (["ptb-xl"], None)
    assert "with a label of the tasks (folds 1-8, 9 and 10)." in card.text
    assert "with a label of the tasks." in simulated.text
    assert {each.dataset_type for each in simulated.data.eval_results} == {"simulated-records"}


def test_a_rate_is_told_where_all_records_were_read_at_one():
    info = run_info("our records")
    own = full_card(info=replace(info, dataset=replace(info.dataset, sampling_rate=None)))
    assert "our records: 300 train" in own.text
    assert {each.dataset_config for each in own.data.eval_results} == {None}
    assert "PTB-XL, 500 Hz: 300 train" in full_card().text


def test_the_card_says_what_travels_with_the_model():
    plain = full_card().text
    assert "Probabilities are the model's own, not calibrated." in plain
    assert "how unlike the training records" not in plain
    calibration = {"method": "temperature", "temperature": 2.0}
    sex = {"name": "sex", "problem_type": "single_label_classification", "labels": ["female", "male"]}
    tasks = [FINDINGS, sex | {"calibration": calibration}, AGE]
    text = full_card(config=config() | {"tasks": tasks, "novelty_rank": 4}).text
    assert "Probabilities of sex are calibrated on the validation records" in text
    assert "Those of rhythm are the model's own." in text
    assert "how unlike the training records a recording is" in text


@pytest.mark.parametrize(
    ("licences", "metadata"),
    [
        ((None, None), {}),
        (("mit", None), {"license": "mit"}),
        (("cc0-1.0", "apache-2.0"), {"license": "apache-2.0"}),
        (("cc-by-nc-4.0", "cc-by-4.0"), {"license": "cc-by-nc-4.0"}),
        (("cc-by-nc-4.0", "cc-by-nc-sa-4.0"), {"license": "cc-by-nc-sa-4.0"}),
        (("mit", "gpl-3.0"), {"license": "other", "license_name": "gpl-3.0"}),
        (("unknown", "cc-by-nc-nd-4.0"), {"license": "other", "license_name": "unknown"}),
    ],
)
def test_the_most_restrictive_licence_counts(licences, metadata):
    data = full_card(config=config(licences)).data.to_dict()
    assert {key: value for key, value in data.items() if key.startswith("license")} == metadata


def test_weights_without_a_licence_are_told_from_weights_of_nobody_else():
    fields = {"model_type": "enecg-stmem", "weights_source": "https://x.org/y"}
    weights = expert_weights(fields)
    assert [(each.name, each.licence, each.is_free) for each in weights] == [("stmem", "unknown", False)]
    assert licence_metadata(weights)["license_link"] == "https://x.org/y"
    assert "ask its authors" in weights[0].obligation
    assert expert_weights({"model_type": "enecg-stmem"})[0].is_free


def test_every_expert_is_listed_with_source_licence_and_duty():
    card = full_card(config=config(("mit", "cc-by-nc-4.0")))
    duties = [row for row in rows(card, "cnn") + rows(card, "vit") if len(row) == 5]
    assert duties == [
        [
            "cnn",
            "enecg-ecgfounder",
            "https://huggingface.co/their/cnn",
            "mit",
            "keep the notice of copyright and licence",
        ],
        [
            "vit",
            "enecg-stmem",
            "https://github.com/other/vit",
            "cc-by-nc-4.0",
            "name the authors; not for commercial use",
        ],
    ]
    own = full_card(config=config((None, None)))
    assert "No licence is stated" in own.text
    assert rows(own, "vit")[0][2:4] == ["own weights", "none yet"]


def test_base_models_are_the_hub_ids_that_weights_come_from(tmp_path, monkeypatch):
    assert full_card().data.base_model == ["their/cnn"]
    paths = {"cnn": {"path": "org/cnn"}, "vit": {"path": "checkpoints/vit"}}
    monkeypatch.chdir(tmp_path)
    (tmp_path / "checkpoints" / "vit").mkdir(parents=True)
    assert full_card(info=run_info(experts=paths)).data.base_model == ["org/cnn"]
    assert full_card(info=run_info(model="org/trained")).data.base_model == ["org/trained"]
    references = {"cnn": {"path": "org/a"}, "vit": {"path": "/home/me/vit"}}
    card = full_card(config=config(references=references))
    assert card.data.base_model == ["org/a"]
    assert "cnn from org/a; vit from vit" in card.text
    assert full_card(config=config((None, None))).data.base_model is None


def test_a_model_without_a_report_has_a_card_that_claims_nothing():
    card = card_of(config(), "org/plain")
    assert card.data.eval_results is None
    assert "nothing was measured" in card.text
    assert "## Results" not in card.text
    backbone = card_of({"model_type": "enecg-stmem"}, "org/stmem")
    assert "A backbone for 12-lead ECGs, of the type `enecg-stmem`" in backbone.text
    assert "pooler_output" in backbone.text


@pytest.fixture
def adapter(tmp_path):
    """A function that writes an adapter's settings and returns its folder."""

    def adapter(path=None, revision=None) -> Path:
        settings = {"r": 4, "lora_alpha": 16.0, "lora_dropout": 0.05, "use_rslora": False, "target_modules": "heads"}
        info = {"base": {"path": path, "revision": revision, "digest": "0", "like": {}}, "tasks": [FINDINGS, AGE]}
        (tmp_path / "adapter_config.json").write_text(json.dumps(settings))
        (tmp_path / "enecg.json").write_text(json.dumps(info))
        return tmp_path

    return adapter


def test_an_adapters_card_names_base_tasks_settings_and_results(adapter):
    card = ModelCard(adapter_card(adapter("org/base", "abc123"), config(), run_info(), METRICS))
    assert (card.data.library_name, card.data.base_model) == ("peft", "org/base")
    assert {"lora", "adapter", "enecg"} <= set(card.data.tags)
    assert "Its base is `org/base`, revision `abc123`." in card.text
    assert rows(card, "4") == [["4", "16", "0.05", "alpha / rank", "whole", "nothing", "250", "25.00 %"]]
    assert ["test", "age", "MAE (years)", "8.500", "0.250", "0.750", "40"] in rows(card, "test")
    assert ["age", "regression", "age"] in rows(card, "age")
    assert len(card.data.eval_results) == 6
    for text in ('load_adapter("path/or/hub-id")', "is refused", "not a medical device", "keep the notice"):
        assert text in card.text


def test_the_scores_of_a_later_stage_are_not_an_adapters(adapter):
    card = ModelCard(adapter_card(adapter(), config(), run_info(stages=("lora_heads", "post_training")), METRICS))
    assert card.data.eval_results is None
    assert "Not measured: the run went on" in card.text
    assert "0.912" not in card.text
    assert "Its base lies in the folder `base`." in card.text
    assert card.data.base_model == ["their/cnn"]


def test_an_adapters_card_is_brought_to_a_base_on_the_hub(adapter):
    old, new = {"path": "/home/me/runs/base", "revision": None}, {"path": "org/base", "revision": "abc123"}
    text = adapter_card(adapter(**old), config(), run_info(), METRICS)
    assert "/home/me" not in text
    assert ModelCard(text).data.base_model == "base"
    rebased = ModelCard(rebased_card(text, old, new))
    assert rebased.data.base_model == "org/base"
    assert base_sentence(new) in rebased.text
    assert rebased.text == ModelCard(text).text.replace("`base`.", "`org/base`, revision `abc123`.")


def test_a_runs_description_keeps_no_absolute_path(tmp_path):
    info = run_info(experts={"cnn": {"path": str(tmp_path)}, "vit": {"path": "checkpoints/vit"}})
    experts = info.to_dict()["recipe"]["experts"]
    assert experts == {"cnn": {"path": tmp_path.name}, "vit": {"path": "checkpoints/vit"}}
    assert info.recipe["experts"]["cnn"]["path"] == str(tmp_path)


GIT = """#!/bin/sh
case "$*" in
*rev-parse*) echo 0123abc ;;
*status*) cat "$(dirname "$0")/changes" ;;
esac
"""


def test_the_commit_is_told_of_a_checkout_only(tmp_path, monkeypatch):
    (tmp_path / "git").write_text(GIT)
    (tmp_path / "git").chmod(0o755)
    (tmp_path / "changes").touch()
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert source_commit(tmp_path) is None
    (tmp_path / ".git").mkdir()
    assert source_commit(tmp_path) == "0123abc"
    (tmp_path / "changes").write_text(" M train.py\n")
    assert source_commit(tmp_path) == "0123abc with changes"
    (tmp_path / "changes").unlink()  # git fails
    assert source_commit(tmp_path) is None
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    assert source_commit(tmp_path) is None


def test_labels_are_shown_as_they_are_and_do_nothing():
    labels = ["<script>alert(1)</script>", "a|b", "two\nlines"]
    card = full_card(config=config() | {"tasks": [FINDINGS | {"labels": labels}, AGE]})
    (row,) = [line for line in card.text.splitlines() if line.startswith(f"| {FINDINGS['name']} | multi")]
    assert row.endswith(r"| &lt;script&gt;alert(1)&lt;/script&gt;, a\|b, two lines |")
