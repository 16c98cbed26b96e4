"""Limits of settings: ranges of numbers, and fields of `TrainingArguments` that cannot be meant here."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from ..settings import SettingsError


@dataclass(frozen=True)
class Range:
    """Finite numbers from `low` to `high`, of which either may itself be left out."""

    low: float = -math.inf
    high: float = math.inf
    is_low_open: bool = False
    is_high_open: bool = False

    def __contains__(self, value: float) -> bool:
        is_above = value > self.low if self.is_low_open else value >= self.low
        is_below = value < self.high if self.is_high_open else value <= self.high
        return math.isfinite(value) and is_above and is_below

    def __str__(self) -> str:
        words = []
        if self.low > -math.inf:
            words.append(f"{'above' if self.is_low_open else 'at least'} {self.low:g}")
        if self.high < math.inf:
            words.append(f"{'below' if self.is_high_open else 'at most'} {self.high:g}")
        if not words:
            return "a finite number"
        return f"a number {'of ' if words[0].startswith('at') else ''}{' and '.join(words)}"


FINITE = Range()
POSITIVE = Range(0, is_low_open=True)
NOT_NEGATIVE = Range(0)
COUNT = Range(1)
FOLDS = Range(3)  # one is predicted, one picks epochs, one trains
RATE = Range(0, 1, is_high_open=True)  # of what is dropped
SHARE = Range(0, 1, is_low_open=True)
INNER_SHARE = Range(0, 1, is_low_open=True, is_high_open=True)
SEED = Range(0, 2**32 - 1)

# Of fields that come from transformers; our own have theirs in their metadata.
_INHERITED = {
    "learning_rate": NOT_NEGATIVE,
    "weight_decay": NOT_NEGATIVE,
    "num_train_epochs": POSITIVE,
    "warmup_steps": NOT_NEGATIVE,
    "max_grad_norm": NOT_NEGATIVE,
    "adam_beta1": RATE,
    "adam_beta2": RATE,
    "adam_epsilon": POSITIVE,
    "gradient_accumulation_steps": COUNT,
    "save_total_limit": COUNT,
    "dataloader_num_workers": NOT_NEGATIVE,
    "data_seed": SEED,
}

_BY_EPOCH = "every epoch ends with an evaluation and a checkpoint"
_NO_HUB = "a run does not upload; use enecg push"
UNUSABLE = {
    "label_smoothing_factor": "the tasks' losses have no label smoothing",
    "prediction_loss_only": "without predictions nothing can be scored",
    "dataloader_drop_last": "records would be left out of the scores; training takes whole batches anyway",
    "max_steps": "give num_train_epochs",
    "eval_strategy": _BY_EPOCH,
    "eval_steps": _BY_EPOCH,
    "eval_delay": _BY_EPOCH,
    "save_strategy": _BY_EPOCH,
    "save_steps": _BY_EPOCH,
    "load_best_model_at_end": "a stage ends with its best epoch",
    "greater_is_better": "metric_for_best_model says it",
    "save_only_model": "a run that was killed could not go on",
    "ignore_data_skip": "a resumed run would see other records",
    "resume_from_checkpoint": "the same command resumes by itself",
    "auto_find_batch_size": "global_batch_size says it, whatever the device",
    "include_for_metrics": "scores are the run's own",
    "batch_eval_metrics": "scores are of all records at once",
    "eval_do_concat_batches": "scores are of all records at once",
    "eval_on_start": "a trained model is evaluated before it is adapted anyway",
    "logging_nan_inf_filter": "it would hide that a training diverges",
    "do_train": "a recipe's stages say it",
    "do_eval": "a recipe's stages say it",
    "do_predict": "a recipe's stages say it",
    "push_to_hub": _NO_HUB,
    "hub_model_id": _NO_HUB,
    "hub_strategy": _NO_HUB,
    "hub_token": _NO_HUB,
    "hub_private_repo": _NO_HUB,
    "hub_always_push": _NO_HUB,
    "hub_revision": _NO_HUB,
}


def check_numbers(values: Mapping[str, Any], schema: Any, prefix: str = "") -> None:
    """Refuse numbers that a field cannot have, and fields that cannot be meant.

    Args:
        values (`Mapping[str, Any]`): Settings of the right types; numbers inside mappings must be finite.
        schema (`type`): The dataclass whose fields they are; a field's metadata may give its `range`.
        prefix (`str`, *optional*): What stands before a field's name in a message.

    Raises:
        SettingsError: with the field, the value, and what would be right.
    """
    ranges = _INHERITED | {item.name: item.metadata["range"] for item in fields(schema) if "range" in item.metadata}
    for name, value in values.items():
        if name in UNUSABLE:
            raise SettingsError(f"{prefix}{name}: leave it out: {UNUSABLE[name]}.")
        inner = value if isinstance(value, Mapping) else {"": value}
        for key, number in inner.items():
            legal = ranges.get(name, FINITE) if not key else FINITE
            if isinstance(number, int | float) and not isinstance(number, bool) and number not in legal:
                raise SettingsError(f"{prefix}{name}{f'.{key}' if key else ''}: expected {legal}, got {number}.")


__all__ = [
    "COUNT",
    "FOLDS",
    "INNER_SHARE",
    "NOT_NEGATIVE",
    "POSITIVE",
    "RATE",
    "SEED",
    "SHARE",
    "UNUSABLE",
    "Range",
    "check_numbers",
]
