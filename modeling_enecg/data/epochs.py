"""Training records that are other ones, or other variants of them, in every epoch."""

import torch


class EpochRecords(torch.utils.data.Dataset):
    """Records that follow an epoch, which the processes that read share.

    Args:
        inner (`torch.utils.data.Dataset`, *optional*): Records that these are made of; if they follow an epoch, it is
            the same one.
    """

    def __init__(self, inner: torch.utils.data.Dataset | None = None):
        if isinstance(inner, EpochRecords):
            self._epoch: torch.Tensor = inner._epoch
        else:
            self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()

    @property
    def epoch(self) -> int:
        """The epoch that is read."""
        return int(self._epoch)

    @epoch.setter
    def epoch(self, epoch: int) -> None:
        self._epoch.fill_(epoch)


__all__ = ["EpochRecords"]
