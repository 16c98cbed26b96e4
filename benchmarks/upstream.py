"""Every backbone against upstream's own module: CPU seconds per record, at the published size.

    python benchmarks/upstream.py FOLDER [BACKBONE ...]

The folder (or `ENECG_UPSTREAM_DIR`) holds copies of the upstream repositories, each under its name on GitHub, such as
`ST-MEM`. A copy that is not there, or whose imports are missing, is named and passed over.

Upstream's module draws random weights, and the converter gives them to ours key by key, so that both have the same
parameters; both must then give the same features, or the benchmark fails. What is timed is one pass over the same four
records, from the network's input (patches are cut inside) to the pooled features or the forecast, in eval mode without
gradients: no dropout, no classification head. Both forms run in one process, in turns; the CPU seconds of one thread
are counted, and the least of several times is taken, so that other programs make little difference.
"""

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Callable, Collection
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, Optional

import torch
from safetensors.torch import save_file
from torch import nn
from transformers import BatchEncoding, T5Config, logging, set_seed

from modeling_enecg.conversion import CONVERTERS, convert_checkpoint
from modeling_enecg.modeling_backbone import ECGBackboneModel

BATCH_SIZE = 4
MIN_TURNS = 5
MIN_SECONDS = 20.0
TOLERANCE = 1e-4  # a share of the largest feature
FOLDER_VARIABLE = "ENECG_UPSTREAM_DIR"


@dataclass
class Upstream:
    """Upstream's module at its published size.

    Attributes:
        module (`nn.Module`): It, with random weights.
        run (`Callable`): From records `(batch_size, num_leads, samples)` to its features or forecast.
        hyperparameters (`dict`): Its architecture, as the converter takes it; the published size by default.
        output (`str`): Which of our outputs `run` gives.
        overrides (`dict`): Fields of our config that make ours do the same work.
    """

    module: nn.Module
    run: Callable[[torch.Tensor], torch.Tensor]
    hyperparameters: dict[str, Any] = field(default_factory=dict)
    output: str = "pooler_output"
    overrides: dict[str, Any] = field(default_factory=dict)


def stub(name: str, path: Path | None = None, **attributes: Any) -> None:
    """Stand in for a module that upstream only imports, or for a package whose `__init__` imports too much."""
    module = ModuleType(name)
    module.__path__ = [] if path is None else [str(path)]
    vars(module).update(attributes)
    sys.modules[name] = module


def stmem(copy: Path) -> Upstream:
    sys.path.insert(0, str(copy))
    module = import_module("models.encoder.st_mem_vit").st_mem_vit_base(num_leads=12)
    return Upstream(module, module)


def ecgfounder(copy: Path) -> Upstream:
    sys.path.insert(0, str(copy))
    sizes = {"filter_list": [64, 160, 160, 400, 400, 1024, 1024], "m_blocks_list": [2, 2, 2, 3, 3, 4, 4]}
    module = import_module("net1d").Net1D(
        **{"in_channels": 12, "base_filters": 64, "ratio": 1, "kernel_size": 16, "stride": 2, "groups_width": 16},
        **{"n_classes": 150, "use_bn": False, "use_do": False, "return_features": True},
        **sizes,
    )
    return Upstream(module, lambda records: module(records)[1])


def ecgjepa(copy: Path) -> Upstream:
    sys.path.insert(0, str(copy))
    stub("timm")
    stub("timm.models")
    stub("timm.models.layers", DropPath=nn.Identity, trunc_normal_=nn.init.trunc_normal_)  # used in training alone
    module = import_module("ecg_jepa").MaskTransformer(embed_dim=768, depth=12, num_heads=16)
    return Upstream(module, module.representation)


