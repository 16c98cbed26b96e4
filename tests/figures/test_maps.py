import numpy as np
import pytest

from modeling_enecg.figures.maps import plot_map
from tests.helpers.figures import has_ink_at_its_edge


def test_frequent_labels_have_a_colour_each_and_the_others_are_grey(tmp_path):
    labels = [*(f"label {number}" for number in range(9) for _ in range(12 - number)), None]
    places = np.random.default_rng(0).normal(size=(len(labels), 2))
    figure = plot_map(places, labels, tmp_path / "map.png", "75 records")
    shown = [text.get_text() for text in figure.legends[0].get_texts()]
    assert shown[:2] == ["others (9)", "no label (1)"]
    assert shown[2:] == [f"label {number} ({12 - number})" for number in range(7)]
    assert sum(len(each.get_offsets()) for each in figure.axes[0].collections) == len(labels)
    assert not has_ink_at_its_edge(tmp_path / "map.png")


def test_records_without_labels_have_no_legend(tmp_path):
    assert plot_map(np.zeros((5, 2)), None, tmp_path / "map.png", "5 records").legends == []


def test_labels_of_other_records_are_refused(tmp_path):
    with pytest.raises(ValueError, match="3 labels for 5 records"):
        plot_map(np.zeros((5, 2)), ["a", "b", "c"], tmp_path / "map.png", "5 records")
    assert list(tmp_path.iterdir()) == []
