"""ECG paper as one wants it: which lead goes where, how fast the paper runs, and how high a millivolt is."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

# Rows of leads whose columns follow each other in time. This module is read for a command's help, without NumPy.
LAYOUTS: dict[str, tuple[tuple[str, ...], ...]] = {
    "3x4": (("I", "aVR", "V1", "V4"), ("II", "aVL", "V2", "V5"), ("III", "aVF", "V3", "V6"), ("II",)),
    "6x2": (("I", "V1"), ("II", "V2"), ("III", "V3"), ("aVR", "V4"), ("aVL", "V5"), ("aVF", "V6")),
    "12x1": tuple((lead,) for lead in ["I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6"]),
    "cabrera": (("aVL", "V1"), ("I", "V2"), ("-aVR", "V3"), ("II", "V4"), ("aVF", "V5"), ("III", "V6")),
}
SPEEDS = (25.0, 50.0)  # mm per second
GAINS = (5.0, 10.0, 20.0)  # mm per mV
INVERTED = "-"  # before the name of a lead that is drawn upside down

_TRACE_WIDTH = 250.0  # mm of time, which A4 paper holds


@dataclass(frozen=True)
class Paper:
    """How an ECG is laid out and scaled.

    Attributes:
        layout (`str`, *optional*, defaults to `"3x4"`): Of `LAYOUTS`: `"3x4"` has a rhythm strip of lead II,
            `"cabrera"` two columns with the limb leads in Cabrera's order, aVL, I, -aVR, II, aVF and III.
        mm_per_second (`float`, *optional*, defaults to 25): 25 or 50. The paper holds 250 mm: 10 s or 5 s.
        mm_per_mv (`float`, *optional*, defaults to 10): 5, 10 or 20.

    Raises:
        ValueError: if a value is none of these.
    """

    layout: str = "3x4"
    mm_per_second: float = 25.0
    mm_per_mv: float = 10.0

    def __post_init__(self) -> None:
        _check("layout", self.layout, LAYOUTS)
        _check("mm_per_second", self.mm_per_second, SPEEDS)
        _check("mm_per_mv", self.mm_per_mv, GAINS)

    @property
    def shown_seconds(self) -> float:
        """How much of a recording the paper holds."""
        return _TRACE_WIDTH / self.mm_per_second

    def rows(self, names: Sequence[str]) -> list[tuple[str, ...]]:
        """Return which leads make which row, an inverted one with `INVERTED` before its name.

        With all twelve standard leads that is the layout, and a row for each other lead below it. Fewer leads make one
        row each, in the order given; of Cabrera's layout in its order.

        Args:
            names (`Sequence[str]`): The leads that there are, standard ones in standard spelling.
        """
        layout = LAYOUTS[self.layout]
        placed = [lead for column in range(len(layout[0])) for lead in (row[column : column + 1] for row in layout)]
        order = {lead.removeprefix(INVERTED): lead for (lead,) in filter(None, placed)}
        others = [(name,) for name in names if name not in order]
        if order.keys() <= set(names):
            return [*layout, *others]
        if self.layout == "cabrera":
            return [*((lead,) for name, lead in order.items() if name in names), *others]
        return [(name,) for name in names]


def _check(name: str, value: object, known: Collection[object]) -> None:
    if value not in known:
        shown = ", ".join(f"{each:g}" if isinstance(each, float) else str(each) for each in known)
        raise ValueError(f"{name} must be one of {shown}; got {value!r}.")


__all__ = ["GAINS", "INVERTED", "LAYOUTS", "SPEEDS", "Paper"]