def ecgcpc(copy: Path) -> Upstream:
    """Stem and S4 layers of the benchmark's repository.

    Upstream computes an S4 layer's kernel in each pass, by an extension for GPUs. Here the kernels are computed
    beforehand, by the same sum in plain torch, as ours are: what is timed is the same work without them.
    """
    sys.path.insert(0, str(copy / "code"))
    stub("pytorch_lightning")
    stub("pytorch_lightning.utilities", rank_zero_only=lambda function: function)  # decorates its logger
    encoder, s4 = import_module("clinical_ts.ts.encoder"), import_module("clinical_ts.ts.s4")
    layers = import_module("clinical_ts.ts.s4_modules.s42")
    vars(layers)["cauchy_conj"] = cauchy_sum
    shape = import_module("clinical_ts.template_modules").ShapeConfig(channels=12, length=2400, sequence_last=True)
    sizes = {"strides": [2, 1, 1, 1], "kss": [3, 1, 1, 1], "features": [512] * 4, "dilations": [1] * 4}
    stem = encoder.RNNEncoder(encoder.RNNEncoderConfig(timesteps_per_token=1, **sizes), shape, None)
    predictor = s4.S4Predictor(s4.S4PredictorConfig(state_dim=8), stem.get_output_shape())
    module = nn.ModuleDict({"ts_encoder": nn.ModuleDict({"encoder": stem, "predictor": predictor})})
    for layer in module.modules():
        if isinstance(layer, layers.HippoSSKernel):
            keep_result(layer)
    return Upstream(module, lambda records: predictor(**stem(seq=records))["seq"].mean(dim=1))


def cauchy_sum(values: torch.Tensor, nodes: torch.Tensor, poles: torch.Tensor) -> torch.Tensor:
    """Return the sum over poles and their conjugates that upstream leaves to KeOps, of complex tensors."""
    values, nodes, poles = values[..., None], nodes[..., None, :], poles[..., None]
    terms = (nodes * values.real - (values * poles.conj()).real) / ((nodes - poles) * (nodes - poles.conj()))
    return 2 * terms.sum(dim=-2)


def keep_result(module: nn.Module) -> None:
    """Make a module compute once, and then give the same again."""
    compute = module.forward
    kept: list[Any] = []

    def forward(*args: Any, **kwargs: Any) -> Any:
        if not kept:
            kept.append(compute(*args, **kwargs))
        return kept[0]

    module.forward = forward


def hubertecg(copy: Path) -> Upstream:
    sys.path.insert(0, str(copy / "code"))
    sizes = {"conv_dim": [512] * 5, "conv_kernel": [10, 3, 3, 2, 2], "conv_stride": [4, 2, 2, 2, 2]}
    upstream = import_module("hubert_ecg")
    config = upstream.HuBERTECGConfig(vocab_sizes=[100], num_feat_extract_layers=5, **sizes)
    module = upstream.HuBERTECG(config)
    return Upstream(module, lambda records: module(records.flatten(1)).last_hidden_state.mean(dim=1))


def ecgfm(copy: Path) -> Upstream:
    """The fine-tuned network's encoder.

    The package's `__init__`s import its training, and Python 3.11 refuses its configurations of it: empty ones stand
    in for them.
    """
    package = copy / "fairseq_signals"
    if not package.is_dir():
        raise FileNotFoundError(package)
    stub("omegaconf", II=str)
    for name in ("fairseq_signals", "fairseq_signals.models", "fairseq_signals.data"):
        stub(name, copy.joinpath(*name.split(".")))
    vars(sys.modules["fairseq_signals.models"]).update(
        BaseModel=nn.Module, register_model=lambda *_, **__: lambda c: c
    )
    stub("fairseq_signals.tasks", Task=object)
    stub("fairseq_signals.dataclass", Dataclass=object, ChoiceEnum=lambda _: str)
    stub("fairseq_signals.dataclass.utils", convert_namespace_to_omegaconf=None)
    stub("fairseq_signals.utils", checkpoint_utils=None, utils=None)
    stub("fairseq_signals.distributed", utils=None)
    stub("fairseq_signals.data.data_utils", compute_mask_indices=None)
    upstream = import_module("fairseq_signals.models.ecg_transformer")
    module = upstream.ECGTransformerModel(upstream.ECGTransformerConfig())
    return Upstream(module, lambda records: module(records)["x"].mean(dim=1))


