"""PTB-XL's 71 SCP-ECG statements and the six label tasks of the PTB-XL benchmark.

The table follows `scp_statements.csv` of PTB-XL 1.0.3 (Wagner et al., doi 10.13026/kfzx-aw45, CC BY 4.0); the tasks
follow Strodthoff et al., "Deep Learning for ECG Analysis: Benchmarks and Insights from PTB-XL", 2020: a statement
counts whatever its likelihood, and label names are sorted.
"""

from collections.abc import Iterable
from typing import NamedTuple


class SCPStatement(NamedTuple):
    """One row of `scp_statements.csv`.

    Attributes:
        code (`str`): The SCP code, for instance `"IMI"`.
        description (`str`): What it means.
        kinds (`tuple[str, ...]`): Any of `"diagnostic"`, `"form"`, `"rhythm"`.
        superclass (`str`, *optional*): Diagnostic superclass, for diagnostic statements.
        subclass (`str`, *optional*): Diagnostic subclass, for diagnostic statements.
    """

    code: str
    description: str
    kinds: tuple[str, ...]
    superclass: str | None = None
    subclass: str | None = None


SCP_STATEMENTS = (
    SCPStatement("NDT", "non-diagnostic T abnormalities", ("diagnostic", "form"), "STTC", "STTC"),
    SCPStatement("NST_", "non-specific ST changes", ("diagnostic", "form"), "STTC", "NST_"),
    SCPStatement("DIG", "digitalis-effect", ("diagnostic", "form"), "STTC", "STTC"),
    SCPStatement("LNGQT", "long QT-interval", ("diagnostic", "form"), "STTC", "STTC"),
    SCPStatement("NORM", "normal ECG", ("diagnostic",), "NORM", "NORM"),
    SCPStatement("IMI", "inferior myocardial infarction", ("diagnostic",), "MI", "IMI"),
    SCPStatement("ASMI", "anteroseptal myocardial infarction", ("diagnostic",), "MI", "AMI"),
    SCPStatement("LVH", "left ventricular hypertrophy", ("diagnostic",), "HYP", "LVH"),
    SCPStatement("LAFB", "left anterior fascicular block", ("diagnostic",), "CD", "LAFB/LPFB"),
    SCPStatement("ISC_", "non-specific ischemic", ("diagnostic",), "STTC", "ISC_"),
    SCPStatement("IRBBB", "incomplete right bundle branch block", ("diagnostic",), "CD", "IRBBB"),
    SCPStatement("1AVB", "first degree AV block", ("diagnostic",), "CD", "_AVB"),
    SCPStatement(
        "IVCD", "non-specific intraventricular conduction disturbance (block)", ("diagnostic",), "CD", "IVCD"
    ),
    SCPStatement("ISCAL", "ischemic in anterolateral leads", ("diagnostic",), "STTC", "ISCA"),
    SCPStatement("CRBBB", "complete right bundle branch block", ("diagnostic",), "CD", "CRBBB"),
    SCPStatement("CLBBB", "complete left bundle branch block", ("diagnostic",), "CD", "CLBBB"),
    SCPStatement("ILMI", "inferolateral myocardial infarction", ("diagnostic",), "MI", "IMI"),
    SCPStatement("LAO/LAE", "left atrial overload/enlargement", ("diagnostic",), "HYP", "LAO/LAE"),
    SCPStatement("AMI", "anterior myocardial infarction", ("diagnostic",), "MI", "AMI"),
    SCPStatement("ALMI", "anterolateral myocardial infarction", ("diagnostic",), "MI", "AMI"),
    SCPStatement("ISCIN", "ischemic in inferior leads", ("diagnostic",), "STTC", "ISCI"),
    SCPStatement("INJAS", "subendocardial injury in anteroseptal leads", ("diagnostic",), "MI", "AMI"),
    SCPStatement("LMI", "lateral myocardial infarction", ("diagnostic",), "MI", "LMI"),
    SCPStatement("ISCIL", "ischemic in inferolateral leads", ("diagnostic",), "STTC", "ISCI"),
    SCPStatement("LPFB", "left posterior fascicular block", ("diagnostic",), "CD", "LAFB/LPFB"),
    SCPStatement("ISCAS", "ischemic in anteroseptal leads", ("diagnostic",), "STTC", "ISCA"),
    SCPStatement("INJAL", "subendocardial injury in anterolateral leads", ("diagnostic",), "MI", "AMI"),
    SCPStatement("ISCLA", "ischemic in lateral leads", ("diagnostic",), "STTC", "ISCA"),
    SCPStatement("RVH", "right ventricular hypertrophy", ("diagnostic",), "HYP", "RVH"),
    SCPStatement("ANEUR", "ST-T changes compatible with ventricular aneurysm", ("diagnostic",), "STTC", "STTC"),
    SCPStatement("RAO/RAE", "right atrial overload/enlargement", ("diagnostic",), "HYP", "RAO/RAE"),
    SCPStatement("EL", "electrolytic disturbance or drug (former EDIS)", ("diagnostic",), "STTC", "STTC"),
    SCPStatement("WPW", "Wolf-Parkinson-White syndrome", ("diagnostic",), "CD", "WPW"),
    SCPStatement("ILBBB", "incomplete left bundle branch block", ("diagnostic",), "CD", "ILBBB"),
    SCPStatement("IPLMI", "inferoposterolateral myocardial infarction", ("diagnostic",), "MI", "IMI"),
    SCPStatement("ISCAN", "ischemic in anterior leads", ("diagnostic",), "STTC", "ISCA"),
    SCPStatement("IPMI", "inferoposterior myocardial infarction", ("diagnostic",), "MI", "IMI"),
    SCPStatement("SEHYP", "septal hypertrophy", ("diagnostic",), "HYP", "SEHYP"),
    SCPStatement("INJIN", "subendocardial injury in inferior leads", ("diagnostic",), "MI", "IMI"),
    SCPStatement("INJLA", "subendocardial injury in lateral leads", ("diagnostic",), "MI", "AMI"),
    SCPStatement("PMI", "posterior myocardial infarction", ("diagnostic",), "MI", "PMI"),
    SCPStatement("3AVB", "third degree AV block", ("diagnostic",), "CD", "_AVB"),
    SCPStatement("INJIL", "subendocardial injury in inferolateral leads", ("diagnostic",), "MI", "IMI"),
    SCPStatement("2AVB", "second degree AV block", ("diagnostic",), "CD", "_AVB"),
    SCPStatement("ABQRS", "abnormal QRS", ("form",)),
    SCPStatement("PVC", "ventricular premature complex", ("form",)),
    SCPStatement("STD_", "non-specific ST depression", ("form",)),
    SCPStatement("VCLVH", "voltage criteria (QRS) for left ventricular hypertrophy", ("form",)),
    SCPStatement("QWAVE", "Q waves present", ("form",)),
    SCPStatement("LOWT", "low amplitude T-waves", ("form",)),
    SCPStatement("NT_", "non-specific T-wave changes", ("form",)),
    SCPStatement("PAC", "atrial premature complex", ("form",)),
    SCPStatement("LPR", "prolonged PR interval", ("form",)),
    SCPStatement("INVT", "inverted T-waves", ("form",)),
    SCPStatement("LVOLT", "low QRS voltages in the frontal and horizontal leads", ("form",)),
    SCPStatement("HVOLT", "high QRS voltage", ("form",)),
    SCPStatement("TAB_", "T-wave abnormality", ("form",)),
    SCPStatement("STE_", "non-specific ST elevation", ("form",)),
    SCPStatement("PRC(S)", "premature complex(es)", ("form",)),
    SCPStatement("SR", "sinus rhythm", ("rhythm",)),
    SCPStatement("AFIB", "atrial fibrillation", ("rhythm",)),
    SCPStatement("STACH", "sinus tachycardia", ("rhythm",)),
    SCPStatement("SARRH", "sinus arrhythmia", ("rhythm",)),
    SCPStatement("SBRAD", "sinus bradycardia", ("rhythm",)),
    SCPStatement("PACE", "normal functioning artificial pacemaker", ("rhythm",)),
    SCPStatement("SVARR", "supraventricular arrhythmia", ("rhythm",)),
    SCPStatement("BIGU", "bigeminal pattern (unknown origin, SV or Ventricular)", ("rhythm",)),
    SCPStatement("AFLT", "atrial flutter", ("rhythm",)),
    SCPStatement("SVTAC", "supraventricular tachycardia", ("rhythm",)),
    SCPStatement("PSVT", "paroxysmal supraventricular tachycardia", ("rhythm",)),
    SCPStatement("TRIGU", "trigeminal pattern (unknown origin, SV or Ventricular)", ("rhythm",)),
)

