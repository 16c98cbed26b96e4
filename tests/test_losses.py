"""Each task's loss: weighted, in its own unit, with missing labels left out."""

import math

import pytest
import torch

from modeling_enecg import EnECGModel, Task
from modeling_enecg.losses import task_loss
from tests.helpers.tiny_models import AGE, RHYTHM, SEX, TASKS, one_task

NAN = math.nan


def loss_and_logits(model, inputs, labels):
    output = model(inputs, labels=labels)
    return output.loss, next(iter(output.logits.values()))


@torch.inference_mode()
@pytest.mark.parametrize("missing", [NAN, -100.0])
def test_a_multi_label_loss_leaves_missing_labels_out(tiny_experts, inputs, missing):
    model = one_task(tiny_experts, RHYTHM)
    labels = torch.tensor([[1, 0, missing], [missing, missing, missing], [0, 1, 0], [1, missing, 1]])
    loss, logits = loss_and_logits(model, inputs, {"rhythm": labels})
    is_given = torch.tensor([[1, 1, 0], [0, 0, 0], [1, 1, 1], [1, 0, 1]]).bool()
    wanted = torch.nn.functional.binary_cross_entropy_with_logits(logits[is_given], labels[is_given])
    torch.testing.assert_close(loss, wanted)


@torch.inference_mode()
def test_integer_multi_labels_are_taken(tiny_experts, inputs):
    model = one_task(tiny_experts, RHYTHM)
    labels = torch.tensor([[1, 0, -100], [0, 0, 1], [0, 1, 0], [1, -100, 1]])
    loss, _ = loss_and_logits(model, inputs, labels)
    assert torch.equal(loss, loss_and_logits(model, inputs, labels.float())[0])


@torch.inference_mode()
@pytest.mark.parametrize("labels", [[0, -100, 1, -100], [0.0, NAN, 1.0, -100.0]])
def test_a_single_label_loss_leaves_missing_labels_out(tiny_experts, inputs, labels):
    loss, logits = loss_and_logits(one_task(tiny_experts, SEX), inputs, {"sex": torch.tensor(labels)})
    wanted = torch.nn.functional.cross_entropy(logits[[0, 2]], torch.tensor([0, 1]))
    torch.testing.assert_close(loss, wanted)


@torch.inference_mode()
def test_a_regression_loss_is_of_standardised_targets_without_missing_ones(tiny_experts, inputs):
    labels = torch.tensor([70.0, NAN, 20.0, -100.0])  # -100 may be a value, for instance of the heart's axis
    loss, logits = loss_and_logits(one_task(tiny_experts, AGE), inputs, {"age": labels})
    given = [0, 2, 3]
    wanted = torch.nn.functional.mse_loss(logits[given, 0], labels[given]) / 15.0**2
    torch.testing.assert_close(loss, wanted)


@torch.inference_mode()
def test_regression_logits_are_in_the_targets_own_unit(tiny_experts, inputs):
    plain = one_task(tiny_experts, AGE, target_mean=[0.0], target_std=[1.0])(inputs).logits["age"]
    in_years = one_task(tiny_experts, AGE)(inputs)
    torch.testing.assert_close(in_years.logits["age"], plain * 15 + 60)
    torch.testing.assert_close(in_years.expert_logits["age"][:, 0], plain * 15 + 60)


@torch.inference_mode()
def test_a_regression_may_have_several_targets(tiny_experts, inputs):
    task = {"name": "intervals", "problem_type": "regression", "labels": ["PR", "QRS"], "target_std": [20.0, 10.0]}
    labels = torch.tensor([[160.0, 90.0], [NAN, 100.0], [200.0, NAN], [NAN, NAN]])
    loss, logits = loss_and_logits(one_task(tiny_experts, task), inputs, {"intervals": labels})
    errors = ((logits - labels) / torch.tensor([20.0, 10.0])) ** 2
    torch.testing.assert_close(loss, errors[~labels.isnan()].mean())


@torch.inference_mode()
def test_class_weights_weigh_positives_or_classes(tiny_experts, inputs):
    weights = [2.0, 0.5, 3.0]
    labels = torch.tensor([[1.0, 0, 1], [0, 1, 0], [0, 0, 0], [1, 1, 1]])
    loss, logits = loss_and_logits(one_task(tiny_experts, RHYTHM, class_weights=weights), inputs, labels)
    by_hand = -(labels * torch.tensor(weights) * logits.sigmoid().log() + (1 - labels) * (-logits).sigmoid().log())
    torch.testing.assert_close(loss, by_hand.mean())
    classes = torch.tensor([0, 1, 1, -100])
    loss, logits = loss_and_logits(one_task(tiny_experts, SEX, class_weights=[1.0, 4.0]), inputs, classes)
    by_record = -logits[:3].log_softmax(-1)[range(3), classes[:3]] * torch.tensor([1.0, 4.0, 4.0])
    torch.testing.assert_close(loss, by_record.sum() / 9.0)