def moment(copy: Path) -> Upstream:
    """MOMENT-1-small: T5's encoder as transformers has it, between upstream's own patching and pooling."""
    sys.path.insert(0, str(copy))
    sizes: dict[str, Any] = {
        "d_model": 512,
        "d_ff": 1024,
        "d_kv": 64,
        "num_heads": 6,
        "num_layers": 8,
        "vocab_size": 32128,
    }
    settings = {
        **{
            "task_name": "embedding",
            "transformer_type": "encoder_only",
            "transformer_backbone": "google/flan-t5-small",
        },
        **{"d_model": 512, "seq_len": 512, "patch_len": 8, "patch_stride_len": 8},
        "t5_config": T5Config(feed_forward_proj="gated-gelu", **sizes).to_dict(),
    }
    module = import_module("momentfm.models.moment").MOMENT(settings, model_kwargs={})
    return Upstream(module, lambda records: module.embed(x_enc=records).embeddings, {"n_channels": 12})


def tempo(copy: Path) -> Upstream:
    """The published repository's network, each lead as a row of its own; its adapters are not merged."""
    import transformers

    sys.path.insert(0, str(copy))

    class Tokenizer:
        """GPT-2's, for the three prompts: its own would be fetched."""

        def __init__(self) -> None:
            tokens = CONVERTERS["tempo"].model_class.config_class().prompt_token_ids
            self.prompts = iter(tokens)

        @classmethod
        def from_pretrained(cls, _: str) -> "Tokenizer":
            return cls()

        def __call__(self, **_: Any) -> BatchEncoding:
            return BatchEncoding({"input_ids": [next(self.prompts)]}, tensor_type="pt")

    vars(transformers)["GPT2Tokenizer"] = Tokenizer
    stub("omegaconf", OmegaConf=None)  # reads a configuration file
    settings = {
        **{"seq_len": 336, "pred_len": 96, "patch_size": 16, "stride": 8, "d_model": 768, "gpt_layers": 6},
        **{"is_gpt": 1, "prompt": 1, "pool": False, "use_token": 0, "num_nodes": 1, "loss_func": "mse"},
    }
    upstream = import_module("tempo.models.TEMPO")
    module = upstream.TEMPO(Namespace(pretrain=0, freeze=1, **settings), torch.device("cpu"))

    def run(records: torch.Tensor) -> torch.Tensor:
        forecast, _ = module(records.flatten(0, 1)[..., None], test=True)
        return forecast.squeeze(-1).unflatten(0, records.shape[:2])

    return Upstream(module, run, settings | {"num_nodes": 12}, output="forecast")


def library_model(copy: Path, name: str, settings: dict[str, Any]) -> Upstream:
    """A forecasting model of the Time-Series-Library with the configuration that EnECG published, for 12 leads."""
    sys.path.insert(0, str(copy))
    settings = {"task_name": "long_term_forecast", "seq_len": 500, "pred_len": 1, "enc_in": 12} | settings
    module = import_module(f"models.{name}").Model(Namespace(**settings))

    def run(records: torch.Tensor) -> torch.Tensor:
        return module(records.transpose(1, 2), None, None, None).transpose(1, 2)

    return Upstream(module, run, settings, output="forecast")


def dlinear(copy: Path) -> Upstream:
    return library_model(copy, "DLinear", {"moving_avg": 1001})


def timesnet(copy: Path) -> Upstream:
    """Upstream picks the periods of a whole batch at once; ours does the same here, and not each record's."""
    sizes = {"d_model": 16, "d_ff": 32, "e_layers": 3, "num_kernels": 6, "top_k": 3}
    others = {"label_len": 0, "c_out": 12, "embed": "timeF", "freq": "h", "dropout": 0.3}
    upstream = library_model(copy, "TimesNet", sizes | others)
    upstream.overrides = {"period_selection": "batch"}
    return upstream


def xresnet1d(copy: Path) -> Upstream:
    sys.path.insert(0, str(copy / "code"))
    # Of fastai 1 only the head's layers are used, which are not timed.
    stub("fastai")
    stub("fastai.core", Optional=Optional, Collection=Collection, Floats=float, listify=lambda each: [each])
    stub("fastai.layers", Flatten=nn.Flatten, bn_drop_lin=lambda *_: [nn.Identity()])
    module = import_module("models.xresnet1d").xresnet1d101(
        num_classes=71, input_channels=12, kernel_size=5, ps_head=0.5, lin_ftrs_head=[128]
    )
    *layers, head = module
    return Upstream(module, nn.Sequential(*layers, *head[:2]))  # up to the pooling


