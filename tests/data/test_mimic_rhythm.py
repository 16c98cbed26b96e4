import pytest

from modeling_enecg.data.mimic_iv_ecg.rhythm import ARRHYTHMIA_CLASSES, arrhythmia_class

LINES = {
    "Sinus rhythm": "sinus rhythm",
    "Sinus rhythm.": "sinus rhythm",
    "  NORMAL  SINUS  RHYTHM ": "sinus rhythm",
    "Probable sinus rhythm": "sinus rhythm",
    "Sinus rhythm with possible PAC(s)": "sinus rhythm",
    "Sinus rhythm without PAC(s)": "sinus rhythm",
    "Sinus rhythm has replaced atrial fibrillation": "sinus rhythm",
    "Sinus rhythm, cannot rule out atrial flutter": "sinus rhythm",
    "Sinus rhythm; atrial fibrillation is no longer present": "sinus rhythm",
    "Sinus bradycardia": "sinus bradycardia",
    "Sinus bradycardia with sinus arrhythmia": "sinus bradycardia",
    "Sinus bradycardia with 1st degree A-V block": "sinus bradycardia",
    "Marked sinus bradycardia": "sinus bradycardia",
    "Sinus tachycardia": "sinus tachycardia",
    "Probable sinus tachycardia": "sinus tachycardia",
    "Sinus tachycardia with PVC(s)": "sinus tachycardia",
    "Atrial fibrillation": "atrial fibrillation",
    "Atrial fibrillation with PVC(s) or aberrant ventricular conduction.": "atrial fibrillation",
    "Atrial fibrillation with slow ventricular response": "atrial fibrillation",
    "Atrial fibrillation without rapid ventricular response": "atrial fibrillation",
    "Atrial fibrillation with rapid ventricular response": "atrial fibrillation with rapid ventricular response",
    "Atrial fibrillation with uncontrolled v-rate": "atrial fibrillation with rapid ventricular response",
    "Sinus rhythm with borderline 1st degree A-V block": "sinus rhythm with borderline 1st degree A-V block",
    "Sinus rhythm with 1st degree A-V block": "sinus rhythm with 1st degree A-V block",
    "Sinus rhythm with first-degree AV block": "sinus rhythm with 1st degree A-V block",
    "Sinus arrhythmia": "sinus arrhythmia",
    "Sinus rhythm with marked sinus arrhythmia": "sinus arrhythmia",
    "Sinus rhythm with PAC(s)": "sinus rhythm with PAC(s)",
    "Sinus rhythm with atrial premature complexes": "sinus rhythm with PAC(s)",
    "Sinus rhythm with supraventricular extrasystoles": "sinus rhythm with PAC(s)",
    "Sinus rhythm with frequent PVC(s)": "sinus rhythm with PVC(s)",
    "Sinus rhythm with PAC(s) and PVC(s)": "sinus rhythm with PVC(s)",
    "Sinus arrhythmia with ventricular premature complex": "sinus rhythm with PVC(s)",
    "Sinus rhythm with supraventricular premature complexes": "sinus rhythm with PAC(s)",
    "Ventricular pacing": "ventricular pacing",
    "Ventricular-paced rhythm": "ventricular pacing",
    "Atrial-sensed ventricular-paced rhythm": "ventricular pacing",
    "*** Consider acute ST elevation MI ***": "consider acute ST elevation MI",
    "--- Warning: Data quality may affect interpretation ---": "data quality may affect interpretation",
    "Poor quality data, interpretation may be affected": "data quality may affect interpretation",
    "Possible ectopic atrial rhythm": "possible ectopic atrial rhythm",
    "Ectopic atrial rhythm": "possible ectopic atrial rhythm",
    "Probable ectopic atrial rhythm": "possible ectopic atrial rhythm",
    "A-V paced rhythm": "other",
    "A-V dual-paced rhythm": "other",
    "Atrial-paced rhythm": "other",
    "Demand pacing": "other",
    "Pacemaker rhythm - no further analysis": "other",
    "Atrial flutter": "other",
    "Atrial fibrillation or flutter": "other",
    "Atrial flutter/fibrillation": "other",
    "Possible atrial fibrillation": "other",
    "Consider atrial flutter": "other",
    "Atrial fibrillation?": "other",
    "Supraventricular tachycardia": "other",
    "Probable ventricular tachycardia": "other",
    "Sinus or ectopic atrial rhythm": "other",
    "Ectopic atrial tachycardia": "other",
    "Ectopic atrial bradycardia": "other",
    "Junctional rhythm": "other",
    "Accelerated idioventricular rhythm": "other",
    "Sinus rhythm with 2nd degree A-V block, Mobitz I": "other",
    "Atrial fibrillation with complete A-V block": "other",
    "AV block, complete (third degree)": "other",
    "Undetermined rhythm": "other",
    "Unknown rhythm, irregular rate": "other",
    "Irregular rhythm, no P-waves found": "other",
    "Extreme tachycardia with wide complex, no further rhythm analysis attempted": "other",
    "Cannot rule out atrial fibrillation": None,
    "Atrial fibrillation is no longer present": None,
    "No longer in atrial fibrillation": None,
    "Atrial fibrillation has resolved": None,
    "No atrial fibrillation": None,
    "Ventricular premature complex": None,
    "Pacer detection suspended due to external noise-REVIEW ADVISED": None,
    "Age not entered, assumed to be  50 years old for purpose of ECG interpretation": None,
    "--- Recording unsuitable for analysis - please repeat ---": None,
    "*** report made without knowing patient's sex ***": None,
    "Left bundle branch block": None,
    "Possible right atrial abnormality": None,
    "Abnormal rhythm ECG": None,
    "": None,
}


