"""Publishing a model, a backbone or an adapter on the Hub, once everything about it was checked."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import ModelCard
from huggingface_hub.utils import validate_repo_id
from transformers.utils import CONFIG_NAME

from ..adapters import BASE_FOLDER, ENECG_FILE, is_adapter, load_adapter
from ..expert_references import model_source
from ..modeling_enecg import EnECGModel
from ..runs.portable import is_hub_id, machine_paths
from .card import PLACE, model_card, rebased_card
from .licences import ExpertWeights, expert_weights, licence_metadata
from .pushed_files import ADAPTER_CONFIG, CARD, OWNED, Files, adapter_files, model_files, text_of
from .upload import Push


def push_folder(
    folder: str | Path,
    repo_id: str,
    *,
    private: bool = False,
    revision: str | None = None,
    base: str | None = None,
    accept_licences: Sequence[str] = (),
    token: str | None = None,
) -> str:
    """Publish a model, a backbone or an adapter in one commit: weights, configs, code, card, figures and metrics.

    Nothing is sent before everything was checked. Patients' predictions, the recipe with its places, logs and
    checkpoints stay here. Of an earlier push, files of these kinds that are no longer here are removed.

    Args:
        folder (`str` or `Path`): What a run, `enecg convert` or `save_pretrained` wrote; or a run's folder `adapter`.
        repo_id (`str`): The repository, `org/name`; made if need be.
        private (`bool`, *optional*, defaults to False): Whether the repository is private.
        revision (`str`, *optional*): The branch to commit to, made if need be; `main` by default.
        base (`str`, *optional*): Of an adapter: its base on the Hub, where it was trained on a folder. The base is
            fetched to check that the adapter fits it.
        accept_licences (`Sequence[str]`, *optional*): Names of experts whose weights one has the right to pass on,
            though their licence does not give it to everybody.
        token (`str`, *optional*): The Hub's token; by default that of `hf auth login` or `HF_TOKEN`.

    Returns:
        `str`: The commit's address.

    Raises:
        ValueError: if the folder is not complete, its card or a name is not legal, a licence is not free, or a file
            names a place on this machine.
        PushError: if the Hub refuses, or cannot be reached in several attempts.
        OSError: if a file, or the base, cannot be read.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ValueError(f"There is no folder {folder}.")
    if is_adapter(folder):
        files = adapter_files(folder)
        if base is not None:
            files = _with_base(files, folder, base, token)
        prefix = f"{BASE_FOLDER}/"
    elif base is None:
        files, prefix = model_files(folder), ""
    else:
        raise ValueError(f"{folder} is no adapter, and has no base.")
    weights = _weights_inside(files, prefix)
    _check_licences(weights, accept_licences)
    card = text_of(files[CARD]) if CARD in files else model_card(_content(files, CONFIG_NAME), repo_id)
    files[CARD] = card.replace(PLACE, repo_id).encode()
    _check_card(text_of(files[CARD]), weights)
    _check_base(files)
    _check_places(files)
    return Push(repo_id, files, OWNED, private=private, revision=revision).send(token)


def _with_base(files: Files, folder: Path, base: str, token: str | None) -> Files:
    """Return an adapter's files, with a base on the Hub written into them instead of the one that they name.

    Raises:
        ValueError: if the adapter does not fit that base.
    """
    if not is_hub_id(base):
        raise ValueError(f"A base on the Hub is org/name, and no folder here; got {base!r}.")
    try:
        model = EnECGModel.from_pretrained(base, token=token)
        place = model_source(base, model)
        load_adapter(folder, model)
    except ValueError as error:
        raise ValueError(f"--base {base}: {error}") from error
    info, settings = _content(files, ENECG_FILE), _content(files, ADAPTER_CONFIG)
    card = rebased_card(text_of(files[CARD]), info["base"], place)
    settings |= {"base_model_name_or_path": place["path"], "revision": place["revision"]}
    changed = {ENECG_FILE: info | {"base": info["base"] | place}, ADAPTER_CONFIG: settings}
    kept: Files = {name: path for name, path in files.items() if not name.startswith(f"{BASE_FOLDER}/")}
    return kept | {CARD: card.encode()} | {name: json.dumps(each, indent=2).encode() for name, each in changed.items()}


