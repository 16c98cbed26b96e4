"""What is published for each backbone: the one table behind `enecg experts` and the README."""

from typing import NamedTuple

import torch

from ..backbones import BACKBONES


class PublishedWeights(NamedTuple):
    """Where a backbone's weights come from, and on what terms.

    Attributes:
        name (`str`): What `enecg convert` calls the backbone.
        architecture (`str`): In a few words.
        source (`str`): Address of the publication.
        checkpoint (`str`): The published file, or what to look for.
        licence (`str`): Of the weights, as far as it is stated.
        licence_id (`str`): The same as the Hub names it; `"unknown"` where none is stated.
    """

    name: str
    architecture: str
    source: str
    checkpoint: str
    licence: str
    licence_id: str

    @property
    def model_type(self) -> str:
        """The model type."""
        return f"enecg-{self.name}"

    @property
    def num_parameters(self) -> int:
        """Number of parameters at the published size."""
        model_class = BACKBONES[self.model_type]
        with torch.device("meta"):
            return model_class(model_class.config_class()).num_parameters()

    @property
    def input_size(self) -> str:
        """What the model takes by default, for instance `10 s at 500 Hz`."""
        settings = BACKBONES[self.model_type].config_class().feature_extractor_settings()
        seconds = settings["sequence_length"] / settings["sampling_rate"]
        return f"{seconds:g} s at {settings['sampling_rate']:g} Hz"

    @property
    def convert_command(self) -> str:
        """The command that converts the published file."""
        return f"enecg convert {self.name} {self.checkpoint} checkpoints/{self.name}"


UNKNOWN_LICENCE = "unknown"
_NO_LICENCE = "none stated: ask its authors"

PUBLISHED = (
    PublishedWeights(
        "dlinear",
        "two linear layers on trend and remainder",
        "https://github.com/yuhaoxu99/EnECG",
        "checkpoint.pth",
        _NO_LICENCE,
        UNKNOWN_LICENCE,
    ),
    PublishedWeights(
        "ecgfm",
        "convolutions and transformer (wav2vec 2.0)",
        "https://huggingface.co/wanglab/ecg-fm",
        "mimic_iv_ecg_physionet_pretrained.pt",
        "repository MIT; check the model page",
        "mit",
    ),
    PublishedWeights(
        "ecgfounder",
        "residual CNN (Net1D)",
        "https://huggingface.co/PKUDigitalHealth/ECGFounder",
        "12_lead_ECGFounder.pth",
        "repository MIT; check the model page",
        "mit",
    ),
    PublishedWeights(
        "ecgjepa",
        "ViT-B whose tokens see their own lead and time",
        "https://github.com/sehunfromdaegu/ECG_JEPA",
        "multiblock_epoch100.pth",
        f"{_NO_LICENCE}; repository MIT",
        UNKNOWN_LICENCE,
    ),
    PublishedWeights(
        "hubertecg",
        "convolutions and transformer (HuBERT; small, base, large)",
        "https://huggingface.co/Edoardo-BS/hubert-ecg-base",
        "model.safetensors",
        "CC BY-NC 4.0: not for commercial use",
        "cc-by-nc-4.0",
    ),
    PublishedWeights(
        "moment",
        "T5 encoder over patches (small, base, large)",
        "https://huggingface.co/AutonLab/MOMENT-1-small",
        "model.safetensors",
        "MIT",
        "mit",
    ),
    PublishedWeights(
        "stmem",
        "ViT-B over patches of each lead",
        "https://github.com/bakqui/ST-MEM",
        "encoder.pth",
        "CC BY-NC 4.0: not for commercial use",
        "cc-by-nc-4.0",
    ),
    PublishedWeights(
        "tempo",
        "GPT-2 over trend, season and remainder",
        "https://github.com/DC-research/TEMPO",
        "TEMPO-80M_v1.pth",
        "repository MIT; check the model page",
        "mit",
    ),
    PublishedWeights(
        "timesnet",
        "convolutions over periods folded to images",
        "https://github.com/yuhaoxu99/EnECG",
        "checkpoint.pth",
        _NO_LICENCE,
        UNKNOWN_LICENCE,
    ),
    PublishedWeights(
        "xresnet1d",
        "residual CNN (xresnet1d101): the supervised baseline, trained on PTB-XL alone",
        "https://github.com/helme/ecg_ptbxl_benchmarking",
        "fastai_xresnet1d101.pth",
        f"{_NO_LICENCE}; repository GPL 3",
        UNKNOWN_LICENCE,
    ),
)


def published_weights(name: str) -> PublishedWeights:
    """Return what is published for a backbone, by its name."""
    return next(weights for weights in PUBLISHED if weights.name == name)


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
