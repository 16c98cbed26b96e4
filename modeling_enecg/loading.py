"""Loading that refuses what does not fit: missing weights, and files damaged on their way from the Hub.

transformers only reports weights that a file lacks, and goes on with random ones; huggingface_hub checks a download's
size and not its content. A cached file is named after its hash, so that it can be checked at any time. Which commit
was loaded transformers keeps to itself; here it is noted in `config._commit_hash`, for adapters and references.
"""

import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import try_to_load_from_cache
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.utils import CONFIG_NAME, resolve_revision

CHUNK_BYTES = 1 << 20
LONGEST_REASON = 300  # characters
HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")


def place_and_revision(place: Any, revision: str | None = None) -> tuple[str, str | None]:
    """Tell where a model lies from which of its revisions is meant.

    Args:
        place (`str` or `os.PathLike`): A folder, or a Hub id, which may end in the revision: `org/name@revision`.
        revision (`str`, *optional*): The revision, if it is given apart.

    Returns:
        `tuple[str, str | None]`: The folder or Hub id, and its branch, tag or commit; None where none is named.

    Raises:
        ValueError: if two revisions are named.
    """
    place = os.fspath(place)
    hub_id, at, named = place.partition("@")
    if not at or os.path.isdir(place) or not HUB_ID.fullmatch(hub_id):
        return place, revision
    if not named or (revision is not None and revision != named):
        raise ValueError(
            f"{place} must name one revision after its @" + (f"; got {revision}, too." if revision else ".")
        )
    return hub_id, named


class DamagedModelError(ValueError, RuntimeError):
    """A model's files are not what a model of theirs needs; a `RuntimeError`, too, as transformers' own are."""


@contextmanager
def model_files(place: Any) -> Iterator[None]:
    """Let whatever fails while a model's files are read say whose they are: they may be anybody's, and anything.

    Args:
        place (`str` or `os.PathLike`, *optional*): What is loaded inside: a folder or Hub id, if it is either.

    Raises:
        DamagedModelError: in the place of any error but those that tell of themselves: `OSError`, `ValueError`,
            `ImportError` and `MemoryError`.
    """
    try:
        yield
    except (OSError, ValueError, ImportError, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:LONGEST_REASON]}"
        if "ignore_mismatched_sizes" in reason:
            reason = "its weights have other shapes than its config says; ignore_mismatched_sizes=True forgives that"
        raise DamagedModelError(f"{place or 'What was given'} holds no sound model: {reason}") from error


@contextmanager
def folder_or_hub(place: str) -> Iterator[None]:
    """Let a failure say first that there is no such folder: what is none is looked for on the Hub.

    Args:
        place (`str`): What is loaded inside: a folder or Hub id.

    Raises:
        OSError: if loading raises one.
    """
    try:
        yield
    except OSError as error:
        if os.path.isdir(place):
            raise
        raise OSError(f"There is no folder {place}, and loading it from the Hub failed: {error}") from error


def model_type_of(place: Any) -> str | None:
    """Return the `model_type` of a model, by its config alone; None where it names none.

    Args:
        place (`str` or `os.PathLike`): A folder or Hub id, also as `org/name@revision`.

    Raises:
        OSError: if there is no model.
        DamagedModelError: if its config is none.
    """
    place, revision = place_and_revision(place)
    with model_files(place), folder_or_hub(place):
        return PreTrainedConfig.get_config_dict(place, revision=revision)[0].get("model_type")


