"""Figures of what probabilities are worth, and what all figures of a report share."""

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from PIL import Image

from modeling_enecg import Task
from modeling_enecg.evaluation import Bootstrap, Scored
from modeling_enecg.evaluation.curves import precision_recall_band, roc_band
from modeling_enecg.evaluation.reliability import calibration_scores
from modeling_enecg.figures.labels import plot_differences, plot_per_label
from modeling_enecg.figures.probabilities import (
    NUM_LINES,
    plot_calibration,
    plot_decision_curves,
    plot_ranking_curves,
)
from modeling_enecg.figures.style import COLORS
from modeling_enecg.figures.subgroups import plot_subgroups
from modeling_enecg.figures.training import plot_training_curves
from tests.helpers.figures import has_ink_at_its_edge

LONG = "a title that is far too long for a single line above so small a figure, $x^2$ and all " * 2


def records(num_labels, num_records=200):
    rng = np.random.default_rng(0)
    truth = rng.random((num_labels, num_records)) < 0.3
    chances = np.clip(rng.normal(0.3 + 0.3 * truth, 0.2), 0, 1)
    return {f"label {index}": pair for index, pair in enumerate(zip(truth, chances, strict=True))}


def arrows(axes):
    return [line for line in axes.get_lines() if line.get_marker() in ("<", ">")]


def row(point, lower, upper, **more):
    return {"point": point, "lower": lower, "upper": upper, **more}


def test_ranking_curves_begin_and_end_where_they_must(tmp_path):
    figure = plot_ranking_curves(records(2), tmp_path / "ranking.png", "Test")
    roc, precision = figure.axes
    for line in roc.get_lines()[1:]:
        assert (line.get_xydata()[0].tolist(), line.get_xydata()[-1].tolist()) == ([0, 0], [1, 1])
    curves = [line for line in precision.get_lines() if line.get_linestyle() == "-"]
    assert [line.get_xdata()[-1] for line in curves] == [1, 1]
    prevalences = [line.get_ydata()[0] for line in precision.get_lines() if line.get_linestyle() == ":"]
    assert prevalences == [truth.mean() for truth, _ in records(2).values()]


def test_bands_lie_about_the_curves_of_the_labels_that_have_one(tmp_path):
    shown = records(2)
    counts = np.random.default_rng(0).multinomial(200, np.full(200, 1 / 200), 50)
    bands = {"label 1": tuple(band(*shown["label 1"], counts) for band in (roc_band, precision_recall_band))}
    figure = plot_ranking_curves(shown, tmp_path / "ranking.png", "Test", bands)
    for axes in figure.axes:
        (drawn,) = axes.collections
        assert drawn.get_facecolor()[0, :3] == pytest.approx(to_rgb(COLORS[1]))
        assert (drawn.get_paths()[0].vertices[:, 1] <= 1).all()


@pytest.mark.parametrize("number", [0, NUM_LINES + 1])
def test_more_lines_than_can_be_told_apart_are_refused(number, tmp_path):
    with pytest.raises(ValueError, match=f"got {number}"):
        plot_ranking_curves(records(number), tmp_path / "ranking.png", "Test")


@pytest.mark.parametrize("num_labels", [1, 3, 7, 12])
def test_each_label_has_a_panel_with_both_ways_to_act_without_a_model(num_labels, tmp_path):
    shown = records(num_labels)
    figure = plot_decision_curves(shown, shown, tmp_path / "benefit.png", "Test")
    assert len(figure.axes) == num_labels
    names = {line.get_label() for line in figure.axes[0].get_lines()}
    assert names == {"act on everybody", "act on nobody", "as predicted", "calibrated"}
    lowest = [axes for axes in figure.axes if axes.get_xlabel()]
    assert len(lowest) == min(num_labels, {1: 1, 3: 3, 7: 4, 12: 4}[num_labels])


def test_without_calibration_only_predictions_are_drawn(tmp_path):
    task = Task("findings", "multi_label_classification", list(records(3)))
    truth, chances = (np.transpose(each) for each in zip(*records(3).values(), strict=True))
    before = calibration_scores(Scored(task, truth, chances), Bootstrap(5))
    figure = plot_calibration(before, None, tmp_path / "calibration.png", "Test")
    assert {text.get_text() for text in figure.legends[0].get_texts()} == {"as predicted", "perfect calibration"}
    figure = plot_decision_curves(records(3), None, tmp_path / "benefit.png", "Test")
    assert "calibrated" not in {text.get_text() for text in figure.legends[0].get_texts()}


