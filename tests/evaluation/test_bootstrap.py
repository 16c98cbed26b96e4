import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from modeling_enecg import Task
from modeling_enecg.evaluation import Bootstrap, Scored, bootstrap_scores
from modeling_enecg.evaluation.bootstrap import draw_resamples
from modeling_enecg.evaluation.experts import leave_one_expert_out
from tests.helpers.scores import evaluate

FINDINGS = Task("findings", "multi_label_classification", ["MI", "HYP", "CD"])
RHYTHM = Task("rhythm", "single_label_classification", ["SR", "AFIB", "STACH"])
AGE = Task("age", "regression", unit="years")


def example(task, num_patients=60, seed=0):
    """Targets and outputs of patients with one to three records, in random order, the records of one alike."""
    rng = np.random.default_rng(seed)
    patients = rng.permutation(np.repeat(np.arange(num_patients), rng.integers(1, 4, size=num_patients)))
    like_patient = rng.normal(size=(num_patients, task.num_outputs))[patients]
    if task.is_regression:
        targets = 60 + 10 * like_patient[:, 0]
        return targets, (targets + 5 * rng.normal(size=num_patients)[patients])[:, None], patients
    targets = like_patient > [0.0, 0.7, 1.2]
    if task is RHYTHM:
        targets = like_patient.argmax(axis=1)
    probabilities = rng.dirichlet(np.ones(3), len(patients)) * 0.7 + 0.3 * like_patient.argsort(axis=1) / 3
    return targets, probabilities / probabilities.sum(axis=1, keepdims=True), patients


def resample_by_hand(patients, draw):
    """The records of drawn patients, one patient after the other."""
    names = list(dict.fromkeys(patients.tolist()))
    return np.concatenate([np.flatnonzero(patients == names[number]) for number in draw])


def test_a_drawn_patient_brings_all_its_records():
    """Ann has records 0 and 2, Bob 1, Cy 3 to 5; seed 4 draws Cy three times, and then Bob once and Cy twice."""
    resamples = draw_resamples(6, num_resamples=2, seed=4, patients=["Ann", "Bob", "Ann", "Cy", "Cy", "Cy"])
    assert resamples.resampled_by == "patient"
    assert [sorted(records.tolist()) for records in resamples.records] == [
        [3, 3, 3, 4, 4, 4, 5, 5, 5],
        [1, 3, 3, 4, 4, 5, 5],
    ]


def test_counts_say_how_often_each_record_was_drawn_after_the_data_as_given():
    patients = np.random.default_rng(1).integers(10, size=25)
    resamples = draw_resamples(25, num_resamples=30, patients=patients)
    assert resamples.counts.shape == (31, 25)
    assert (resamples.counts[0] == 1).all()
    for counts, records in zip(resamples.counts[1:], resamples.records, strict=True):
        assert counts.tolist() == [np.count_nonzero(records == record) for record in range(25)]
        for patient in set(patients.tolist()):
            assert len(set(counts[patients == patient])) == 1
    assert len({len(records) for records in resamples.records}) > 1


def test_a_patient_bootstrap_by_hand():
    """Two patients with two records each: of 2 draws, a quarter takes one patient twice and half takes both.

    Patient a alone is ranked right (AUROC 1), b alone wrong (0), both together half right: positives 0.9 and 0.2
    against negatives 0.1 and 0.3 win three of four pairs.
    """
    targets, scores = [[1], [0], [1], [0]], [[0.9], [0.1], [0.2], [0.3]]
    result = bootstrap_scores(targets, scores, num_resamples=4000, patients=["a", "a", "b", "b"])["macro_auroc"]
    values, counts = np.unique(result["samples"], return_counts=True)
    assert values.tolist() == [0, 0.75, 1]
    assert counts / 4000 == pytest.approx([0.25, 0.5, 0.25], abs=0.03)
    assert (result["point"], result["lower"], result["upper"]) == (0.75, 0, 1)
    by_record = bootstrap_scores(targets, scores, num_resamples=4000)["macro_auroc"]["samples"]
    assert np.isnan(by_record).any()  # a resample of records may lack a class, one of these patients cannot


def test_the_patient_bootstrap_equals_a_loop_over_scikit_learn():
    targets, probabilities, patients = example(FINDINGS)
    draws = np.random.default_rng(7).integers(60, size=(40, 60))
    result = bootstrap_scores(targets, probabilities, num_resamples=40, seed=7, patients=patients)
    for metric, function in (
        ("macro_auroc", sklearn_metrics.roc_auc_score),
        ("macro_auprc", sklearn_metrics.average_precision_score),
    ):
        rows = [resample_by_hand(patients, draw) for draw in draws]
        expected = [function(targets[each], probabilities[each], average="macro") for each in rows]
        np.testing.assert_allclose(result[metric]["samples"], expected, rtol=0, atol=1e-12)


