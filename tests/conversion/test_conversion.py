import contextlib
import io
import json
import os
import pickle

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from transformers import AutoFeatureExtractor, AutoModel

from modeling_enecg import ECGFeatureExtractor
from modeling_enecg.conversion import CONVERTERS, ConversionError, convert_checkpoint
from modeling_enecg.conversion.convert import rename_weights

STMEM = {
    "seq_len": 60,
    "patch_size": 15,
    "num_leads": 12,
    "num_classes": 5,
    "width": 16,
    "depth": 2,
    "mlp_dim": 24,
    "heads": 2,
    "dim_head": 4,
    "qkv_bias": True,
    "drop_out_rate": 0.0,
    "attn_drop_out_rate": 0.0,
    "drop_path_rate": 0.0,
}
STMEM_PUBLISHED = STMEM | {
    "seq_len": 2250,
    "patch_size": 75,
    "width": 768,
    "depth": 12,
    "mlp_dim": 3072,
    "heads": 12,
    "dim_head": 64,
}
FOUNDER = {
    "in_channels": 12,
    "base_filters": 16,
    "ratio": 1,
    "filter_list": [16, 24],
    "m_blocks_list": [2, 1],
    "kernel_size": 16,
    "stride": 2,
    "groups_width": 8,
    "n_classes": 5,
    "use_bn": False,
    "use_do": False,
}
FOUNDER_PUBLISHED = FOUNDER | {
    "base_filters": 64,
    "filter_list": [64, 160, 160, 400, 400, 1024, 1024],
    "m_blocks_list": [2, 2, 2, 3, 3, 4, 4],
    "groups_width": 16,
    "n_classes": 150,
}
HYPERPARAMETERS = {"stmem": STMEM, "ecgfounder": FOUNDER}


def linear(name, *shape):
    return {f"{name}.weight": torch.randn(shape), f"{name}.bias": torch.randn(shape[0])}


def norm(name, size):
    return {f"{name}.weight": torch.randn(size), f"{name}.bias": torch.randn(size)}


