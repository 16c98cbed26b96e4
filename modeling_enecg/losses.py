"""Each task's loss, with missing labels left out, and what keeps a sparse gate balanced."""

import torch
from torch import nn

from .tasks import MISSING, Task


def task_loss(task: Task, logits: torch.Tensor, labels: torch.Tensor, is_shared: bool = False) -> torch.Tensor:
    """Return the mean loss over the labels that are there; 0 where none is.

    Multi-label: binary cross-entropy; single-label: cross-entropy; regression: squared error of standardised targets.

    Args:
        task (`Task`): Gives the problem type, class weights and target statistics.
        logits (`torch.FloatTensor` of shape `(batch_size, num_outputs)`): For a regression in the target's own unit.
        labels (`torch.Tensor`): Multi-label: from 0 to 1, `(batch_size, num_outputs)`. Single-label: class indices,
            `(batch_size,)`, or each class's share, `(batch_size, num_outputs)`. Regression: values in the target's own
            unit, `(batch_size,)` or `(batch_size, num_outputs)`. Missing is NaN; in a classification -100 as well, but
            not for shares.
        is_shared (`bool`, *optional*, defaults to False): Whether all processes hold parts of one batch and compute
            this at once: the mean of their losses is then the whole batch's, however missing labels are spread.

    Returns:
        `torch.FloatTensor` of shape `()`.

    Raises:
        ValueError: if the labels have the wrong shape, or shares do not sum to 1.
    """
    logits = logits.float()
    if task.problem_type == "single_label_classification":
        losses, weights = _cross_entropy(task, logits, labels)
    else:
        losses, weights = _losses_by_output(task, logits, labels)
    total = weights.sum()
    if is_shared:
        total = mean_over_processes(total)
    return losses.sum() / total.clamp(min=torch.finfo(total.dtype).tiny)


def _losses_by_output(task: Task, logits: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the loss of each output, 0 where the label is missing, and 1 where it is given."""
    if task.is_regression and labels.ndim == 1 and task.num_outputs == 1:
        labels = labels[:, None]
    _check_shape(task, labels, logits.shape)
    labels = labels.to(logits.dtype)
    is_given = ~labels.isnan() if task.is_regression else ~(labels.isnan() | (labels == MISSING))
    labels = torch.where(is_given, labels, 0.0)
    if task.is_regression:
        losses = ((logits - labels) / logits.new_tensor(task.target_std)) ** 2
    else:
        weights = None if task.class_weights is None else logits.new_tensor(task.class_weights)
        losses = nn.functional.binary_cross_entropy_with_logits(logits, labels, pos_weight=weights, reduction="none")
    return losses * is_given, is_given.to(logits.dtype)


def _cross_entropy(task: Task, logits: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return each record's loss, weighted, 0 where the label is missing, and its weight."""
    if labels.ndim == 2:
        return _cross_entropy_of_shares(task, logits, labels)
    _check_shape(task, labels, logits.shape[:1])
    if labels.is_floating_point():
        labels = labels.nan_to_num(nan=MISSING)
    labels, weights = labels.long(), _class_weights(task, logits)
    losses = nn.functional.cross_entropy(logits, labels, weight=weights, ignore_index=MISSING, reduction="none")
    return losses, torch.where(labels == MISSING, 0.0, weights[labels.clamp(min=0)])


def _cross_entropy_of_shares(
    task: Task, logits: torch.Tensor, shares: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the mean of what `_cross_entropy` gives for each class, by the classes' shares."""
    _check_shape(task, shares, logits.shape)
    total = shares.sum(dim=1)
    if not (total.isnan() | ((total - 1).abs() < 1e-3)).all():
        raise ValueError(
            f"Labels of task {task.name!r} must be class indices, or shares that sum to 1 in each record."
        )
    weighted = shares.to(logits.dtype).nan_to_num(nan=0.0) * _class_weights(task, logits)
    return -(weighted * logits.log_softmax(dim=1)).sum(dim=1), weighted.sum(dim=1)


def _class_weights(task: Task, logits: torch.Tensor) -> torch.Tensor:
    if task.class_weights is None:
        return logits.new_ones(task.num_outputs)
    return logits.new_tensor(task.class_weights)


def mean_over_processes(values: torch.Tensor) -> torch.Tensor:
    """Average a tensor over the processes that train together."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return values
    values = values.clone()
    torch.distributed.all_reduce(values)
    return values / torch.distributed.get_world_size()


def load_balancing_loss(probabilities: torch.Tensor, is_chosen: torch.Tensor) -> torch.Tensor:
    """Return what is 1 where a sparse gate uses all experts alike, and grows where it prefers some.

    The number of experts times the sum over experts of the share of choices and the mean probability. Fedus et al.,
    "Switch Transformers", arXiv 2101.03961, equation 4. The shares are those of the whole batch, over all processes.

    Args:
        probabilities (`torch.FloatTensor` of shape `(batch_size, num_experts)`): The gate's softmax over all experts.
        is_chosen (`torch.BoolTensor` of shape `(batch_size, num_experts)`): Which experts the gate keeps.

    Returns:
        `torch.FloatTensor` of shape `()`.
    """
    shares = mean_over_processes(is_chosen.float().mean(dim=0))
    shares = shares / shares.sum()
    return probabilities.shape[-1] * (shares * probabilities.float().mean(dim=0)).sum()


def _check_shape(task: Task, labels: torch.Tensor, expected: torch.Size) -> None:
    if labels.shape != expected:
        raise ValueError(f"Labels of task {task.name!r} have shape {tuple(labels.shape)}; expected {tuple(expected)}.")
