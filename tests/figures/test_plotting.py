from itertools import pairwise

import numpy as np
import pytest
from matplotlib.collections import QuadMesh
from PIL import Image

from modeling_enecg.figures.experts import plot_gate_weights
from modeling_enecg.figures.labels import plot_per_label
from modeling_enecg.figures.paper_ecg import plot_ecg
from modeling_enecg.figures.training import plot_training_curves
from modeling_enecg.leads import STANDARD_LEADS

RATE = 100


def ecg(num_leads=12, seconds=10):
    return np.random.default_rng(0).normal(0, 0.1, (num_leads, seconds * RATE))


def texts(figure):
    return [text.get_text() for text in figure.findobj(match=lambda artist: hasattr(artist, "get_text"))]


def lines(figure):
    return figure.axes[0].get_lines()


def traces(figure):
    """The lines of the leads, whose number of samples no calibration pulse has."""
    return [line for line in lines(figure) if len(line.get_xdata()) > 6]


def extent_mm(figure, line):
    """Width and height of a line as it is displayed."""
    pixels = line.get_transform().transform(line.get_xydata())
    return np.ptp(pixels, axis=0) / figure.dpi * 25.4


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_ecg_is_written_in_any_format(tmp_path, suffix):
    plot_ecg(ecg(), RATE, STANDARD_LEADS, tmp_path / "plots" / f"ecg.{suffix}")
    assert [path.name for path in (tmp_path / "plots").iterdir()] == [f"ecg.{suffix}"]


def test_picture_is_printed_at_true_size(tmp_path):
    figure = plot_ecg(ecg(), RATE, STANDARD_LEADS, tmp_path / "ecg.png")
    with Image.open(tmp_path / "ecg.png") as picture:
        width_mm = picture.width / picture.info["dpi"][0] * 25.4
    assert width_mm == pytest.approx(290, abs=0.1)
    assert figure.get_figwidth() * 25.4 == pytest.approx(290)
    assert figure.get_figheight() * 25.4 <= 210


def test_a_second_spans_25_mm_and_a_millivolt_10_mm():
    signal = np.zeros((1, RATE + 1))
    signal[0, RATE // 2] = 1
    figure = plot_ecg(signal, RATE, ["I"])
    (trace,) = traces(figure)
    assert extent_mm(figure, trace) == pytest.approx([25, 10])


def test_calibration_pulse_is_200_ms_and_a_millivolt():
    figure = plot_ecg(ecg(), RATE, STANDARD_LEADS)
    pulses = [line for line in lines(figure) if len(line.get_xdata()) == 6]
    assert len(pulses) == 4
    x, y = pulses[0].get_xydata().T
    assert np.ptp(x[y == y.max()]) == 5
    assert extent_mm(figure, pulses[0])[1] == pytest.approx(10)


def test_grid_lines_are_a_millimetre_apart():
    figure = plot_ecg(ecg(), RATE, STANDARD_LEADS)
    thin, _, thick, _ = figure.axes[0].collections[1:5]
    steps = [np.diff([segment[0, 0] for segment in grid.get_segments()]) for grid in (thin, thick)]
    assert np.all(steps[0] == 1)
    assert np.all(steps[1] == 5)
    assert thin.get_linewidth()[0] < thick.get_linewidth()[0]


def test_twelve_leads_follow_each_other_above_a_rhythm_strip():
    ramps = np.tile(np.arange(10 * RATE) / RATE, (12, 1)) + np.arange(12)[:, None]
    shown = traces(plot_ecg(ramps, RATE, STANDARD_LEADS))
    assert [len(line.get_xdata()) for line in shown] == [250] * 12 + [1000]
    for row in range(3):
        x = np.concatenate([line.get_xdata() for line in shown[4 * row : 4 * row + 4]])
        assert np.diff(x) == pytest.approx(0.25)


def test_leads_are_drawn_by_name_and_about_their_median():
    signal = ecg() + 10 * np.arange(12)[:, None]
    order = np.random.default_rng(1).permutation(12)
    expected = traces(plot_ecg(signal, RATE, STANDARD_LEADS))
    shuffled = traces(plot_ecg(signal[order] - 5, RATE, [STANDARD_LEADS[i].upper() for i in order]))
    for line, other in zip(expected, shuffled, strict=True):
        assert line.get_ydata() == pytest.approx(other.get_ydata())


def test_names_title_findings_and_notices_are_shown():
    figure = plot_ecg(ecg(), RATE, STANDARD_LEADS, title="Costs $5 or $6", lines=["Normal ECG 0.97", "Sinus rhythm"])
    shown = texts(figure)
    assert set(STANDARD_LEADS) <= set(shown)
    assert {"Costs $5 or $6", "Normal ECG 0.97", "Sinus rhythm"} <= set(shown)
    assert {"25 mm/s · 10 mm/mV · 100 Hz", "Research use only, not a medical device"} <= set(shown)


def test_texts_lie_apart_and_inside_the_picture():
    figure = plot_ecg(ecg(), RATE, STANDARD_LEADS, title="A title " * 30, lines=["A long finding " * 20] * 9)
    boxes = [text.get_window_extent() for text in figure.axes[0].texts]
    for i, box in enumerate(boxes):
        assert figure.bbox.min[0] <= box.x0 < box.x1 <= figure.bbox.max[0]
        assert figure.bbox.min[1] <= box.y0 < box.y1 <= figure.bbox.max[1]
        assert not any(box.overlaps(other) for other in boxes[:i])


def test_fewer_leads_make_a_row_each():
    shown = traces(plot_ecg(ecg(2), RATE, ["V2", "MDC_ECG_LEAD_I"]))
    assert [len(line.get_xdata()) for line in shown] == [1000, 1000]
    assert shown[0].get_ydata().mean() > shown[1].get_ydata().mean()


@pytest.mark.parametrize(("seconds", "column", "strip"), [(4, 100, 400), (30, 250, 1000)])
def test_short_records_are_drawn_whole_and_long_ones_for_ten_seconds(seconds, column, strip):
    shown = traces(plot_ecg(ecg(seconds=seconds), RATE, STANDARD_LEADS))
    assert [len(line.get_xdata()) for line in shown] == [column] * 12 + [strip]


def washes(figure):
    """Where the colour of each lead begins and ends, in mm from the first trace's beginning, and its values."""
    start = traces(figure)[0].get_xdata()[0]
    meshes = [each for each in figure.axes[0].collections if isinstance(each, QuadMesh)]
    return [
        (np.ptp(each.get_coordinates()[0, :, 0]), each.get_coordinates()[0, 0, 0] - start, each.get_array()[0])
        for each in meshes
    ]


def test_a_wash_lies_behind_each_lead_at_its_own_time():
    wash = np.zeros((12, 10 * RATE))
    wash[1, 300:400] = 0.5  # lead II is drawn from 0 to 2.5 s, and in the strip
    wash[6, 600] = 3.0  # V1, from 5 to 7.5 s; beyond 1 the colour is full
    drawn = washes(plot_ecg(ecg(), RATE, STANDARD_LEADS, wash=wash))
    assert len(drawn) == 13
    width, start, strip = drawn[-1]
    assert (width, start) == pytest.approx((250, 0))
    assert np.flatnonzero(strip).tolist() == list(range(300, 400))
    width, start, chest = drawn[2]
    assert (width, start) == pytest.approx((62.5, 125))
    assert np.flatnonzero(chest).tolist() == [100]
    assert chest.max() == 1


def test_a_wash_of_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"wash has the shape \(12, 5\)"):
        plot_ecg(ecg(), RATE, STANDARD_LEADS, wash=np.zeros((12, 5)))