def stmem_weights(h=STMEM):
    """ST-MEM's state dict under upstream's names, as its specification lists them."""
    width, inner, patch = h["width"], h["heads"] * h["dim_head"], h["patch_size"]
    weights = {
        "pos_embedding": torch.randn(1, h["seq_len"] // patch + 2, width),
        "sep_embedding": torch.randn(width),
        **{f"lead_embeddings.{lead}": torch.randn(width) for lead in range(h["num_leads"])},
        **norm("to_patch_embedding.1", patch),
        **linear("to_patch_embedding.2", width, patch),
        **norm("to_patch_embedding.3", width),
        **norm("norm", width),
    }
    for block in (f"block{index}" for index in range(h["depth"])):
        weights |= norm(f"{block}.attn.norm", width) | norm(f"{block}.ff.norm", width)
        weights |= linear(f"{block}.attn.fn.to_qkv", 3 * inner, width)
        weights |= linear(f"{block}.attn.fn.to_out.0", width, inner)
        weights |= linear(f"{block}.ff.fn.net.0", h["mlp_dim"], width)
        weights |= linear(f"{block}.ff.fn.net.3", width, h["mlp_dim"])
    return weights


def stmem_full_weights():
    """The file with the pre-training decoder: encoder keys prefixed, the patch embedding twice."""
    encoder = stmem_weights()
    return {
        **{f"encoder.{key}": tensor for key, tensor in encoder.items()},
        **{key: tensor for key, tensor in encoder.items() if key.startswith("to_patch_embedding")},
        "mask_embedding": torch.randn(1, 1, 8),
        "decoder_pos_embed": torch.randn(1, 6, 8),
        **linear("to_decoder_embedding", 8, 16),
        **norm("decoder_blocks.0.attn.norm", 8),
        **linear("decoder_blocks.0.attn.fn.to_qkv", 24, 8),
        **norm("decoder_norm", 8),
        **linear("decoder_head", 15, 8),
    }


def batch_norm(name, size):
    running = {f"{name}.running_mean": torch.randn(size), f"{name}.running_var": torch.rand(size)}
    return norm(name, size) | running | {f"{name}.num_batches_tracked": torch.tensor(7)}


def founder_weights(h=FOUNDER):
    """ECGFounder's state dict under upstream's names, with the batch norm that it never uses."""
    kernel, size = h["kernel_size"], h["base_filters"]
    weights = linear("first_conv.conv", size, h["in_channels"], kernel) | batch_norm("first_bn", size)
    for stage, (out, depth) in enumerate(zip(h["filter_list"], h["m_blocks_list"], strict=True)):
        for index in range(depth):
            block, entering = f"stage_list.{stage}.block_list.{index}", size if index == 0 else out
            inner = out * h["ratio"]
            weights |= batch_norm(f"{block}.bn1", entering) | linear(f"{block}.conv1.conv", inner, entering, 1)
            weights |= batch_norm(f"{block}.bn2", inner)
            weights |= linear(f"{block}.conv2.conv", inner, inner // (out // h["groups_width"]), kernel)
            weights |= batch_norm(f"{block}.bn3", inner) | linear(f"{block}.conv3.conv", out, inner, 1)
            weights |= linear(f"{block}.se_fc1", out // 2, out) | linear(f"{block}.se_fc2", out, out // 2)
        size = out
    return weights | linear("dense", h["n_classes"], size)


WEIGHTS = {"stmem": stmem_weights, "ecgfounder": founder_weights}


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.fixture
def convert(tmp_path):
    """A function that saves an object as an upstream file and converts it."""

    def convert(name, content, hyperparameters=None, filename="checkpoint.pth"):
        file = tmp_path / "in" / filename
        file.parent.mkdir()
        if isinstance(content, bytes):
            file.write_bytes(content)
        elif filename.endswith(".safetensors"):
            save_file(content, file)
        else:
            torch.save(content, file)
        hyperparameters = HYPERPARAMETERS[name] if hyperparameters is None else hyperparameters
        report = convert_checkpoint(name, file, tmp_path / "out" / "model", hyperparameters)
        return AutoModel.from_pretrained(tmp_path / "out" / "model"), report

    return convert


def assert_nothing_left(tmp_path):
    assert not (tmp_path / "out").exists() or list((tmp_path / "out").iterdir()) == []


def test_every_converter_is_tested():
    assert set(CONVERTERS) >= set(WEIGHTS) == set(HYPERPARAMETERS)


@pytest.mark.parametrize(
    ("name", "hyperparameters", "num_keys"),
    [("stmem", STMEM_PUBLISHED, 166), ("ecgfounder", FOUNDER_PUBLISHED, 509)],
    ids=["stmem", "ecgfounder"],
)
def test_every_published_key_has_its_place_without_hyperparameters(name, hyperparameters, num_keys):
    model_class = CONVERTERS[name].model_class
    with torch.device("meta"):
        upstream = WEIGHTS[name](hyperparameters)
        model = model_class(model_class.config_class())
    wanted = model.state_dict()
    assert len(upstream) == num_keys
    weights, dropped = rename_weights(upstream, CONVERTERS[name], set(wanted))
    assert {key: tensor.shape for key, tensor in weights.items()} == {key: wanted[key].shape for key in wanted}
    assert not any("batch norm" not in reason and "head" not in reason for reason in dropped.values())


# Published forms


@pytest.mark.parametrize("name", sorted(WEIGHTS))
@pytest.mark.parametrize("filename", ["checkpoint.pth", "checkpoint.safetensors"])
def test_a_bare_state_dict_is_converted_from_either_format(convert, name, filename):
    model, report = convert(name, WEIGHTS[name](), filename=filename)
    assert report["backbone"] == name
    assert report["source"] == filename
    assert report["num_parameters"] == model.num_parameters()
    assert type(model) is CONVERTERS[name].model_class


def test_stmems_encoder_file_is_converted(convert):
    weights = stmem_weights()
    content = {"epoch": 800, "model": weights, "optimizer": None, "scaler": None, "config": {"lr": 1e-3, "ops": ["a"]}}
    model, report = convert("stmem", content)
    assert report["dropped"] == {}
    assert torch.equal(model.norm.weight, weights["norm.weight"])
    assert torch.equal(model.blocks[1].attention.qkv.weight, weights["block1.attn.fn.to_qkv.weight"])
    assert torch.equal(model.blocks[0].mlp.down.bias, weights["block0.ff.fn.net.3.bias"])
    assert torch.equal(model.embeddings.patch_norm.weight, weights["to_patch_embedding.1.weight"])
    assert torch.equal(model.embeddings.position_embeddings, weights["pos_embedding"])
    for lead in range(12):
        assert torch.equal(model.embeddings.lead_embeddings[lead], weights[f"lead_embeddings.{lead}"])


def test_stmems_full_file_gives_the_same_encoder_and_names_all_that_is_dropped(convert):
    weights = stmem_full_weights()
    model, report = convert("stmem", {"model": weights})
    assert set(report["dropped"]) == {key for key in weights if not key.startswith("encoder.")}
    for key, reason in report["dropped"].items():
        is_alias = key.startswith("to_patch_embedding")
        assert reason.startswith(f"the same weights as encoder.{key}" if is_alias else "pre-training decoder"), key
    assert torch.equal(model.embeddings.projection.weight, weights["encoder.to_patch_embedding.2.weight"])


def test_two_copies_that_differ_are_refused(convert, tmp_path):
    weights = stmem_full_weights()
    weights["to_patch_embedding.2.bias"] = weights["to_patch_embedding.2.bias"] + 1
    with pytest.raises(ConversionError, match=r"to_patch_embedding\.2\.bias should hold the same weights, but differ"):
        convert("stmem", {"model": weights})
    assert_nothing_left(tmp_path)


def test_ecgfounders_training_file_is_converted(convert):
    weights = founder_weights()
    content = {
        "epoch": 7,
        "step": np.int64(3),
        "state_dict": weights,
        "optimizer": torch.optim.AdamW([torch.nn.Parameter(torch.ones(2))]).state_dict(),
        "scheduler": {"last_epoch": 7},
        "val_auroc": np.float64(0.93),
    }
    model, report = convert("ecgfounder", content)
    assert torch.equal(model.stem.weight, weights["first_conv.conv.weight"])
    assert torch.equal(model.stages[0][1].conv2.weight, weights["stage_list.0.block_list.1.conv2.conv.weight"])
    fused = model.stages[1][0].squeeze_excitation
    assert torch.equal(fused.excite.bias, weights["stage_list.1.block_list.0.se_fc2.bias"])
    for key in weights:
        reason = report["dropped"].get(key, "")
        assert reason.startswith("classification head") == key.startswith("dense."), key
        assert reason.startswith("batch norm") == (".bn" in key or key.startswith("first_bn")), key


def test_batch_norm_is_kept_where_it_is_used(convert):
    weights = founder_weights()
    model, report = convert("ecgfounder", weights, FOUNDER | {"use_bn": True, "use_do": True})
    assert model.config.dropout == 0.5
    assert torch.equal(model.stem_norm.running_var, weights["first_bn.running_var"])
    second = model.stages[0][1].activation1[0]
    assert torch.equal(second.running_mean, weights["stage_list.0.block_list.1.bn1.running_mean"])
    # The network's first block starts with its convolution.
    not_heads = {key for key in report["dropped"] if not key.startswith("dense.")}
    assert not_heads == {key for key in weights if key.startswith("stage_list.0.block_list.0.bn1.")}


def test_the_one_lead_ecgfounder_is_recognised_from_its_weights(convert, tmp_path):
    hyperparameters = {key: value for key, value in FOUNDER.items() if key != "in_channels"}
    model, _ = convert("ecgfounder", founder_weights(FOUNDER | {"in_channels": 1}), hyperparameters)
    assert model.config.num_leads == 1
    extractor = AutoFeatureExtractor.from_pretrained(tmp_path / "out" / "model")
    assert extractor.lead_names == ["I"]
    inputs = extractor(np.sin(np.arange(5000.0))[None], sampling_rate=500, return_tensors="pt")
    assert model(**inputs).pooler_output.shape == (1, 24)


@pytest.mark.parametrize("name", sorted(WEIGHTS))
def test_the_folder_works_with_the_auto_classes_and_reports_itself(convert, name, tmp_path):
    model, report = convert(name, WEIGHTS[name]())
    folder = tmp_path / "out" / "model"
    extractor = AutoFeatureExtractor.from_pretrained(folder)
    assert type(extractor) is ECGFeatureExtractor
    assert json.loads((folder / "conversion_report.json").read_text()) == report
    signal = np.random.default_rng(0).normal(size=(12, 5000))
    with torch.inference_mode():
        assert model(**extractor(signal, sampling_rate=500, return_tensors="pt")).pooler_output.isfinite().all()
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["model"]


# What does not fit


@pytest.mark.parametrize("name", sorted(WEIGHTS))
def test_a_key_that_the_architecture_does_not_know_is_named(convert, name, tmp_path):
    with pytest.raises(ConversionError, match=r"1 keys that the architecture does not know: extra\.weight"):
        convert(name, WEIGHTS[name]() | {"extra.weight": torch.ones(2)})
    assert_nothing_left(tmp_path)


@pytest.mark.parametrize(
    ("name", "key", "ours"),
    [
        ("stmem", "block1.ff.norm.bias", r"blocks\.1\.mlp_norm\.bias"),
        ("ecgfounder", "stage_list.1.block_list.0.conv3.conv.weight", r"stages\.1\.0\.conv3\.weight"),
    ],
)
def test_a_key_that_the_architecture_needs_is_named(convert, name, key, ours, tmp_path):
    weights = WEIGHTS[name]()
    del weights[key]
    with pytest.raises(ConversionError, match=f"lacks 1 weights that the architecture needs: {ours}"):
        convert(name, weights)
    assert_nothing_left(tmp_path)


@pytest.mark.parametrize("lead", [0, 5, 11])
def test_a_missing_lead_embedding_is_refused(convert, lead, tmp_path):
    weights = stmem_weights()
    del weights[f"lead_embeddings.{lead}"]
    with pytest.raises(ConversionError, match=r"embeddings\.lead_embeddings \(11, 16\) instead of \(12, 16\)"):
        convert("stmem", weights)
    assert_nothing_left(tmp_path)


@pytest.mark.parametrize(
    ("name", "wrong", "message"),
    [
        ("stmem", {"mlp_dim": 32}, r"mlp\.up\.weight \(24, 16\) instead of \(32, 16\)"),
        ("stmem", {"depth": 1}, r"keys that the architecture does not know: block1\."),
        ("stmem", {"depth": 3}, r"lacks 12 weights .*blocks\.2\."),
        ("ecgfounder", {"kernel_size": 9}, r"stem\.weight \(16, 12, 16\) instead of \(16, 12, 9\)"),
        ("ecgfounder", {"in_channels": 3}, r"stem\.weight \(16, 12, 16\) instead of \(16, 3, 16\)"),
    ],
)
def test_weights_of_another_architecture_are_refused(convert, name, wrong, message, tmp_path):
    with pytest.raises(ConversionError, match=message):
        convert(name, WEIGHTS[name](), HYPERPARAMETERS[name] | wrong)
    assert_nothing_left(tmp_path)


@pytest.mark.parametrize("name", sorted(WEIGHTS))
def test_the_checkpoint_of_another_backbone_is_refused(convert, name):
    other = next(key for key in WEIGHTS if key != name)
    with pytest.raises(ConversionError, match="Is it another model"):
        convert(name, WEIGHTS[other]())


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"widht": 16}, r"Unknown hyperparameter 'widht'\. Did you mean 'width'\?"),
        ({"zzz": 1}, r"Unknown hyperparameter 'zzz'\. Known: seq_len, patch_size"),
    ],
)
def test_an_unknown_hyperparameter_is_refused_with_a_suggestion(convert, wrong, message, tmp_path):
    with pytest.raises(ConversionError, match=message):
        convert("stmem", stmem_weights(), STMEM | wrong)
    assert_nothing_left(tmp_path)


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("stmem", {"seq_len": 61}),
        ("stmem", {"width": "16"}),
        ("stmem", {"patch_size": 0}),
        ("stmem", {"mlp_dim": -3}),
        ("ecgfounder", {"filter_list": [16]}),
        ("ecgfounder", {"filter_list": 16}),
        ("ecgfounder", {"groups_width": 0}),
    ],
    ids=str,
)
def test_an_illegal_hyperparameter_is_refused(convert, name, wrong):
    with pytest.raises(ConversionError):
        convert(name, WEIGHTS[name](), HYPERPARAMETERS[name] | wrong)


