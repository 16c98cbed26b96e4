"""The page `formats.md`, written from the package's own tables: `python docs/formats_page.py`."""

import re
from collections.abc import Iterable, Mapping
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from modeling_enecg import reading_wfdb, wfdb_samples
from modeling_enecg.conversion.published import PUBLISHED, mask_rule_table
from modeling_enecg.file_signatures import OTHER_FORMATS, SIGNATURES
from modeling_enecg.leads import DERIVED_LIMB_LEADS, LEAD_SETS, STANDARD_LEADS, is_standard_lead, standard_lead_name
from modeling_enecg.readers.xml import ROOTS

PAGE = Path(__file__).with_name("formats.md")
READERS = "modeling_enecg.readers"
SPELLINGS = (
    *("aVR", "AVR", "avf", "D2", "DI", "L3", "C4", "II.", "Lead aVR", "EKG II", "ECG-V1", "MDC_ECG_LEAD_AVR"),
    *("Lead I (Einthoven)", "-aVR", "V4R", "V4 (V4R)", "MLII", "ECG", "V7", "RESP"),
)
TEXT = """<!-- Written by docs/formats_page.py from the package's tables; a test compares. Change those instead. -->
# Formats and lead rules

## Formats that are read

A format is told by a file's content, never by its name. What is read of each, and what a file that does not say enough
needs from you, stands in [Recordings](recordings.md). Some formats need a package, which
`pip install -e ".[formats]"` brings; WFDB only where signals are compressed as FLAC, MATLAB only for version 7.3.

{formats}

An XML file's root tells its format:

{roots}

Files that are known and not read:

{others}

## Names of leads

Models take {standard}. Case, blanks and words that describe a lead do
not matter; a name that says something else is another lead's:

{spellings}

## Limb leads that are calculated

Of any two limb leads the other four follow. From I and II:

{derived}

## Sets of leads

Reports score a model on these sets too, where the recipe names them (`lead_sets`):

{sets}

## Missing leads and padding

{masks}

## What each backbone is fed

Its feature extractor does this to every recording, in this order; it is what the backbone was pre-trained on.

{inputs}
"""


def formats_page() -> str:
    """Return the page in Markdown."""
    readers = [(name, import_module(f"{READERS}.{name}")) for name in SIGNATURES]
    formats = [["`wfdb`", _about(reading_wfdb).removeprefix("Reading "), _needs(wfdb_samples)]]
    formats += [[f"`{name}`", _about(module), _needs(module)] for name, module in readers]
    return TEXT.format(
        formats=_table(["reader", "what", "package"], formats),
        roots=_table(
            ["root", "format"],
            ([f"`{root}`", _about(import_module(parse.__module__))] for root, parse in ROOTS.items()),
        ),
        others=_table(["file", "what to do"], map(list, dict.fromkeys(row[1:] for row in OTHER_FORMATS))),
        standard=", ".join(STANDARD_LEADS),
        spellings=_table(["in a file", "lead"], ([f"`{name}`", _lead(name)] for name in SPELLINGS)),
        derived=_table(["lead", "from I and II"], _derived()),
        sets=_table(["set", "leads"], ([name, ", ".join(leads)] for name, leads in LEAD_SETS.items())),
        masks=mask_rule_table(),
        inputs=_table(["backbone", "input", "leads", "steps"], _inputs()),
    )


def _table(head: list[str], rows: Iterable[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _about(module: ModuleType) -> str:
    """Return the first sentence of a module's docstring."""
    first = (module.__doc__ or "").strip().split("\n\n")[0]
    return " ".join(first.split()).removesuffix(".")


def _needs(module: ModuleType) -> str:
    """Return the packages that a module, or a reader that it imports, asks for."""
    source = Path(str(module.__file__)).read_text(encoding="utf-8")
    packages = {package or name for name, package in re.findall(r'\bneed\("([\w.]+)"(?:, "(\w+)")?\)', source)}
    for name in re.findall(r"^from \.(\w+) import", source, re.MULTILINE) if READERS in module.__name__ else []:
        packages |= set(filter(None, _needs(import_module(f"{READERS}.{name}")).split(", ")))
    return ", ".join(sorted(packages))


def _lead(name: str) -> str:
    return standard_lead_name(name) if is_standard_lead(name) else "none of the 12"


def _derived() -> Iterable[list[str]]:
    for lead, weights in DERIVED_LIMB_LEADS.items():
        terms = [f"{weight:+g} × {name}" for name, weight in zip(("I", "II"), weights, strict=True)]
        yield [lead, " ".join(terms).replace("-", "−")]


def _inputs() -> Iterable[list[str]]:
    for weights in PUBLISHED:
        settings = weights.model_class.config_class().feature_extractor_settings()
        leads = "all 12" if len(settings["lead_names"]) == len(STANDARD_LEADS) else ", ".join(settings["lead_names"])
        yield [f"`{weights.name}`", weights.input_size, leads, "; ".join(map(_step, settings["steps"]))]


def _step(step: Mapping[str, Any]) -> str:
    arguments = ", ".join(f"{key} {value}" for key, value in step.items() if key != "name")
    return f"{step['name']}{f' ({arguments})' if arguments else ''}"


if __name__ == "__main__":
    PAGE.write_text(formats_page(), encoding="utf-8")