def test_missing_samples_are_gaps(recwarn):
    signal = ecg(2)
    signal[0, 100:200] = signal[1] = np.nan
    first, second = traces(plot_ecg(signal, RATE, ["I", "II"]))
    assert np.isnan(first.get_ydata()).sum() == 100
    assert np.isnan(second.get_ydata()).all()
    assert not recwarn


def test_other_leads_are_drawn_under_their_own_names():
    assert {"V9", "MLII", "aVR"} <= set(texts(plot_ecg(ecg(3), RATE, ["V9", "MLII", "AVR"])))


def test_a_name_that_looks_like_a_formula_is_drawn_as_it_stands():
    figure = plot_ecg(ecg(2), RATE, [r"$\none$", "$^$"], title=r"$\none$", lines=[r"$\none$"])
    figure.canvas.draw()
    assert texts(figure).count(r"$\none$") == 3


@pytest.mark.parametrize(
    ("signal", "rate", "names", "message"),
    [
        (ecg().T, RATE, STANDARD_LEADS, "shape"),
        (ecg()[0], RATE, ["I"], "shape"),
        (np.empty((12, 0)), RATE, STANDARD_LEADS, "empty"),
        (ecg(), RATE, STANDARD_LEADS[:3], "3 lead names"),
        (ecg(), 0, STANDARD_LEADS, "sampling_rate"),
        (ecg(2), RATE, ["II", "DII"], "twice"),
    ],
)
def test_wrong_input_is_refused(tmp_path, signal, rate, names, message):
    with pytest.raises(ValueError, match=message):
        plot_ecg(signal, rate, names, tmp_path / "ecg.png")
    assert not list(tmp_path.iterdir())


def test_an_unknown_format_leaves_no_file(tmp_path):
    with pytest.raises(ValueError, match="not supported"):
        plot_ecg(ecg(), RATE, STANDARD_LEADS, tmp_path / "ecg.docx")
    assert not list(tmp_path.iterdir())


def stage_log(aurocs):
    log = [
        {
            "epoch": epoch,
            "eval_loss": 0.3,
            "eval_macro_auroc": auroc,
            "eval_macro_auprc": auroc / 2,
            "eval_score": auroc,
        }
        for epoch, auroc in enumerate(aurocs, start=1)
    ]
    steps = [{"epoch": i / 2, "loss": 1 / i, "learning_rate": 1e-3 / i} for i in range(1, 2 * len(aurocs) + 1)]
    return [*steps, *log, {"epoch": len(aurocs), "train_runtime": 1.0, "train_loss": 0.2}]


