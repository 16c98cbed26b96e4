"""The one error of everything that is wrong with a dataset."""

from datasets.exceptions import DatasetGenerationError


class DatasetError(DatasetGenerationError, ValueError):
    """Something in a dataset that cannot be used as it is.

    It is a `DatasetGenerationError` because `datasets` lets only those through unwrapped, also from worker processes.

    Attributes:
        place (`str`, *optional*): The dataset or the file at fault, such as `"PTB-XL"` or `"labels.csv"`.
        record (`str`, *optional*): The record in it, such as `"ecg_id 12"` or `"row 7"`.
        field (`str`): An option, a column, or what is wrong in a record, such as `"data_dir"` or `"checksum"`.
        reason (`str`): What was seen, and what would be right.
    """

    def __init__(self, place: str | None, record: str | None, field: str, reason: str):
        super().__init__(place, record, field, reason)  # all four, so that the error survives pickling
        self.place, self.record, self.field, self.reason = place, record, field, reason

    def __str__(self) -> str:
        where = ", ".join(part for part in (self.place, self.record) if part)
        return ": ".join(part for part in (where, self.field, self.reason) if part)


__all__ = ["DatasetError"]
