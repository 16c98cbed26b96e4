"""The arrhythmia class of an ECG, from the lines of its machine's report, by a table of rules.

The classes are those of EnECG's task: 14 frequent first lines of the reports of MIMIC-IV-ECG, and `other`, in the
order in which the authors number them (github.com/yuhaoxu99/ECGMultitasks-Benchmark). How they got from a report to a
class is not published; these rules are ours. Two classes are no rhythms: a report that opens with an acute infarct or
with a warning gets that class. A rhythm that is denied or doubted does not count.

The words are those of the carts that MIMIC-IV-ECG was recorded with. No cardiologist checked what they say.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

SINUS_RHYTHM = "sinus rhythm"
SINUS_BRADYCARDIA = "sinus bradycardia"
SINUS_TACHYCARDIA = "sinus tachycardia"
FIBRILLATION = "atrial fibrillation"
BORDERLINE_BLOCK = "sinus rhythm with borderline 1st degree A-V block"
FIRST_DEGREE_BLOCK = "sinus rhythm with 1st degree A-V block"
RAPID_FIBRILLATION = "atrial fibrillation with rapid ventricular response"
SINUS_ARRHYTHMIA = "sinus arrhythmia"
SINUS_WITH_PAC = "sinus rhythm with PAC(s)"
VENTRICULAR_PACING = "ventricular pacing"
ACUTE_INFARCT = "consider acute ST elevation MI"
DATA_QUALITY = "data quality may affect interpretation"
SINUS_WITH_PVC = "sinus rhythm with PVC(s)"
ECTOPIC_ATRIAL = "possible ectopic atrial rhythm"
OTHER = "other"

ARRHYTHMIA_CLASSES = (
    SINUS_RHYTHM,
    SINUS_BRADYCARDIA,
    SINUS_TACHYCARDIA,
    FIBRILLATION,
    BORDERLINE_BLOCK,
    FIRST_DEGREE_BLOCK,
    RAPID_FIBRILLATION,
    SINUS_ARRHYTHMIA,
    SINUS_WITH_PAC,
    VENTRICULAR_PACING,
    ACUTE_INFARCT,
    DATA_QUALITY,
    SINUS_WITH_PVC,
    ECTOPIC_ATRIAL,
    OTHER,
)


class Rule(NamedTuple):
    """A regular expression that is searched in a statement in lower case, and the class it stands for."""

    pattern: str
    label: str


PVC = (
    r"\bpvcs?\b|(?<!supra)ventricular premature|premature ventricular|(?<!supra)ventricular (couplet|bigemin|trigemin)"
)
PAC = r"\bpacs?\b|atrial premature|premature atrial|supraventricular (premature|extrasystole)"

# In order of precedence: the first pattern that is found decides.
RULES = (
    Rule(r"data quality may affect|poor quality data", DATA_QUALITY),
    Rule(r"acute st elevation mi\b", ACUTE_INFARCT),
    Rule(r"\bdual\b.*pac(ed|ing|emaker)|atrial[- ]pac(ed|ing)|\ba-?v[- ](sequential )?pac(ed|ing)", OTHER),
    Rule(r"ventricular[- ]pac(ed|ing)", VENTRICULAR_PACING),
    Rule(r"\bpac(ed|ing)\b|pacemaker", OTHER),
    # One of two: "Sinus or ectopic atrial rhythm", "Atrial fibrillation or flutter".
    Rule(
        r"sinus (rhythm )?or |\bor (sinus|ectopic|junctional|supraventricular|flutter|atrial (fib|flut|tach))", OTHER
    ),
    # What has no class of its own, also where a sinus rhythm or a fibrillation is named with it.
    Rule(r"(2nd|second|3rd|third|high)[- ]degree|\b[2-9]:1\b|complete (a-?v|heart) block|wenckebach|mobitz", OTHER),
    Rule(r"block, (complete|advanced|varying)|a-?v dissociation|\basystole|sinus (pause|arrest)", OTHER),
    Rule(r"(?<!supra)ventricular (tachycardia|fibrillation|flutter|escape)|idioventricular", OTHER),
    Rule(r"flutter|multifocal atrial|wandering|(junctional|nodal) (rhythm|tachycardia|bradycardia|escape)", OTHER),
    Rule(r"atrial fib.*(rapid|uncontrolled) v(entricular|-rate)", RAPID_FIBRILLATION),
    Rule(r"atrial fib", FIBRILLATION),
    Rule(r"ectopic atrial rhythm", ECTOPIC_ATRIAL),
    Rule(r"sinus bradycardia", SINUS_BRADYCARDIA),  # a rate keeps its class, whatever comes with it
    Rule(r"sinus tachycardia", SINUS_TACHYCARDIA),
    Rule(rf"sinus (rhythm|arrhythmia).*({PVC})", SINUS_WITH_PVC),
    Rule(rf"sinus (rhythm|arrhythmia).*({PAC})", SINUS_WITH_PAC),
    Rule(r"sinus rhythm.*borderline (1st|first)[- ]degree", BORDERLINE_BLOCK),
    Rule(r"sinus rhythm.*(1st|first)[- ]degree", FIRST_DEGREE_BLOCK),
    Rule(r"sinus arrhythmia", SINUS_ARRHYTHMIA),
    Rule(r"sinus rhythm", SINUS_RHYTHM),
    Rule(r"tachycardia|bradycardia|\b(undetermined|unknown|unclassified|irregular|regular|escape) rhythm", OTHER),
)
_COMPILED = tuple((re.compile(rule.pattern), rule.label) for rule in RULES)

# "Sinus tachycardia, no longer in atrial fibrillation": what follows is denied; "... no longer present": all of it.
DENIED = re.compile(r"\b(no|not|without|cannot (rule out|exclude)|rule out|has replaced|replaces|previously)\b.*")
WITHDRAWN = re.compile(r"\bno longer\b|\b(is|are|has|have) (absent|resolved|disappeared)\b|\bunlikely\b")
# What follows these words is doubted; what "probable" goes before is asserted.
DOUBTED = re.compile(r"\b(possible|possibly|consider|suggests?|suggesting|suspect|versus|vs)\b(.*)|(.*)\?$")
NAMED_AS_DOUBT = (ACUTE_INFARCT, ECTOPIC_ATRIAL)

# Lines that go on from the rhythm: "with rapid ventricular response", "- first degree A-V block".
COMPANION = re.compile(rf"^(- ?\w|with\b)|{PVC}|{PAC}|\b(1st|first)[- ]degree")


def arrhythmia_class(lines: Sequence[str]) -> str | None:
    """Return the arrhythmia class of a machine's report.

    The first line that states a rhythm decides (or an acute infarct, or a warning about the data), together with the
    report's lines on premature beats and on first degree block. A rhythm that is denied does not count; one that is
    called possible makes the report `other`, but for the two classes that are named so.

    Args:
        lines (`Sequence[str]`): The lines of the report, in order; empty ones are passed over.

    Returns:
        `str`, *optional*: One of `ARRHYTHMIA_CLASSES`; None where no rule speaks.
    """
    readings = [_read_line(line) for line in lines]
    for reading in readings:
        if reading.label is not None and reading.asserted:
            companions = [other.asserted for other in readings if other.is_companion]
            return _first_match(" ".join([reading.asserted, *companions]))
        if reading.label is not None:
            return reading.label
    return None


class _Reading(NamedTuple):
    """What a line says: the text it asserts, empty where it only doubts; its class; whether it adds to a rhythm."""

    asserted: str
    label: str | None
    is_companion: bool


@lru_cache(maxsize=100_000)  # 800,000 reports repeat some thousands of lines
def _read_line(line: str) -> _Reading:
    asserted, doubted = [], []
    text = " ".join(line.lower().split()).strip("*. ")
    for clause in re.split(r"[;,.] ", text):
        if not WITHDRAWN.search(clause):
            clause = DENIED.sub("", clause)
            doubt = DOUBTED.search(clause)
            doubted += [doubt.group(2) or doubt.group(3)] if doubt else []
            asserted.append(DOUBTED.sub("", clause))
    said = ", ".join(asserted)
    label = _first_match(said)
    possible = _first_match(", ".join(doubted))
    if label is None and possible is not None:
        return _Reading("", possible if possible in NAMED_AS_DOUBT else OTHER, False)
    return _Reading(said, label, label is None and COMPANION.search(said) is not None)


def _first_match(text: str) -> str | None:
    return next((label for pattern, label in _COMPILED if pattern.search(text)), None)