def stars(figure):
    return [tuple(line.get_xydata()[0]) for line in figure.axes[1].get_lines() if line.get_marker() == "*"]


def test_the_best_epoch_of_each_stage_is_starred(tmp_path):
    history = {"probe": stage_log([0.7, 0.8, 0.75]), "skipped": [], "tune": stage_log([0.9, 0.95, 0.95, 0.91])}
    figure = plot_training_curves(history, tmp_path / "curves.png")
    assert stars(figure) == [(2, 0.8), (5, 0.95)]
    assert {"probe", "tune"} <= set(texts(figure))
    assert "skipped" not in texts(figure)
    assert (tmp_path / "curves.png").stat().st_size


def test_the_evaluation_after_training_is_not_drawn(tmp_path):
    log = [*stage_log([0.7, 0.8, 0.75]), {"epoch": 3, "eval_macro_auroc": 0.8, "eval_score": 0.8}]
    auroc = plot_training_curves({"tune": log}, tmp_path / "curves.png").axes[1].get_lines()[0]
    assert list(auroc.get_ydata()) == [0.7, 0.8, 0.75]


@pytest.mark.parametrize(
    "history",
    [{}, {"tune": []}, {"tune": [{"epoch": 1, "loss": 0.5}, {"epoch": 1, "eval_macro_auroc": None}, {"step": 3}]}],
)
def test_missing_entries_are_left_out(tmp_path, history, recwarn):
    figure = plot_training_curves(history, tmp_path / "curves.png")
    assert not stars(figure)
    assert not recwarn


def label_scores(num_labels):
    return {
        f"label {i}": {
            "auroc": {"point": 0.5 + i / 200, "lower": 0.4, "upper": 0.95},
            "auprc": {
                "point": 0.9,
                "lower": 0.2,
                "upper": 0.8,
            },  # bootstrap intervals of rare labels may miss the point
            "num_positives": 9 + i,
        }
        for i in range(num_labels)
    }


@pytest.mark.parametrize("num_labels", [1, 5, 71])
def test_labels_are_sorted_by_auroc_and_never_squeezed(tmp_path, num_labels, recwarn):
    scores = dict(reversed(label_scores(num_labels).items()))
    figure = plot_per_label(scores, tmp_path / "labels.png", "Test fold")
    ticks = figure.axes[0].get_yticklabels()
    assert [tick.get_text() for tick in ticks] == [f"label {i} ({9 + i})" for i in range(num_labels)]
    boxes = [tick.get_window_extent() for tick in ticks]
    assert all(upper.y0 >= lower.y1 for lower, upper in pairwise(boxes))
    assert all(box.x0 >= 0 for box in boxes)
    assert "Test fold" in texts(figure)
    assert not recwarn


def test_undefined_scores_come_last_and_few_positives_are_hollow(tmp_path):
    nothing = {"point": None, "lower": None, "upper": None}
    scores = label_scores(2) | {"never": {"auroc": nothing, "auprc": nothing, "num_positives": 0}}
    figure = plot_per_label(scores, tmp_path / "labels.png", "Test fold")
    auroc = figure.axes[0]
    assert [tick.get_text() for tick in auroc.get_yticklabels()] == ["never (0)", "label 0 (9)", "label 1 (10)"]
    faces = {line.get_ydata()[0]: line.get_markerfacecolor() for line in auroc.get_lines() if line.get_marker() == "o"}
    assert set(faces) == {1, 2}
    assert faces[1] == "white" != faces[2]
    assert {"undefined", "fewer than 10 positives"} <= set(texts(figure))


def test_no_labels_are_refused(tmp_path):
    with pytest.raises(ValueError, match="no label"):
        plot_per_label({}, tmp_path / "labels.png", "Test fold")
    assert not list(tmp_path.iterdir())


def test_gate_weights_show_each_expert_of_each_task(tmp_path):
    weights = {"rhythm": np.tile([0.2, 0.8], (9, 1)), "form": np.random.default_rng(0).dirichlet([1, 1], 9)}
    figure = plot_gate_weights(weights, tmp_path / "gates.png", ["ECGFounder", "ST-MEM"])
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["rhythm", "form"]
    assert list(figure.axes[0].get_lines()[-1].get_xdata()) == [0.2, 0.8]
    assert [tick.get_text() for tick in figure.axes[1].get_yticklabels()] == ["ECGFounder", "ST-MEM"]
    assert (tmp_path / "gates.png").stat().st_size


@pytest.mark.parametrize("weights", [{}, {"rhythm": np.ones((4, 3))}, {"rhythm": np.ones((0, 2))}])
def test_wrong_gate_weights_are_refused(tmp_path, weights):
    with pytest.raises(ValueError, match=r"[Gg]ate weights"):
        plot_gate_weights(weights, tmp_path / "gates.png", ["ECGFounder", "ST-MEM"])
    assert not list(tmp_path.iterdir())
