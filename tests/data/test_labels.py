import pytest

from modeling_enecg.data.ptbxl.labels import (
    SCP_STATEMENTS,
    SUPERCLASS_DESCRIPTIONS,
    TASK_LABELS,
    TASK_NAMES,
    describe,
    task_labels,
)


def test_the_six_tasks_have_the_benchmarks_class_counts():
    counts = {task: len(TASK_LABELS[task]) for task in TASK_NAMES}
    assert counts == {
        "all": 71,
        "diagnostic": 44,
        "subdiagnostic": 23,
        "superdiagnostic": 5,
        "form": 19,
        "rhythm": 12,
    }


@pytest.mark.parametrize("task", TASK_NAMES)
def test_labels_are_sorted_and_differ(task):
    assert list(TASK_LABELS[task]) == sorted(set(TASK_LABELS[task]))


def test_superclasses_are_the_five_of_the_benchmark_and_described():
    assert TASK_LABELS["superdiagnostic"] == ("CD", "HYP", "MI", "NORM", "STTC")
    assert set(SUPERCLASS_DESCRIPTIONS) == set(TASK_LABELS["superdiagnostic"])


def test_every_statement_has_a_kind_and_only_diagnostic_ones_have_classes():
    for statement in SCP_STATEMENTS:
        assert statement.kinds
        is_diagnostic = "diagnostic" in statement.kinds
        assert (statement.superclass is not None) == (statement.subclass is not None) == is_diagnostic, statement.code


@pytest.mark.parametrize(
    ("task", "labels"),
    [
        ("all", ["ASMI", "IMI", "NDT", "PVC", "SR"]),
        ("diagnostic", ["ASMI", "IMI", "NDT"]),
        ("subdiagnostic", ["AMI", "IMI", "STTC"]),
        ("superdiagnostic", ["MI", "STTC"]),
        ("form", ["NDT", "PVC"]),
        ("rhythm", ["SR"]),
    ],
)
def test_codes_give_each_tasks_sorted_labels(task, labels):
    # IMI and ASMI share a superclass; NDT is both diagnostic and form. PTB-XL gives codes with likelihoods.
    assert task_labels({"SR": 0.0, "PVC": 100.0, "NDT": 50.0, "IMI": 15.0, "ASMI": 100.0}, task) == labels


@pytest.mark.parametrize("task", TASK_NAMES)
def test_every_label_is_given_by_some_statement(task):
    assert task_labels((statement.code for statement in SCP_STATEMENTS), task) == list(TASK_LABELS[task])
    assert task_labels([], task) == []


def test_unknown_codes_are_refused_by_name():
    with pytest.raises(ValueError, match=r"Unknown SCP codes 'FOO', 'norm'; PTB-XL defines 71"):
        task_labels(["NORM", "norm", "FOO"], "all")


def test_an_unknown_task_is_refused_with_the_choice():
    with pytest.raises(ValueError, match=r"Unknown PTB-XL task 'super'; expected one of all, diagnostic"):
        task_labels(["NORM"], "super")


def test_labels_are_described_in_words():
    assert describe("IMI") == "inferior myocardial infarction"
    assert describe("STTC") == "ST/T change"
    assert describe("something else") == "something else"