class StrictLoading(PreTrainedModel):
    """A model whose `from_pretrained` fails where transformers would go on with random weights or a damaged file."""

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Any, *args: Any, **kwargs: Any) -> Any:
        """Load a model as transformers does.

        Raises:
            ValueError: if the weights lack something the model has, hold more, or have other shapes; shapes are
                forgiven with `ignore_mismatched_sizes=True`, and nothing else is.
            OSError: if there is no such model, or a downloaded file is damaged.
            DamagedModelError: if the files fail in any other way. Pickled weights are not read, unless
                `use_safetensors=False` asks for them.
        """
        wants_info = kwargs.pop("output_loading_info", False)
        may_differ = kwargs.get("ignore_mismatched_sizes", False)
        place, revision = pretrained_model_name_or_path, None
        if place is not None:  # else a config and weights at hand are given
            place, wanted = place_and_revision(place, kwargs.pop("revision", None))
            hub_options = {key: kwargs[key] for key in ("token", "cache_dir", "local_files_only") if key in kwargs}
            revision = resolve_revision(place, wanted, **hub_options)
            _refuse_pickles(place, kwargs)
        if revision is not None:
            kwargs["revision"] = revision
        with model_files(place):
            loaded: Any = super().from_pretrained(place, *args, output_loading_info=True, **kwargs)
        model, info = loaded
        commit = getattr(revision, "resolved", None)
        cached = commit and try_to_load_from_cache(place, CONFIG_NAME, kwargs.get("cache_dir"), commit)
        if isinstance(cached, str):
            model.config._commit_hash = commit
            check_cached_files(place, Path(cached).parent)
        mismatched = {_key(entry) for entry in info.get("mismatched_keys", ())} if may_differ else set()
        wrong = {
            kind: sorted(map(str, left))
            for kind, keys in info.items()
            if (left := [entry for entry in keys or () if _key(entry) not in mismatched])
        }
        if wrong:
            kinds = "; ".join(f"{kind.replace('_', ' ')}: {_shorten(keys)}" for kind, keys in wrong.items())
            if getattr(model, "_hf_peft_config_loaded", False):
                adapter = (kwargs.get("adapter_kwargs") or {}).get("_adapter_model_path", place)
                raise ValueError(
                    f"transformers cannot load the adapter {adapter}: {kinds}. peft itself can: "
                    "PeftModel.from_pretrained(model, adapter), with the model that it was made for."
                )
            source = "given" if place is None else f"in {place}"
            raise ValueError(f"The weights {source} are not those of a {cls.__name__} of its config: {kinds}.")
        return (model, info) if wants_info else model

    def get_input_embeddings(self) -> Any:
        """Return None: a signal has no vocabulary, so that there is no table of embeddings."""
        return None


def _refuse_pickles(place: Any, options: dict[str, Any]) -> None:
    """Let only safetensors be read, unless a caller says otherwise: a pickle may run any code."""
    options.setdefault("use_safetensors", True)
    pickles = sorted(path.name for path in Path(place).glob("pytorch_model*.bin")) if os.path.isdir(place) else []
    if options["use_safetensors"] and pickles and not any(Path(place).glob("*.safetensors")):
        raise DamagedModelError(
            f"{place} holds its weights as {pickles[0]}, a pickle, which may run any code and is not read; "
            "have them saved as model.safetensors."
        )


def check_cached_files(repo_id: str, snapshot: Path) -> None:
    """Compare what was downloaded from the Hub with its hashes.

    Args:
        repo_id (`str`): What was downloaded.
        snapshot (`Path`): Its folder in the cache.

    Raises:
        OSError: if a file's content is not what its name in the cache says.
    """
    for path in sorted(snapshot.rglob("*")):
        if path.is_file() and not is_sound(path.resolve()):
            raise OSError(
                f"{path.name} of {repo_id} was damaged in download (its content does not match its hash). "
                f"Delete {path.resolve()} or load with force_download=True."
            )


def is_sound(blob: Path) -> bool:
    """Whether a file of the Hub's cache holds what its name says: a sha256, or a git object id for a small file."""
    if re.fullmatch(r"[0-9a-f]{64}", blob.name):
        digest = hashlib.sha256()
    elif re.fullmatch(r"[0-9a-f]{40}", blob.name):
        digest = hashlib.sha1(f"blob {blob.stat().st_size}\0".encode())
    else:
        return True  # a cache without links has copies under their own names
    with blob.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest() == blob.name


def _key(entry: Any) -> str:
    """Return the name in an entry of transformers' report, which for other shapes holds these as well."""
    return str(entry[0] if isinstance(entry, tuple | list) else entry)


def _shorten(keys: list[str], limit: int = 4) -> str:
    return ", ".join(keys[:limit]) + (f" and {len(keys) - limit} more" if len(keys) > limit else "")
