from itertools import pairwise

import pytest

from modeling_enecg.figures.experts import plot_gate_weights_by_class, plot_leave_one_out


def table_of(num_labels, experts):
    means = {"num_records": 12, "weights": {expert: (i + 1) / 100 for i, expert in enumerate(experts)}}
    never = {"num_records": 0, "weights": dict.fromkeys(experts)}
    per_label = {f"label {i}": means for i in range(num_labels - 1)} | {"never": never}
    return {"all_records": means | {"num_records": 400}, "per_label": per_label if num_labels else {}}


def cells(figure):
    return [text for text in figure.axes[0].texts if text.get_text()]


@pytest.mark.parametrize("experts", [["ECGFounder", "ST-MEM"], [f"expert-{i} of a long name" for i in range(7)]])
@pytest.mark.parametrize("num_labels", [0, 2, 71])
def test_a_heat_map_shows_each_class_and_expert(tmp_path, num_labels, experts, recwarn):
    figure = plot_gate_weights_by_class(table_of(num_labels, experts), tmp_path / "classes.png", "Test fold")
    (axes,) = figure.axes
    names = [f"label {i} (12)" for i in range(num_labels - 1)] + ["never (0)"] * (num_labels > 0)
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["all records (400)", *names]
    assert [tick.label2.get_text() for tick in axes.xaxis.get_major_ticks()] == experts
    row = [f"0.0{i + 1}" for i in range(len(experts))]
    assert [text.get_text() for text in cells(figure)] == row * max(num_labels, 1) + ["–"] * len(experts) * (
        num_labels > 0
    )
    assert figure.get_suptitle() == "Test fold"
    assert (tmp_path / "classes.png").stat().st_size
    assert not recwarn


@pytest.mark.parametrize("num_labels", [2, 71])
def test_a_heat_maps_texts_lie_apart_and_inside_the_picture(tmp_path, num_labels):
    experts = [f"expert-{i} of a long name" for i in range(7)]
    figure = plot_gate_weights_by_class(table_of(num_labels, experts), tmp_path / "classes.png", "Test fold")
    (axes,) = figure.axes
    rows = [tick.get_window_extent() for tick in axes.get_yticklabels()]
    columns = [text.get_window_extent() for text in cells(figure)[: len(experts)]]
    assert all(upper.y0 >= lower.y1 for upper, lower in pairwise(rows))
    assert rows[0].y0 - rows[1].y1 > 1.5 * (rows[1].y0 - rows[2].y1)  # the first set apart
    assert all(left.x1 < right.x0 for left, right in pairwise(columns))
    names = [tick.label2.get_window_extent() for tick in axes.xaxis.get_major_ticks()]
    assert all(figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1 for box in (*rows, *columns, names[0]))
    assert all(figure.bbox.y0 <= box.y0 and box.y1 <= figure.bbox.y1 for box in (*rows, *columns, *names))


def test_a_class_without_a_record_is_grey_and_a_weight_blue(tmp_path):
    figure = plot_gate_weights_by_class(table_of(2, ["ECGFounder", "ST-MEM"]), tmp_path / "classes.png", "Test fold")
    first, never = figure.axes[0].collections[1].get_facecolor().reshape(2, 2, 4)[:, 0]
    assert first[0] < first[2]
    assert 0 < never[0] == never[1] == never[2] < never[3] == 1


def test_a_label_may_be_called_all_records(tmp_path):
    table = table_of(1, ["ECGFounder", "ST-MEM"])
    table["per_label"] = {"all records": table["all_records"] | {"num_records": 3}}
    figure = plot_gate_weights_by_class(table, tmp_path / "classes.png", "Test fold")
    names = [tick.get_text() for tick in figure.axes[0].get_yticklabels()]
    assert names == ["all records (400)", "all records (3)"]


def changes(*points, score="macro_auroc"):
    intervals = [{"point": point, "lower": point - 0.1, "upper": point + 0.1} for point in points]
    nothing = dict.fromkeys(("point", "lower", "upper"))
    names = ["a", "b", "c", "d"]
    return dict(zip(names, [{score: each, "other": nothing} for each in intervals], strict=False))


def dots(axes):
    return {line.get_ydata()[0]: line for line in axes.get_lines() if line.get_marker() == "o"}


def test_the_most_needed_expert_is_on_top_and_undefined_ones_at_the_bottom(tmp_path):
    differences = changes(0.3, -0.2, 0.0)
    differences["d"] = {"macro_auroc": dict.fromkeys(("point", "lower", "upper"))}
    differences = {name: differences[name] for name in "dacb"}
    (axes,) = plot_leave_one_out({"rhythm": differences}, tmp_path / "without.png").axes
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["b", "c", "a", "d"]
    bottom, top = axes.get_ylim()
    assert bottom > top  # the first row is the highest
    assert {y: line.get_xdata()[0] for y, line in dots(axes).items()} == {0: -0.2, 1: 0.0, 2: 0.3}
    assert [text.get_text() for text in axes.texts] == ["undefined"]
    assert (tmp_path / "without.png").stat().st_size


def test_intervals_that_include_zero_are_hollow(tmp_path):
    figure = plot_leave_one_out({"rhythm": changes(-0.2, 0.05, 0.3)}, tmp_path / "without.png")
    worse, unsure, better = (dots(figure.axes[0])[y] for y in range(3))
    assert unsure.get_markerfacecolor() == "white"
    assert len({"white", worse.get_markerfacecolor(), better.get_markerfacecolor()}) == 3
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == ["worse without the expert", "interval includes 0", "better without it"]


def test_each_task_has_a_panel_and_those_of_one_score_a_scale(tmp_path):
    age = {name: {"mae": None, "r2": each["macro_auroc"]} for name, each in changes(-3, 2).items()}
    differences = {"rhythm": changes(0.05, -0.2), "age": age, "form": changes(0.1, 0.2, -0.7)}
    figure = plot_leave_one_out(differences, tmp_path / "without.png")
    first, second, third = figure.axes
    titles = [axes.get_title(loc="left") for axes in (first, second, third)]
    assert titles == ["rhythm: macro AUROC", "age: R²", "form: macro AUROC"]
    assert first.get_xlim() == third.get_xlim() != second.get_xlim()
    assert first.get_xlim()[0] < -0.8
    for axes in (first, second, third):
        assert axes.get_lines()[0].get_xdata() == [0, 0]
    assert len(figure.legends[0].get_texts()) == 3  # the first panel's two kinds and a third of the others


def test_what_is_left_out_is_drawn_as_it_was_computed(tmp_path, recwarn):
    names = {"findings": "macro_auroc", "rhythm": "macro_auroc", "age": "r2"}
    differences = {task: changes(-0.3, 0.2, 0.0, score=score) for task, score in names.items()}
    figure = plot_leave_one_out(differences, tmp_path / "without.png")
    for axes, (task, by_expert) in zip(figure.axes, differences.items(), strict=True):
        drawn = {tick.get_text(): dots(axes)[y].get_xdata()[0] for y, tick in enumerate(axes.get_yticklabels())}
        assert drawn == {expert: metrics[names[task]]["point"] for expert, metrics in by_expert.items()}
    assert not recwarn


def test_no_differences_are_refused(tmp_path):
    with pytest.raises(ValueError, match="at least one task"):
        plot_leave_one_out({}, tmp_path / "without.png")
    assert not list(tmp_path.iterdir())
