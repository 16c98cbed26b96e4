"""Studies: from a YAML file to runs, and from finished runs to tables and figures."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image
from sklearn.metrics import roc_auc_score

from modeling_enecg import Task
from modeling_enecg.cli import main
from modeling_enecg.experiments import StudyError, check_studies, list_studies, load_study, run_study
from modeling_enecg.experiments.differences import differences
from modeling_enecg.experiments.pictures import draw_pictures, draw_rows
from modeling_enecg.experiments.results import read_results
from modeling_enecg.experiments.tables import write_tables
from modeling_enecg.runs.predictions import Predictions
from modeling_enecg.runs.run import Run
from tests.helpers.processes import ROOT
from tests.helpers.training import recipe_fields, write_recipe

CONFIGS = ROOT / "configs"

STUDY = {
    "title": "Two methods",
    "recipe": "tiny.yaml",
    "figure": "comparison",
    "metrics": ["macro_auroc", "macro_auprc"],
    "seeds": [1, 2],
    "axes": {
        "task": {"superdiagnostic": {"tasks": ["superdiagnostic"]}, "rhythm": {"tasks": ["rhythm"]}},
        "method": {
            "plain": {
                "stages": {
                    "linear_probing": None,
                    "post_training": None,
                    "fine_tuning": {"num_train_epochs": 1, "global_batch_size": 16},
                }
            },
            "in full": {},
        },
    },
    "controls": {"permuted": {"permute_labels": True}},
    "small": {"seeds": [1], "axes": {"task": {"rhythm": None}}, "controls": {"permuted": None}},
}


@pytest.fixture
def configs(tmp_path) -> Path:
    """A folder of one recipe and one study, `paper/methods`."""
    fields = recipe_fields(tmp_path, tmp_path, tmp_path)
    for key in ("data_dir", "output_dir", "cache_dir"):
        del fields[key]
    (tmp_path / "configs/experiments/paper").mkdir(parents=True)
    write_recipe(tmp_path / "configs/tiny.yaml", fields)
    write_study(tmp_path / "configs")
    return tmp_path / "configs"


def write_study(configs, name="methods", **changes):
    content = {key: value for key, value in (STUDY | changes).items() if value is not None}
    write_recipe(configs / f"experiments/paper/{name}.yaml", content)


def fabricate(folder, run, score, epochs=3, **info):
    """Write what a finished run leaves of what a study reads."""
    tasks = run.overrides.get("tasks", ["superdiagnostic"])
    interval = {"point": score, "lower": score - 0.1, "upper": score + 0.1}
    outside = {"point": score, "lower": score + 0.01, "upper": score + 0.1}  # as happens with rare labels
    metrics = {task: {"num_records": 40, "macro_auroc": interval, "macro_auprc": outside} for task in tasks}
    log = [
        entry
        for epoch in range(1, epochs + 1)
        for entry in ({"epoch": epoch, "loss": 1 / epoch}, {"epoch": epoch, "eval_loss": 1.0, "eval_score": score})
    ]
    history = {
        "num_trainable": 10,
        "num_epochs": epochs,
        "best_epoch": 2,
        "best_score": score,
        "seconds": 2.0,
        "peak_mb": 500,
    }
    run_info = {
        "name": run.name,
        "experts": {"only": "random weights"},
        "num_processes": 1,
        "versions": {"enecg": "0"},
        "dataset": {
            "name": "PTB-XL",
            "sampling_rate": 100,
            "num_records": {"train": 300, "validation": 40, "test": 40},
            "note": "A smoke signal on few records, not a result.",
        },
        "stages": {"fine_tuning": history},
        "num_parameters": 1000,
        "confidence": 0.95,
        "device": "CPU (2 cores)",
    } | info
    for path, content in {
        "metrics.json": {"validation": metrics, "test": metrics},
        "run_info.json": run_info,
        "fine_tuning/history.json": {**history, "log": log},
    }.items():
        (folder / run.name / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / run.name / path).write_text(json.dumps(content))


def fabricated(study, folder, score=lambda run: 0.8 + 0.1 * run.seed):
    for run in study.runs():
        fabricate(folder / "runs", run, score(run))
    return read_results(study, study.runs(), folder / "runs")


def test_a_study_runs_every_combination_with_every_seed_and_the_controls_with_every_task(configs):
    runs = load_study(configs, "paper/methods").runs()
    assert [run.name for run in runs if run.row == "plain"] == [
        "plain_superdiagnostic_seed-1",
        "plain_superdiagnostic_seed-2",
        "plain_rhythm_seed-1",
        "plain_rhythm_seed-2",
    ]
    assert {run.row for run in runs} == {"plain", "in full", "permuted"}
    assert [run.name for run in runs if run.row == "permuted"] == [
        f"permuted_{task}_seed-{seed}" for task in ("superdiagnostic", "rhythm") for seed in (1, 2)
    ]


def test_a_run_is_the_recipe_with_its_options_laid_over(configs, tmp_path):
    run = next(run for run in load_study(configs, "paper/methods").runs() if run.name == "plain_rhythm_seed-2")
    recipe = run.recipe(configs, tmp_path / "runs", data_dir="records", cache_dir=None)
    assert recipe.tasks == ["rhythm"]
    assert recipe.stages == {"fine_tuning": {"num_train_epochs": 1, "global_batch_size": 16}}
    assert (recipe.seed, recipe.subset_seed) == (2, 2)
    assert recipe.output_dir == str(tmp_path / "runs/plain_rhythm_seed-2")


def test_the_small_form_leaves_out_what_it_sets_to_null_and_says_that_it_is_small(configs):
    study = load_study(configs, "paper/methods", "small")
    assert [run.name for run in study.runs()] == ["plain_superdiagnostic_seed-1", "in-full_superdiagnostic_seed-1"]
    assert study.name == "paper/methods_small"
    assert "small" in study.notes[0]


def test_given_seeds_replace_those_of_the_study(configs):
    assert {run.seed for run in load_study(configs, "paper/methods", seeds=[7, 8, 9]).runs()} == {7, 8, 9}


def test_combinations_that_come_to_the_same_recipe_are_one_run(configs):
    axes = {"task": STUDY["axes"]["task"], "training": {"all at once": {"tasks": ["superdiagnostic", "rhythm"]}}}
    write_study(configs, axes=axes, controls={}, small=None, seeds=[1])
    assert [run.name for run in load_study(configs, "paper/methods").runs()] == [
        "all-at-once_superdiagnostic-rhythm_seed-1"
    ]


def test_options_of_the_same_folder_name_are_refused(configs):
    write_study(configs, axes={"method": {"A b": {}, "a-B": {"permute_labels": True}}}, controls={}, small=None)
    with pytest.raises(StudyError, match="two runs are called a-b_seed-1"):
        load_study(configs, "paper/methods").runs()


def test_a_run_that_comes_before_gives_others_its_model(configs, tmp_path):
    write_study(
        configs,
        axes={"weights": {"trained first": {"experts": None, "model": "first"}}},
        before={"first": {"tasks": ["sex"]}},
        controls={},
        small=None,
        seeds=[1],
    )
    study = load_study(configs, "paper/methods")
    first, second = study.runs()
    recipes = [run.recipe(configs, tmp_path, data_dir="records") for run in (first, second)]
    assert recipes[1].model == recipes[0].output_dir == str(tmp_path / "first")
    assert recipes[1].experts == {}
    results = fabricated(study, tmp_path / "fabricated")
    assert set(results.scores["row"]) == {"trained first"}


def test_an_option_may_start_from_a_recipe_of_its_own(configs, tmp_path):
    write_recipe(configs / "other.yaml", {"extends": "tiny.yaml", "num_resamples": 7})
    write_study(configs, controls={"another model": {"recipe": "other.yaml"}})
    run = next(run for run in load_study(configs, "paper/methods").runs() if run.row == "another model")
    recipe = run.recipe(configs, tmp_path, data_dir="records")
    assert (recipe.num_resamples, recipe.tasks) == (7, ["superdiagnostic"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"figures": "comparison"}, "Unknown key figures. Did you mean figure?"),
        ({"figure": "pie"}, "figure: 'pie' is not one of comparison, lines, curves"),
        ({"figure": "lines"}, "over: None is not one of task, method"),
        ({"figure": "lines", "over": "method"}, "axes: method: 'plain' must begin with a number"),
        ({"seeds": []}, "seeds: at least one is needed"),
        ({"seeds": "1"}, "seeds: '1' is not of the type"),
        ({"costs": ["euros"]}, "costs: 'euros' is not one of"),
        ({"axes": {"method": {}}}, "axes: method: at least one option is needed"),
        ({"axes": {"method": {"plain": "fast"}}}, "method: plain: expected recipe fields, got 'fast'"),
        ({"title": None}, "lacks title"),
    ],
)
def test_an_illegal_study_is_refused_with_its_name_and_field(configs, changes, message):
    write_study(configs, small=None, **changes)
    with pytest.raises(StudyError) as error:
        load_study(configs, "paper/methods")
    assert message in str(error.value)
    assert "paper/methods" in str(error.value)


def test_an_unknown_study_is_refused_with_a_suggestion(configs):
    with pytest.raises(StudyError, match=r"no experiment 'paper/method'.*Did you mean paper/methods\?"):
        load_study(configs, "paper/method")


def test_files_for_others_to_extend_are_no_studies(configs):
    write_study(configs, name="_base")
    assert list_studies(configs) == ["paper/methods"]


def test_the_table_of_several_seeds_has_mean_and_standard_deviation(configs, tmp_path):
    study = load_study(configs, "paper/methods")
    results = fabricated(study, tmp_path)
    write_tables(study, results, tmp_path)
    table = pd.read_csv(tmp_path / "table.csv").set_index(["row", "task", "metric"])
    measured = table.loc[("plain", "rhythm", "macro_auroc")]
    assert measured["mean"] == pytest.approx(0.95)
    assert measured["sd"] == pytest.approx(0.1 / 2**0.5, rel=1e-5)
    assert measured["num_seeds"] == 2
    assert pd.isna(measured["lower"])
    text = (tmp_path / "table.md").read_text()
    assert "| plain | 0.950 ± 0.071 | 0.950 ± 0.071 |" in text
    assert len(pd.read_csv(tmp_path / "runs.csv")) == 2 * len(study.runs())


def test_the_table_of_one_seed_has_the_interval_of_its_run(configs, tmp_path):
    study = load_study(configs, "paper/methods", "small")
    write_tables(study, fabricated(study, tmp_path), tmp_path)
    assert "| in full | 0.900 (0.800-1.000) |" in (tmp_path / "table.md").read_text()


def test_a_table_says_on_what_it_was_measured_and_that_few_records_are_no_result(configs, tmp_path):
    study = load_study(configs, "paper/methods")
    write_tables(study, fabricated(study, tmp_path), tmp_path)
    text = (tmp_path / "table.md").read_text()
    assert "Measured on PTB-XL, records: 300 train, 40 validation, 40 test; seeds: 1, 2; CPU (2 cores)." in text
    assert "A smoke signal on few records, not a result." in text


def test_published_values_stand_beside_with_their_source(configs, tmp_path):
    write_study(configs, published=[{"model": "S4", "mode": "supervised"}])
    study = load_study(configs, "paper/methods")
    write_tables(study, fabricated(study, tmp_path), tmp_path)
    text = (tmp_path / "table.md").read_text()
    assert "| published: S4, supervised | 0.932 | 0.956 |" in text
    assert "- published: S4, supervised: https://github.com/AI4HealthUOL/ecg-fm-benchmarking" in text
    rows = pd.read_csv(tmp_path / "table.csv").query("row == 'published: S4, supervised'")
    assert set(rows["metric"]) == {"macro_auroc"}
    assert rows["source"].str.contains("arXiv 2509.25095").all()


def test_undefined_scores_do_not_enter_the_mean(configs, tmp_path):
    study = load_study(configs, "paper/methods")
    results = fabricated(study, tmp_path)
    results.scores.loc[results.scores["seed"] == 2, "point"] = float("nan")
    summary = results.summary()
    assert (summary["num_seeds"] == 1).all()
    assert summary["mean"].to_numpy() == pytest.approx(0.9)


def test_costs_are_those_of_all_stages(configs, tmp_path):
    write_study(
        configs, costs=["trainable_share", "seconds", "peak_mb", "gpu_peak_mb"], axes={"method": {"plain": {}}}
    )
    study = load_study(configs, "paper/methods", seeds=[1])
    best = {"num_epochs": 3, "best_epoch": 2, "best_score": 0.9}
    stages = {
        "linear_probing": best | {"num_trainable": 10, "seconds": 1.5, "peak_mb": 900},
        "fine_tuning": best | {"num_trainable": 250, "seconds": 2.0, "peak_mb": 700},
    }
    for run in study.runs():
        fabricate(tmp_path / "runs", run, 0.9, stages=stages)
    results = read_results(study, study.runs(), tmp_path / "runs")
    write_tables(study, results, tmp_path)
    text = (tmp_path / "table.md").read_text()
    assert "| plain | 25 % | 3.500 | 900 |" in text
    assert "GPU" not in text  # there was none


@pytest.mark.parametrize(
    ("changes", "files"),
    [
        ({}, {"macro_auroc.png", "macro_auprc.png"}),
        ({"published": [{"model": "S4", "mode": "supervised"}]}, {"macro_auroc.png", "macro_auprc.png"}),
        ({"figure": "curves"}, {"curves.png"}),
        (
            {
                "figure": "lines",
                "over": "share",
                "axes": {
                    **STUDY["axes"],
                    "share": {"10 %": {"train_fraction": 0.1}, "50 %": {"train_fraction": 0.5}, "100 %": {}},
                },
            },
            {"macro_auroc.png", "macro_auprc.png"},
        ),
    ],
)
@pytest.mark.parametrize("form", [None, "small"])
def test_figures_are_drawn_from_finished_runs(configs, tmp_path, changes, files, form):
    write_study(configs, **changes)
    study = load_study(configs, "paper/methods", form)
    paths = draw_pictures(study, fabricated(study, tmp_path), tmp_path / "figures")
    assert {path.name for path in paths} == files
    for path in paths:
        with Image.open(path) as image:
            assert len(image.convert("L").getcolors()) > 10  # not empty


@pytest.mark.parametrize("form", [None, "small"])
def test_bars_span_a_deviation_over_the_seeds_or_the_interval_of_a_single_one(configs, tmp_path, form):
    study = load_study(configs, "paper/methods", form)
    results = fabricated(study, tmp_path)
    rows = results.summary().query("metric == 'macro_auroc'")
    figure = draw_rows(study, results, rows, tmp_path / "figure.png")
    segments = [bar for axes in figure.axes for lines in axes.collections for bar in lines.get_segments()]
    lower, upper = (rows["lower"], rows["upper"]) if form else (rows["mean"] - rows["sd"], rows["mean"] + rows["sd"])
    assert (upper - lower).min() > 0.01
    drawn = sorted(tuple(bar[:, 0]) for bar in segments)
    assert drawn == [pytest.approx(bar) for bar in sorted(zip(lower, upper, strict=True))]


def test_missing_published_weights_are_all_named_before_anything_runs(configs, tmp_path):
    axes = {"experts": {name: {"experts": {name: {"path": f"checkpoints/{name}"}}} for name in ("stmem", "moment")}}
    write_study(configs, axes=axes, controls={}, small=None)
    with pytest.raises(StudyError) as error:
        run_study(load_study(configs, "paper/methods"), configs, tmp_path / "records", tmp_path / "out")
    for name in ("stmem", "moment"):
        assert f"checkpoints/{name}" in str(error.value)
        assert f"enecg convert {name} " in str(error.value)
    assert not (tmp_path / "out").exists()


def test_a_mistake_in_a_recipe_is_named_before_anything_runs(configs):
    write_study(configs, controls={"permuted": {"permute_label": True}})
    message = r"paper/methods: Unknown key permute_label\. Did you mean permute_labels\?"
    with pytest.raises(StudyError, match=message):
        check_studies([load_study(configs, "paper/methods")], configs)


def test_converted_weights_that_are_there_are_not_missed(configs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "checkpoints/stmem").mkdir(parents=True)
    write_study(
        configs, axes={"experts": {"stmem": {"experts": {"stmem": {"path": "checkpoints/stmem"}}}}}, small=None
    )
    check_studies([load_study(configs, "paper/methods")], configs)


def test_a_study_goes_on_with_what_is_left(configs, tmp_path, simulated, training_cache, capsys):
    def run():
        study = load_study(configs, "paper/methods", "small")
        folder = run_study(study, configs, simulated, tmp_path / "out", training_cache)
        return folder, capsys.readouterr().out

    folder, output = run()
    assert "paper/methods_small: 1 of 2: plain_superdiagnostic_seed-1" in output
    weights = {path: path.stat().st_mtime_ns for path in folder.glob("runs/*/model.safetensors")}
    assert len(weights) == 2
    table = (folder / "table.md").read_text()
    shutil.rmtree(folder / "runs/in-full_superdiagnostic_seed-1")
    (folder / "table.md").unlink()
    run()
    for path, time in weights.items():
        assert (path.stat().st_mtime_ns == time) == (path.parent.name == "plain_superdiagnostic_seed-1")
    assert (folder / "table.md").read_text() == table


def test_the_command_lists_the_experiments(configs, capsys):
    main(["experiment", "--list", "--configs", str(configs)])
    assert capsys.readouterr().out == "paper/methods: Two methods (12 runs)\n"


@pytest.mark.parametrize(
    "arguments", [[], ["paper/methods"], ["paper/nothing", "--data_dir", "a", "--output_dir", "b"]]
)
def test_a_mistaken_command_ends_in_one_line(configs, arguments):
    with pytest.raises(SystemExit) as ended:
        main(["experiment", *arguments, "--configs", str(configs)])
    assert str(ended.value).startswith("enecg experiment: ")
    assert "\n" not in str(ended.value)


def test_seeds_that_are_no_numbers_are_refused_by_name(configs, capsys):
    with pytest.raises(SystemExit):
        main(["experiment", "--list", "--configs", str(configs), "--seeds", "1,x"])
    assert "argument --seeds: expected whole numbers as 1,2,3; got '1,x'" in capsys.readouterr().err


def shipped_forms():
    """Every shipped study in each form that it has."""
    return [(name, form) for form in (None, "small", "medium") for name in list_studies(CONFIGS, form)]


@pytest.mark.parametrize(("name", "form"), shipped_forms())
def test_every_shipped_study_comes_to_legal_recipes(name, form, tmp_path):
    study = load_study(CONFIGS, name, form)
    recipes = [run.recipe(CONFIGS, tmp_path, data_dir="records") for run in study.runs()]
    assert len({recipe.output_dir for recipe in recipes}) == len(recipes)
    assert len(study.seeds) >= {None: 3, "small": 1, "medium": 5}[form]
    paths = {expert["path"] for recipe in recipes for expert in recipe.experts.values() if "path" in expert}
    if form == "small":
        assert not paths
    if form == "medium":
        configs = [expert["config"] for recipe in recipes for expert in recipe.experts.values() if "config" in expert]
        assert all(len(config) > 1 for config in configs), "a type alone is the published size"
        assert {path for path in paths if not path.startswith("checkpoints/medium_")} == set()
    if form is None:
        assert "small" not in yaml.safe_dump(study.axes)


@pytest.mark.parametrize("name", ["post_training/main_table", "enecg/main_table"])
@pytest.mark.parametrize("form", [None, "small"])
def test_every_main_table_has_the_controls(name, form):
    controls = load_study(CONFIGS, name, form).controls
    words = ["frozen random", "xresnet1d", "permuted labels", *(["S4"] if form is None else [])]
    assert [sum(word in control for control in controls) for word in words] == [1] * len(controls)


def test_a_form_that_a_study_lacks_is_refused(configs):
    with pytest.raises(StudyError, match="there is no medium form"):
        load_study(configs, "paper/methods", "medium")
    assert list_studies(configs, "medium") == []
    assert list_studies(configs, "small") == ["paper/methods"]


def test_weights_to_be_pre_trained_first_are_missed_with_the_command_that_makes_them(configs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (configs / "pretrain_tiny_stmem.yaml").touch()
    axes = {"experts": {"own": {"experts": {"stmem": {"path": "checkpoints/tiny_stmem"}}}}}
    write_study(configs, axes=axes, small=None)
    command = "enecg train pretrain_tiny_stmem --data_dir DATA --output_dir checkpoints/tiny_stmem"
    with pytest.raises(StudyError, match=command):
        check_studies([load_study(configs, "paper/methods")], configs)


def test_a_row_to_compare_with_that_there_is_not_is_refused(configs):
    write_study(configs, against="in fool")
    with pytest.raises(StudyError, match=r"against: 'in fool' is not one of .*Did you mean in full\?"):
        load_study(configs, "paper/methods")


def test_rows_are_compared_with_one_of_them_over_all_seeds(configs, tmp_path):
    write_study(configs, against="plain", axes={"method": STUDY["axes"]["method"]}, controls={}, small=None)
    study = load_study(configs, "paper/methods")
    fabricated(study, tmp_path)
    rng = np.random.default_rng(0)
    targets = (rng.random((60, 1)) < 0.4).astype(np.float32)
    task = Task("superdiagnostic", "multi_label_classification", labels=["MI"])
    records = pd.DataFrame({"ecg_id": np.arange(60), "patient_id": [f"p{i // 2}" for i in range(60)]})
    for run in study.runs():
        noise = 0.5 if run.row == "in full" else 5.0
        outputs = 1 / (1 + np.exp(-(targets + rng.normal(0, noise, targets.shape))))
        done = Run(tmp_path / "runs" / run.name)
        done.write("config.json", {"tasks": [task.to_dict()]})
        parts = [
            Predictions(records, {task.name: targets}, {task.name: outputs}).to_frame(split, [task])
            for split in ("validation", "test")
        ]
        done.write_predictions(pd.concat(parts))
    results = read_results(study, study.runs(), tmp_path / "runs")
    compared = differences(study, results).set_index("metric").loc["macro_auroc"]
    scores = {
        row: [
            roc_auc_score(targets, Run(each.folder).splits["test"].outputs[task.name])
            for each in results.runs
            if each.run.row == row
        ]
        for row in ("in full", "plain")
    }
    assert (compared["row"], compared["task"]) == ("in full", task.name)
    assert compared["mean"] == pytest.approx(np.mean(scores["in full"]) - np.mean(scores["plain"]))
    assert 0 < compared["lower"] < compared["mean"] < compared["upper"]
    write_tables(study, results, tmp_path)
    table = (tmp_path / "table.md").read_text()
    assert "macro AUROC: more than plain" in table
    assert "| in full | **+" in table


def test_rows_may_be_compared_with_those_of_another_option_of_an_axis(configs):
    axes = {"method": STUDY["axes"]["method"], "share": {"10 %": {"train_fraction": 0.1}, "100 %": {}}}
    write_study(configs, against="plain", axes=axes, small=None)
    compared = load_study(configs, "paper/methods").compared_rows()
    assert compared == {"in full, 10 %": "plain, 10 %", "in full, 100 %": "plain, 100 %"}