def test_an_unknown_converter_is_refused_with_the_choice(tmp_path):
    with pytest.raises(ConversionError, match="No converter for 'vit'; there are: dlinear, ecgcpc, ecgfm"):
        convert_checkpoint("vit", tmp_path / "absent.pth", tmp_path / "model")


def test_a_folder_that_holds_something_is_left_alone(convert, tmp_path):
    kept = tmp_path / "out" / "model" / "kept.txt"
    kept.parent.mkdir(parents=True)
    kept.write_text("kept")
    with pytest.raises(FileExistsError, match="not an empty folder"):
        convert("stmem", stmem_weights())
    assert [path.name for path in (tmp_path / "out").rglob("*")] == ["model", "kept.txt"]


# What is no checkpoint


class Trap:
    """An object whose unpickling makes a folder."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("place", ["weights", "beside the weights", "plain pickle"])
def test_code_in_a_pickle_is_not_run(convert, place, tmp_path):
    sprung = tmp_path / "sprung"
    content = {"model": stmem_weights() | {"norm.weight": Trap(sprung)}}
    if place == "beside the weights":
        content = {"model": stmem_weights(), "optimizer": Trap(sprung)}
    if place == "plain pickle":
        content = pickle.dumps({"model": Trap(sprung)})
    with pytest.raises(ConversionError, match=r"cannot be read as weights only: .* Nothing in it was executed"):
        convert("stmem", content)
    assert not sprung.exists()
    assert_nothing_left(tmp_path)
    with contextlib.suppress(RuntimeError):  # the plain pickle is no torch file, which comes too late
        torch.load(tmp_path / "in" / "checkpoint.pth", weights_only=False)
    assert sprung.exists()  # the trap does work


def torch_file(**options):
    file = io.BytesIO()
    torch.save({"model": {"a": torch.ones(300)}}, file, **options)
    return file.getvalue()


ZIP, LEGACY = torch_file(), torch_file(_use_new_zipfile_serialization=False)


@pytest.mark.parametrize(
    "content",
    [
        b"<html>404 Not Found</html>",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n",
        bytes(1000),
        bytes(range(256)) * 4,
        ZIP[:4],
        ZIP[: len(ZIP) // 2],
        LEGACY[:-5],
        b"",
        LEGACY[:1],
        LEGACY[:50],
    ],
    ids=["html", "lfs", "zeros", "bytes", "zip head", "half zip", "end cut", "empty", "one byte", "head"],
)
def test_a_file_that_is_no_torch_file_is_refused(convert, content, tmp_path):
    with pytest.raises(ConversionError, match=r"checkpoint\.pth cannot be read as weights only"):
        convert("stmem", content)
    assert_nothing_left(tmp_path)


@pytest.mark.parametrize("kept", [0, 5, 200, -1])
def test_a_truncated_safetensors_file_is_refused(convert, kept, tmp_path):
    save_file(stmem_weights(), tmp_path / "whole.safetensors")
    content = (tmp_path / "whole.safetensors").read_bytes()[:kept]
    with pytest.raises(ConversionError, match=r"is not a valid safetensors file"):
        convert("stmem", content, filename="checkpoint.safetensors")
    assert_nothing_left(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "holds a list; expected a dict of weights"),
        ({"model": {}}, "has no weights under 'model'"),
        ({"model": 5}, "has no weights under 'model'"),
        ({"state_dict": {"a": torch.ones(2)}}, r"has no weights under 'model', and its entries \['state_dict'\]"),
        ({"epoch": 3}, r"has no weights under 'model', and its entries \['epoch'\]"),
    ],
)
def test_a_file_without_weights_says_so(convert, content, message):
    with pytest.raises(ConversionError, match=message):
        convert("stmem", content)


def test_a_missing_file_says_so(tmp_path):
    with pytest.raises(ConversionError, match=r"No checkpoint file at .*absent\.pth"):
        convert_checkpoint("stmem", tmp_path / "absent.pth", tmp_path / "model")


def test_half_precision_weights_keep_their_values(convert):
    weights = {key: tensor.to(torch.bfloat16) for key, tensor in stmem_weights().items()}
    model, _ = convert("stmem", weights)
    assert model.dtype == torch.float32
    assert torch.equal(model.norm.weight, weights["norm.weight"].float())