def test_the_patient_bootstrap_of_a_regression_equals_a_loop():
    targets, outputs, patients = example(AGE)
    draws = np.random.default_rng(0).integers(60, size=(200, 60))
    errors = np.abs(targets - outputs[:, 0])
    expected = [errors[resample_by_hand(patients, draw)].mean() for draw in draws]
    scores = evaluate(AGE, targets, outputs, num_resamples=200, confidence=0.8, patients=patients)
    assert [scores["mae"]["lower"], scores["mae"]["upper"]] == pytest.approx(np.quantile(expected, [0.1, 0.9]))


@pytest.mark.parametrize("task", [FINDINGS, RHYTHM, AGE], ids=lambda task: task.name)
def test_patients_with_several_records_are_drawn_unless_they_are_not_told(task):
    targets, outputs, patients = example(task)
    by_patient, by_record, alone = (
        evaluate(task, targets, outputs, num_resamples=30, patients=each)
        for each in (patients, None, np.arange(len(patients)))
    )
    assert (by_patient["resampled_by"], by_record["resampled_by"]) == ("patient", "record")
    assert alone == by_record
    metric = "mae" if task is AGE else "macro_auroc"
    assert by_patient[metric]["point"] == by_record[metric]["point"]
    assert by_patient[metric]["lower"] != by_record[metric]["lower"]


def test_intervals_of_alike_records_are_wider_by_patient():
    """Each record stands there four times, so a quarter of the records is known: intervals are twice as wide."""
    targets, outputs, _ = example(AGE, num_patients=200)
    copies = np.repeat(np.arange(200), 4)
    by_patient, by_record = (
        evaluate(AGE, targets[:200][copies], outputs[:200][copies], patients, num_resamples=1000)["mae"]
        for patients in (copies, None)
    )
    widths = [scores["upper"] - scores["lower"] for scores in (by_patient, by_record)]
    assert widths[0] / widths[1] == pytest.approx(2, rel=0.15)


def test_equal_seeds_draw_equal_resamples_whatever_is_scored():
    patients = np.random.default_rng(1).integers(10, size=25)
    first, again, other = (draw_resamples(25, 5, seed, patients).counts for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


@pytest.mark.parametrize("unknown", [None, np.nan])
def test_a_record_of_an_unknown_patient_is_a_patient_of_its_own(unknown):
    counts = draw_resamples(4, 50, patients=np.array([1, 1, unknown, unknown], dtype=object)).counts
    assert (counts[:, 0] == counts[:, 1]).all()
    assert (counts[:, 2] != counts[:, 3]).any()
    assert set(counts[1:, 1] + counts[1:, 2] + counts[1:, 3]) == {3}


def test_patients_of_records_without_targets_are_left_out():
    targets, outputs, patients = example(AGE)
    with_gaps = np.where(np.arange(len(targets)) % 5 == 0, np.nan, targets)
    kept = ~np.isnan(with_gaps)
    expected = evaluate(AGE, targets[kept], outputs[kept], num_resamples=20, patients=patients[kept])
    assert evaluate(AGE, with_gaps, outputs, num_resamples=20, patients=patients) == expected


def test_leaving_an_expert_out_is_compared_on_resamples_of_patients():
    targets, outputs, patients = example(AGE)
    logits = np.stack([outputs, np.full_like(outputs, 60)], axis=1)
    weights = np.full((len(patients), 2), 0.5)
    scored = Scored(AGE, targets, outputs, patients)
    result = leave_one_expert_out(scored, logits, weights, ["a", "b"], Bootstrap(50, confidence=0.8))
    change = np.abs(targets - outputs[:, 0]) - np.abs(targets - (outputs[:, 0] + 60) / 2)
    draws = np.random.default_rng(0).integers(60, size=(50, 60))
    expected = [change[resample_by_hand(patients, draw)].mean() for draw in draws]
    interval = result["b"]["mae"]
    assert [interval["lower"], interval["upper"]] == pytest.approx(np.quantile(expected, [0.1, 0.9]), abs=1e-5)


def test_resamples_within_some_records_number_these_anew():
    resamples = draw_resamples(6, 20, patients=[0, 0, 1, 1, 2, 2])
    chosen = np.array([True, False, False, True, True, False])
    within = resamples.within(chosen)
    assert (within.num_records, within.resampled_by) == (3, "patient")
    np.testing.assert_array_equal(within.counts, resamples.counts[:, chosen])


@pytest.mark.parametrize("patients", [[1, 2], [[1], [2], [3]]])
def test_one_patient_a_record_is_needed(patients):
    with pytest.raises(ValueError, match=r"patients.*3"):
        draw_resamples(3, patients=patients)
    with pytest.raises(ValueError, match=r"patients must be of shape \(num_records,\), here \(3,\)"):
        evaluate(AGE, np.zeros(3), np.zeros((3, 1)), patients=patients)


@pytest.mark.parametrize(("num_positives", "few"), [(9, True), (10, False)])
def test_a_label_with_fewer_than_ten_positives_is_marked(num_positives, few):
    targets = (np.arange(60) < num_positives)[:, None]
    task = Task("findings", "multi_label_classification", ["MI"])
    scores = evaluate(task, targets, np.linspace(1, 0, 60)[:, None], num_resamples=3)
    assert scores["per_label"]["MI"]["few_positives"] is few
