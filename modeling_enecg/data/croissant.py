"""Croissant metadata of a folder of Parquet files: which files, columns and labels there are, for machines to read.

MLCommons Croissant 1.0, http://mlcommons.org/croissant/1.0: JSON-LD with schema.org's `Dataset`, a `FileObject` with
checksum and a `RecordSet` per file.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import datasets
from datasets import ArrowBasedBuilder

CROISSANT = "croissant.json"
NOT_STATED = "not stated"
_CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}


@dataclass(frozen=True)
class Publication:
    """What is known of where a data set comes from.

    Attributes:
        name (`str`): What it is called.
        creators (`Sequence[str]`, *optional*): The organisations or people who published it.
        published (`str`, *optional*): When, as `YYYY-MM-DD`.
        version (`str`, *optional*): Which version.
    """

    name: str
    creators: Sequence[str] = ()
    published: str | None = None
    version: str | None = None


def write_croissant(folder: Path, builders: Sequence[ArrowBasedBuilder], publication: Publication) -> None:
    """Write `croissant.json` beside the Parquet files of prepared builders.

    Args:
        folder (`Path`): The folder, complete but for this file.
        builders (`Sequence[ArrowBasedBuilder]`): One per configuration, whose files lie in a folder of its name.
        publication (`Publication`): Where the data set comes from; licence, address, description and citation are
            those of the first builder. Of what the standard demands, what is not known is `not stated`, the date
            today's.
    """
    info = builders[0].info
    content = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": publication.name,
        "description": info.description or NOT_STATED,
        "license": info.license or NOT_STATED,
        "url": info.homepage or NOT_STATED,
        "creator": [{"@type": "sc:Organization", "name": name} for name in publication.creators or [NOT_STATED]],
        "datePublished": publication.published or date.today().isoformat(),
        "version": publication.version or NOT_STATED,
        **({"citeAs": info.citation} if info.citation else {}),
        "distribution": [_file(folder, path) for path in sorted(folder.glob("*/*.parquet"))],
        "recordSet": [each for builder in builders for each in _record_sets(folder, builder)],
    }
    (folder / CROISSANT).write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _file(folder: Path, path: Path) -> dict[str, Any]:
    place = path.relative_to(folder).as_posix()
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return {
        "@type": "cr:FileObject",
        "@id": place,
        "name": place,
        "contentUrl": place,
        "contentSize": f"{path.stat().st_size} B",
        "encodingFormat": "application/x-parquet",
        "sha256": digest,
    }


def _record_sets(folder: Path, builder: ArrowBasedBuilder) -> list[dict[str, Any]]:
    """Return a configuration's files as sets of records, one each, since a set has one file as its source."""
    paths = sorted(Path(folder, builder.config.name).glob("*.parquet"))
    return [_record_set(path.relative_to(folder).as_posix(), builder.info.features) for path in paths]


def _record_set(file: str, features: datasets.Features) -> dict[str, Any]:
    name = file.removesuffix(".parquet")
    return {
        "@type": "cr:RecordSet",
        "@id": name,
        "name": name,
        "key": {"@id": f"{name}/ecg_id"},
        "field": [_field(file, f"{name}/{column}", column, feature) for column, feature in features.items()],
    }


def _field(file: str, identifier: str, column: str, feature: Any) -> dict[str, Any]:
    is_list = isinstance(feature, datasets.List | datasets.LargeList)
    kind = feature.feature if is_list else feature
    field: dict[str, Any] = {
        "@type": "cr:Field",
        "@id": identifier,
        "name": column,
        "dataType": _data_type(kind),
        "source": {"fileObject": {"@id": file}, "extract": {"column": column}},
    }
    if isinstance(kind, datasets.ClassLabel):
        field["description"] = "; ".join(f"{index} is {name}" for index, name in enumerate(kind.names))
    if is_list:
        field["repeated"] = True
    return field


def _data_type(feature: Any) -> str:
    kind = getattr(feature, "dtype", "string")
    by_prefix = {"int": "sc:Integer", "uint": "sc:Integer", "float": "sc:Float", "bool": "sc:Boolean"}
    return next((name for prefix, name in by_prefix.items() if str(kind).startswith(prefix)), "sc:Text")


__all__ = ["CROISSANT", "Publication", "write_croissant"]