def _weights_inside(files: Files, prefix: str) -> list[ExpertWeights]:
    """Return the experts whose weights are among the files, of a model whose files begin with `prefix`.

    Raises:
        ValueError: if the model refers to an expert that is a folder of this machine.
    """
    if f"{prefix}{CONFIG_NAME}" not in files:
        return []
    config = _content(files, f"{prefix}{CONFIG_NAME}")
    references = config.get("expert_references") or {}
    for name, path in ((name, reference["path"]) for name, reference in references.items()):
        if not is_hub_id(path):
            raise ValueError(
                f"The model refers to its expert {name!r} in a folder of this machine, {path}. Either push that "
                f"(`enecg push {path} --to ORG/NAME`) and make the model with its id (experts.{name}.path in the "
                "recipe), or save the experts with the model (save_experts: value)."
            )
    return [] if references else expert_weights(config)


def _check_licences(weights: Sequence[ExpertWeights], accepted: Sequence[str]) -> None:
    """Raise a `ValueError` unless all weights are free to pass on, or accepted by name."""
    unknown = sorted(set(accepted) - {each.name for each in weights})
    if unknown:
        raise ValueError(f"--accept_licence: no weights of an expert {', '.join(unknown)} would be sent.")
    refused = [each for each in weights if not each.is_free and each.name not in accepted]
    if refused:
        listed = "; ".join(f"{each.name} ({each.licence}, from {each.source}): {each.obligation}" for each in refused)
        names = " ".join(f"--accept_licence {each.name}" for each in refused)
        raise ValueError(
            f"Not everybody may pass on these weights: {listed}. Save the experts by reference (save_experts: "
            f"reference), or, if you have the right to publish them, add {names}."
        )


def _check_card(card: str, weights: Sequence[ExpertWeights]) -> None:
    """Check a card's metadata as far as that goes without the Hub, which checks them as well.

    Raises:
        ValueError: if they are not legal, or hide a licence that is not free.
    """
    if not re.match(r"\s*---\r?\n", card):
        raise ValueError(f"{CARD} does not begin with metadata between two lines `---`.")
    try:
        data = ModelCard(card).data
    except (ValueError, TypeError, yaml.YAMLError) as error:
        raise ValueError(f"{CARD}: its metadata cannot be read: {error}") from error
    for field in ("base_model", "datasets"):
        ids = data.get(field, [])
        for each in [ids] if isinstance(ids, str) else ids:
            validate_repo_id(each)
    if data.get("license") == "other" and not data.get("license_name"):
        raise ValueError(f"{CARD}: the license `other` needs a license_name.")
    if not all(each.is_free for each in weights):
        licence = licence_metadata(weights)["license"]
        if data.get("license") != licence:
            raise ValueError(f"{CARD}: its license must be {licence}, as its weights'; got {data.get('license')}.")


def _check_base(files: Files) -> None:
    """Raise a `ValueError` if an adapter's base is a folder of this machine."""
    base = _content(files, ENECG_FILE)["base"]["path"] if ENECG_FILE in files else None
    if base is not None and not is_hub_id(base):
        raise ValueError(
            f"The adapter's base is a folder of this machine, {base}. Push that (`enecg push {base} --to ORG/NAME`), "
            "then the adapter with --base ORG/NAME."
        )


def _check_places(files: Mapping[str, Path | bytes]) -> None:
    """Raise a `ValueError` if a text that would be sent names a place on this machine."""
    for name, content in files.items():
        for field, path in _places(name, content):
            raise ValueError(f"{name}: {field} names a place on this machine, {path}; take it out and push again.")


def _places(name: str, content: Path | bytes) -> Iterator[tuple[str, str]]:
    if name.endswith(".json"):
        yield from machine_paths(json.loads(text_of(content)))
    elif name.endswith(".md"):
        for number, line in enumerate(text_of(content).splitlines(), start=1):
            yield from machine_paths(line, f"line {number}")


def _content(files: Files, name: str) -> dict[str, Any]:
    return json.loads(text_of(files[name]))