@pytest.mark.parametrize(("line", "label"), LINES.items(), ids=LINES)
def test_a_line_of_the_machine_means_its_class(line, label):
    assert arrhythmia_class([line]) == label


REPORTS = [
    ([], None),
    (["Normal ECG except for rate", "Abnormal ECG"], None),
    (["Sinus rhythm", "Possible right atrial abnormality", "", "Borderline ECG"], "sinus rhythm"),
    (
        ["Age not entered, assumed to be  50 years old", "Left axis deviation", "Sinus bradycardia"],
        "sinus bradycardia",
    ),
    (["Sinus rhythm", "Atrial fibrillation"], "sinus rhythm"),
    (["Sinus rhythm", "Left axis deviation", "Ventricular premature complex"], "sinus rhythm with PVC(s)"),
    (["Sinus rhythm", "- first degree A-V block"], "sinus rhythm with 1st degree A-V block"),
    (["Sinus rhythm", "Possible PVC(s)"], "sinus rhythm"),
    (["Sinus rhythm", "No PVC(s)"], "sinus rhythm"),
    (
        ["Atrial fibrillation", "with rapid ventricular response"],
        "atrial fibrillation with rapid ventricular response",
    ),
    (["*** Consider acute ST elevation MI ***", "Sinus tachycardia"], "consider acute ST elevation MI"),
    (["Sinus tachycardia", "*** Consider acute ST elevation MI ***"], "sinus tachycardia"),
    (
        ["--- Warning: Data quality may affect interpretation ---", "Sinus rhythm"],
        "data quality may affect interpretation",
    ),
    (["Cannot rule out atrial flutter", "Sinus rhythm with PAC(s)"], "sinus rhythm with PAC(s)"),
    (["Possible atrial flutter", "Sinus rhythm"], "other"),
    (["Ventricular pacing", "Pacemaker rhythm - no further analysis"], "ventricular pacing"),
]


@pytest.mark.parametrize(("lines", "label"), REPORTS)
def test_the_first_line_that_states_a_rhythm_decides_with_what_the_report_adds_to_it(lines, label):
    assert arrhythmia_class(lines) == label


def test_the_classes_have_the_numbers_of_enecg_s_files():
    assert len(ARRHYTHMIA_CLASSES) == 15
    numbers = {0: "sinus rhythm", 6: "atrial fibrillation with rapid ventricular response", 14: "other"}
    assert {number: ARRHYTHMIA_CLASSES[number] for number in numbers} == numbers


def test_every_class_is_reached_and_no_rule_gives_another():
    reached = {label for label in LINES.values() if label is not None}
    assert reached == set(ARRHYTHMIA_CLASSES)
