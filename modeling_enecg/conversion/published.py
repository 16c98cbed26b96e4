"""Tables of published weights, as each model's file describes them, for `enecg experts` and the documentation."""

from dataclasses import dataclass

import torch

from ..backbones import BACKBONES
from ..modeling_backbone import ECGBackboneModel, PublishedWeights


@dataclass(frozen=True)
class PublishedBackbone(PublishedWeights):
    """A backbone with what is published for it.

    Attributes:
        model_class (`type[ECGBackboneModel]`): The backbone.
    """

    model_class: type[ECGBackboneModel]

    @property
    def model_type(self) -> str:
        """The model type."""
        return self.model_class.config_class.model_type

    @property
    def name(self) -> str:
        """What `enecg convert` calls the backbone: its model type without the package's prefix."""
        return self.model_type.removeprefix("enecg-")

    @property
    def num_parameters(self) -> int:
        """Number of parameters at the published size."""
        with torch.device("meta"):
            return self.model_class(self.model_class.config_class()).num_parameters()

    @property
    def input_size(self) -> str:
        """What the model takes by default, for instance `10 s at 500 Hz`."""
        settings = self.model_class.config_class().feature_extractor_settings()
        seconds = settings["sequence_length"] / settings["sampling_rate"]
        return f"{seconds:g} s at {settings['sampling_rate']:g} Hz"

    @property
    def convert_command(self) -> str:
        """The command that converts the published file."""
        return f"enecg convert {self.name} {self.checkpoint} checkpoints/{self.name}"


# A registered backbone of someone's own may inherit what its parent's file says of itself, but publishes nothing here.
PUBLISHED = tuple(
    PublishedBackbone(**vars(model_class.published), model_class=model_class)
    for model_class in BACKBONES.values()
    if model_class.published is not None and "published" in vars(model_class)
)


def published_table() -> str:
    """Return the table of all backbones in Markdown."""
    rows = [
        "| backbone | architecture | parameters | input | weights | their licence |",
        "|---|---|---|---|---|---|",
    ]
    for weights in PUBLISHED:
        page = weights.source.removeprefix("https://").partition("/")[2]
        rows.append(
            f"| `{weights.name}` | {weights.architecture} | {weights.num_parameters / 1e6:.3g} M | "
            f"{weights.input_size} | [{page}]({weights.source}) | {weights.licence} |"
        )
    return "\n".join(rows)


def mask_rule_table() -> str:
    """Return in Markdown how each backbone treats missing leads and padding."""
    rows = ["| backbone | missing leads and padding |", "|---|---|"]
    rows += [f"| `{weights.name}` | {weights.model_class.mask_rule} |" for weights in PUBLISHED]
    return "\n".join(rows)