def test_every_file_that_is_asked_for_is_written_and_fit_for_print(tmp_path):
    paths = [tmp_path / f"ranking.{ending}" for ending in ("png", "svg", "pdf")]
    figure = plot_ranking_curves(records(2), paths, "Test")
    with Image.open(paths[0]) as image:
        assert image.size == tuple(np.round(300 * figure.get_size_inches()))
        assert image.info["dpi"] == pytest.approx((300, 300), abs=0.1)
    assert paths[1].read_text().lstrip().startswith("<?xml")
    assert paths[2].read_bytes().startswith(b"%PDF")
    assert sorted(tmp_path.iterdir()) == sorted(paths)


def test_learning_rates_are_plain_numbers(tmp_path):
    for lowest in (1e-7, 2e-4):
        log = [{"epoch": epoch, "loss": 1.0, "learning_rate": rate} for epoch, rate in enumerate((1e-3, lowest), 1)]
        rates = plot_training_curves({"tune": log}, tmp_path / "curves.png").axes[2]
        shown = [tick.label1.get_text() for tick in rates.yaxis._update_ticks()]
        assert len(shown) >= 2
        assert [float(text) for text in shown]  # no formula


def test_an_interval_that_leaves_the_figure_ends_in_an_arrow(tmp_path):
    rows = {
        "common": row(0.1, 0.05, 0.15, few_positives=False),
        "rare": row(0.1, -0.9, 0.9, few_positives=True),
        "alone": row(0.1, None, None, few_positives=True),
    }
    (axes,) = plot_differences(rows, row(0.1, 0, 0.2), [], "AUROC", tmp_path / "bars.png", "Test").axes
    assert [(line.get_marker(), line.get_ydata()[0]) for line in arrows(axes)] == [("<", 1), (">", 1)]
    assert [line.get_xdata()[0] for line in arrows(axes)] == list(axes.get_xlim())
    assert len(axes.collections) == 3  # the mean's and two labels': one has no interval


def test_a_small_groups_interval_does_not_set_the_scale(tmp_path):
    groups = {
        "male": {"num_records": 90, "few_records": False, "r2": row(0.5, 0.4, 0.6)},
        "female": {"num_records": 12, "few_records": True, "r2": row(0.3, -9, 0.7)},
        "other": {"num_records": 2, "few_records": True, "r2": row(-0.2, None, None)},
    }
    (axes,) = plot_subgroups({"sex": {"groups": groups}}, "r2", tmp_path / "groups.png", "Test").axes
    assert -0.5 < axes.get_xlim()[0] < -0.2
    assert [line.get_marker() for line in arrows(axes)] == ["<", ">"]


@pytest.mark.parametrize("kind", ["labels", "differences", "ranking", "benefit", "groups"])
def test_nothing_is_cut_however_long_names_are(kind, tmp_path):
    path, labels = tmp_path / "figure.png", [f"a label with a name of some length, number {i}" for i in range(3)]
    value = {"auroc": row(0.9, 0.8, 1), "auprc": row(0.5, None, None), "num_positives": 9}
    groups = {label: {"num_records": 40, "few_records": False, "r2": row(0.5, 0.4, 0.6)} for label in labels}
    named = dict(zip(labels, records(3).values(), strict=True))
    {
        "labels": lambda: plot_per_label(dict.fromkeys(labels, value), path, LONG),
        "differences": lambda: plot_differences(
            dict.fromkeys(labels, row(0.1, 0, 0.2)), row(0.1, 0, 0.2), labels, "AUROC", path, LONG
        ),
        "ranking": lambda: plot_ranking_curves(named, path, LONG),
        "benefit": lambda: plot_decision_curves(named, None, path, LONG),
        "groups": lambda: plot_subgroups({"sex": {"groups": groups}}, "r2", path, LONG),
    }[kind]()
    assert not has_ink_at_its_edge(path)