SUPERCLASS_DESCRIPTIONS = {
    "CD": "conduction disturbance",
    "HYP": "hypertrophy",
    "MI": "myocardial infarction",
    "NORM": "normal ECG",
    "STTC": "ST/T change",
}

TASK_NAMES = ("all", "diagnostic", "subdiagnostic", "superdiagnostic", "form", "rhythm")

_STATEMENT_BY_CODE = {statement.code: statement for statement in SCP_STATEMENTS}


def _label_of(statement: SCPStatement, task: str) -> str | None:
    """Return the label that a statement gives in a task, or None if it gives none."""
    if task == "all":
        return statement.code
    if task == "superdiagnostic":
        return statement.superclass
    if task == "subdiagnostic":
        return statement.subclass
    return statement.code if task in statement.kinds else None


TASK_LABELS = {
    task: tuple(sorted({label for s in SCP_STATEMENTS if (label := _label_of(s, task)) is not None}))
    for task in TASK_NAMES
}


def task_labels(scp_codes: Iterable[str], task: str) -> list[str]:
    """Return the sorted label names that a record's SCP codes give in one task.

    Args:
        scp_codes (`Iterable[str]`): The record's SCP codes, of any likelihood.
        task (`str`): One of `TASK_NAMES`.

    Returns:
        `list[str]`: A sorted subset of `TASK_LABELS[task]`; empty where the record has no statement of that kind.

    Raises:
        ValueError: if a code or the task is unknown.
    """
    if task not in TASK_NAMES:
        raise ValueError(f"Unknown PTB-XL task {task!r}; expected one of {', '.join(TASK_NAMES)}.")
    codes = list(scp_codes)
    unknown = sorted(set(codes) - _STATEMENT_BY_CODE.keys())
    if unknown:
        raise ValueError(f"Unknown SCP codes {', '.join(map(repr, unknown))}; PTB-XL defines {len(SCP_STATEMENTS)}.")
    labels = (_label_of(_STATEMENT_BY_CODE[code], task) for code in codes)
    return sorted({label for label in labels if label is not None})


def describe(label: str) -> str:
    """Return what a label of any PTB-XL task means, or the label itself where nothing more is known."""
    if label in _STATEMENT_BY_CODE:
        return _STATEMENT_BY_CODE[label].description
    return SUPERCLASS_DESCRIPTIONS.get(label, label)