@torch.inference_mode()
def test_the_loss_is_the_weighted_sum_over_the_tasks_that_have_labels(tiny_experts, inputs):
    tasks = [RHYTHM | {"loss_weight": 0.5}, SEX | {"loss_weight": 3.0}, AGE]
    model = EnECGModel.from_experts(tiny_experts, tasks)
    labels = {"rhythm": torch.ones(4, 3), "sex": torch.tensor([0, 1, 1, 0]), "age": torch.full((4,), 50.0)}
    unweighted = EnECGModel.from_experts(tiny_experts, TASKS)
    unweighted.load_state_dict(model.state_dict())
    alone = {name: unweighted(inputs, labels={name: labels[name]}).loss for name in labels}
    together = model(inputs, labels=labels).loss
    torch.testing.assert_close(together, 0.5 * alone["rhythm"] + 3 * alone["sex"] + alone["age"])
    torch.testing.assert_close(model(inputs, labels={"sex": labels["sex"]}).loss, 3 * alone["sex"])


@torch.inference_mode()
def test_one_tasks_labels_need_no_dict(tiny_experts, inputs):
    model, labels = one_task(tiny_experts, SEX), torch.tensor([0, 1, 1, 0])
    assert torch.equal(model(inputs, labels=labels).loss, model(inputs, labels={"sex": labels}).loss)


def test_several_tasks_labels_need_a_dict(single, inputs):
    with pytest.raises(ValueError, match="pass labels as a dict keyed by rhythm, sex, age"):
        single(inputs, labels=torch.zeros(4))


def test_labels_of_an_unknown_task_are_refused(single, inputs):
    with pytest.raises(ValueError, match=r"unknown tasks \['gender'\]; this model has rhythm, sex, age"):
        single(inputs, labels={"gender": torch.zeros(4)})


@pytest.mark.parametrize(
    ("name", "shape"), [("rhythm", (4,)), ("rhythm", (4, 2)), ("sex", (4, 3)), ("sex", (3,)), ("age", (4, 2))]
)
def test_labels_of_another_shape_are_refused(single, inputs, name, shape):
    with pytest.raises(ValueError, match=f"Labels of task '{name}' have shape"):
        single(inputs, labels={name: torch.zeros(shape)})


@pytest.mark.parametrize(
    ("task", "shape", "missing"),
    [(RHYTHM, (4, 3), NAN), (RHYTHM, (4, 3), -100.0), (SEX, (4,), NAN), (SEX, (4,), -100.0), (AGE, (4,), NAN)],
    ids=lambda each: str(each)[:16],
)
def test_a_batch_without_labels_gives_no_loss_and_no_gradient(tiny_experts, inputs, task, shape, missing):
    model = one_task(tiny_experts, task).train()
    loss = model(inputs, labels=torch.full(shape, missing)).loss
    loss.backward()
    assert loss.item() == 0
    for name, parameter in model.named_parameters():
        assert parameter.grad is None or not parameter.grad.any(), name


def test_a_missing_label_does_not_spoil_gradients(single, inputs):
    labels = {"rhythm": torch.tensor([[1, 0, NAN]] * 4), "age": torch.tensor([50.0, NAN, NAN, 60.0])}
    single.train()(inputs, labels=labels).loss.backward()
    assert all(parameter.grad is None or parameter.grad.isfinite().all() for parameter in single.parameters())


@pytest.mark.parametrize("class_weights", [None, [1.0, 3.0, 0.5]])
def test_the_loss_of_shares_is_the_share_of_losses(class_weights):
    fields = {"name": "rhythm", "problem_type": "single_label_classification", "labels": ["a", "b", "c"]}
    task = Task.from_dict(fields | {"class_weights": class_weights})
    logits = torch.randn(3, 3, generator=torch.Generator().manual_seed(0))
    one_hot = torch.eye(3)[torch.tensor([2, 0, 1])]
    one_hot[1] = torch.nan
    labels = torch.tensor([2.0, torch.nan, 1.0])
    torch.testing.assert_close(task_loss(task, logits, one_hot), task_loss(task, logits, labels))
    mixed = task_loss(task, logits[:1], torch.tensor([[0.25, 0.75, 0.0]]))
    weights = torch.tensor(class_weights or [1.0] * 3)
    shares = torch.tensor([0.25, 0.75]) * weights[:2]
    parts = torch.stack([task_loss(task, logits[:1], torch.tensor([label])) for label in (0, 1)])
    torch.testing.assert_close(mixed, (shares * parts).sum() / shares.sum())
    with pytest.raises(ValueError, match="'rhythm' must be class indices, or shares that sum to 1"):
        task_loss(task, logits, torch.zeros(3, 3))
