"""On what terms the weights of a model's experts may be passed on."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ..modeling_backbone import UNKNOWN_LICENCE


class ExpertWeights(NamedTuple):
    """Where an expert's weights come from, and under which licence.

    Attributes:
        name (`str`): The expert's name in its model; of a backbone alone what `enecg convert` calls it.
        backbone (`str`): The backbone's model type.
        source (`str`, *optional*): Where the weights were published; None for weights of one's own.
        licence (`str`, *optional*): As the Hub names it, `"unknown"` where none is stated; None for one's own weights.
    """

    name: str
    backbone: str
    source: str | None
    licence: str | None

    @property
    def is_free(self) -> bool:
        """Whether the weights may be passed on by whoever names their origin."""
        free = self.licence in (None, "mit", "apache-2.0", "cc-by-4.0", "cc0-1.0")
        return free or str(self.licence).startswith("bsd-")

    @property
    def obligation(self) -> str:
        """What the licence asks of those who use the weights or pass them on, in a few words."""
        if self.licence is None:
            return "whoever owns them chooses a licence"
        if self.licence == UNKNOWN_LICENCE:
            return "none is stated: ask its authors before you use or pass them on"
        if self.licence == "cc0-1.0":
            return "nothing"
        if not _is_known(self.licence):
            return "read its terms before you use or pass them on"
        if not self.licence.startswith("cc-"):
            return "keep the notice of copyright and licence"
        clauses = {
            "nc": "not for commercial use",
            "nd": "pass on no changed version",
            "sa": "changes keep the licence",
        }
        return "; ".join(["name the authors", *(clauses[part] for part in clauses if part in self.licence.split("-"))])


def expert_weights(config: Mapping[str, Any]) -> list[ExpertWeights]:
    """Return each expert of an EnECG model, or the one backbone, from the content of its `config.json`."""
    experts = config.get("experts") or {config["model_type"].removeprefix("enecg-"): config}
    weights = []
    for name in config.get("expert_order") or experts:
        source, licence = experts[name].get("weights_source"), experts[name].get("weights_licence")
        licence = licence or (UNKNOWN_LICENCE if source else None)
        weights.append(ExpertWeights(name, experts[name]["model_type"], source, licence))
    return weights


def licence_metadata(weights: Sequence[ExpertWeights]) -> dict[str, str | None]:
    """Return what a card's metadata says of the licence: the most restrictive; nothing where all weights are own."""
    licences = {each.licence: each.source for each in weights if each.licence is not None}
    if not licences:
        return {}
    licence = max(licences, key=_severity)
    if _is_known(licence):
        return {"license": licence}
    return {"license": "other", "license_name": licence, "license_link": licences[licence]}


def _is_known(licence: str) -> bool:
    return licence in ("mit", "apache-2.0", "cc0-1.0") or licence.startswith(("bsd-", "cc-by-"))


def _severity(licence: str) -> tuple[bool, ...]:
    parts = licence.split("-")
    clauses = ("nd" in parts, "nc" in parts, "sa" in parts, licence != "cc0-1.0")
    return (licence == UNKNOWN_LICENCE, not _is_known(licence), *clauses)