PEERS: dict[str, tuple[str, Callable[[Path], Upstream]]] = {
    "tempo": ("TEMPO", tempo),
    "ecgjepa": ("ECG_JEPA", ecgjepa),
    "stmem": ("ST-MEM", stmem),
    "moment": ("moment", moment),
    "ecgfm": ("fairseq-signals", ecgfm),
    "hubertecg": ("HuBERT-ECG", hubertecg),
    "ecgcpc": ("ecg-fm-benchmarking", ecgcpc),
    "ecgfounder": ("ECGFounder", ecgfounder),
    "timesnet": ("Time-Series-Library", timesnet),
    "xresnet1d": ("ecg_ptbxl_benchmarking", xresnet1d),
    "dlinear": ("Time-Series-Library", dlinear),
}


def ours(name: str, upstream: Upstream) -> ECGBackboneModel:
    """Return our model with upstream's weights, which the converter checks key by key."""
    weights = {key: tensor.clone().contiguous() for key, tensor in upstream.module.state_dict().items()}
    with tempfile.TemporaryDirectory() as folder:
        checkpoint, model_dir = Path(folder) / "upstream.safetensors", Path(folder) / "ours"
        save_file(weights, checkpoint)
        convert_checkpoint(name, checkpoint, model_dir, upstream.hyperparameters)
        model: ECGBackboneModel = CONVERTERS[name].model_class.from_pretrained(model_dir, **upstream.overrides)
        return model.eval()


def seconds_of(run: Callable[[torch.Tensor], object], records: torch.Tensor) -> float:
    """Return the CPU seconds that one pass over the records takes."""
    start = time.process_time()
    run(records)
    return time.process_time() - start


def compare(name: str, upstream: Upstream) -> None:
    """Check that both give the same, and print the seconds per record of both."""
    for parameter in upstream.module.parameters():
        parameter.add_(0.01 * torch.randn_like(parameter))  # none is left at 0 or 1, where an error would not show
    model = ours(name, upstream)
    records = torch.randn(BATCH_SIZE, model.config.num_leads, model.config.sequence_length)
    expected, given = upstream.run(records), getattr(model(records), upstream.output)
    difference = ((expected - given).abs().max() / expected.abs().max()).item()
    if not difference < TOLERANCE:
        raise RuntimeError(f"{name}: ours and upstream's differ by {difference:.0e} of the largest.")
    times: list[tuple[float, float]] = []
    while len(times) < MIN_TURNS or sum(map(sum, times)) < MIN_SECONDS:
        times.append((seconds_of(upstream.run, records), seconds_of(model, records)))
    theirs, own = (min(each) / BATCH_SIZE for each in zip(*times, strict=True))
    print(
        f"{name:11} {model.num_parameters():12,} {theirs:9.4f} {own:9.4f} {theirs / own:5.2f}x  {difference:.0e}",
        flush=True,
    )


def measure(folder: Path, name: str) -> None:
    """Compare one backbone, or say why it is passed over."""
    project, load = PEERS[name]
    if not (folder / project).is_dir():
        print(f"{name:11} passed over: the folder has no {project}")
        return
    try:
        with redirect_stdout(sys.stderr):
            upstream = load(folder / project)
    except ImportError as error:
        print(f"{name:11} passed over: {project} cannot be imported: {error}")
        return
    upstream.module.eval()
    compare(name, upstream)


@torch.no_grad()
def main(folder: Path | None, names: list[str]) -> None:
    if folder is None:
        print(f"Name the folder of the copies, or set {FOLDER_VARIABLE}: there is nothing to compare with.")
        return
    set_seed(0)
    logging.disable_progress_bar()
    torch.set_num_threads(1)
    if len(names) == 1:
        measure(folder, names[0])
        return
    print(
        f"{platform.machine()}, {os.cpu_count()} CPUs; torch {torch.__version__}, one thread; batches of {BATCH_SIZE}"
    )
    print(f"{'backbone':11} {'parameters':>12} {'upstream':>9} {'ours':>9} {'ratio':>6}  difference", flush=True)
    for name in names or PEERS:  # a process each: upstream's modules share their names
        subprocess.run([sys.executable, __file__, folder, name], check=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=os.environ.get(FOLDER_VARIABLE), metavar="FOLDER")
    parser.add_argument("names", nargs="*", choices=[*PEERS, []], metavar="BACKBONE")
    main(**vars(parser.parse_args()))
