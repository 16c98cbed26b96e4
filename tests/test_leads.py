import itertools
import re

import numpy as np
import pytest

from modeling_enecg.leads import (
    DERIVED_LIMB_LEADS,
    STANDARD_LEADS,
    derive_limb_leads,
    recorded_leads,
    standard_lead_name,
    standard_lead_names,
)

# MIMIC-IV-ECG stores aVF before aVL.
MIMIC_LEADS = ("I", "II", "III", "aVR", "aVF", "aVL", "V1", "V2", "V3", "V4", "V5", "V6")


@pytest.fixture
def signal():
    """A consistent 12-lead signal: the limb leads follow from I and II."""
    rows = dict(zip(STANDARD_LEADS, np.random.default_rng(0).normal(size=(12, 50)), strict=True))
    rows |= derive_limb_leads(rows["I"], rows["II"])
    return np.stack([rows[name] for name in STANDARD_LEADS])


@pytest.mark.parametrize(
    ("alias", "name"),
    [
        ("I", "I"),
        ("AVR", "aVR"),
        ("avf", "aVF"),
        (" v1 ", "V1"),
        ("Lead II", "II"),
        ("lead_aVL", "aVL"),
        ("ECG V6", "V6"),
        ("MDC_ECG_LEAD_V1", "V1"),
        ("MDC_ECG_LEAD_aVR", "aVR"),
        ("DI", "I"),
        ("DIII", "III"),
        ("L2", "II"),
        ("C4", "V4"),
        ("D1", "I"),
        ("EKG II", "II"),
        ("ECG-II", "II"),
        ("I.", "I"),
        ("\u2161", "II"),  # the Roman numeral as one sign
        ("Ｖ１", "V1"),
        ("Lead I (Einthoven)", "I"),
        ("aVR, augmented voltage, right", "aVR"),
    ],
)
def test_usual_spellings_mean_a_standard_lead(alias, name):
    assert standard_lead_name(alias) == name


@pytest.mark.parametrize(
    "name",
    [
        *("", "V7", "V3R", "X", "aVX", "IV", "V", "lead", "MLII", "V4 (V4R)", "V4, right", "I II", "x" * 5000),
        *(
            "-aVR",
            "ECG -aVR",
            "Lead -aVR",
            "ECG-aVR",
            "aVR-",
            "V1-",
            "- aVR",
            "aVR (inverted)",
            "minus aVR",
            "\u2212aVR",
        ),
    ],
)
def test_other_leads_are_refused_by_name(name):
    with pytest.raises(ValueError, match=re.escape(f"Unknown lead name '{name}'")):
        standard_lead_name(name)


def test_two_names_of_one_lead_are_refused():
    with pytest.raises(ValueError, match=r"Leads given twice: I, V1"):
        standard_lead_names(["I", "II", "V1", "C1", "MDC_ECG_LEAD_I"])


def test_derived_leads_obey_einthoven_and_goldberger():
    lead_i, lead_ii = np.random.default_rng(1).normal(size=(2, 30))
    derived = derive_limb_leads(lead_i, lead_ii)
    assert tuple(derived) == tuple(DERIVED_LIMB_LEADS)
    np.testing.assert_allclose(lead_i + derived["III"], lead_ii, atol=1e-15)
    np.testing.assert_allclose(derived["aVR"] + derived["aVL"] + derived["aVF"], 0, atol=1e-15)
    np.testing.assert_allclose(derived["aVL"], (lead_i - derived["III"]) / 2, atol=1e-15)
    np.testing.assert_allclose(derived["aVF"], (lead_ii + derived["III"]) / 2, atol=1e-15)


def test_mimic_order_is_put_right_by_name(signal):
    stored = signal[[STANDARD_LEADS.index(name) for name in MIMIC_LEADS]]
    assert not np.array_equal(stored, signal)
    leads, is_recorded = recorded_leads(stored, MIMIC_LEADS)
    np.testing.assert_array_equal(leads, signal)
    assert is_recorded.all()


def test_any_order_and_spelling_give_the_same_signal(signal):
    order = np.random.default_rng(2).permutation(12)
    names = [f"MDC_ECG_LEAD_{STANDARD_LEADS[row].upper()}" for row in order]
    np.testing.assert_array_equal(recorded_leads(signal[order], names)[0], signal)


@pytest.mark.parametrize("pair", list(itertools.combinations(STANDARD_LEADS[:6], 2)), ids="-".join)
def test_any_two_limb_leads_and_the_chest_leads_give_twelve(signal, pair):
    kept = [STANDARD_LEADS.index(name) for name in (*pair, *STANDARD_LEADS[6:])]
    leads, is_recorded = recorded_leads(signal[kept], [STANDARD_LEADS[row] for row in kept])
    np.testing.assert_allclose(leads, signal, atol=1e-14)
    assert is_recorded.all()


def test_a_given_limb_lead_is_not_derived_anew(signal):
    signal[STANDARD_LEADS.index("aVF")] = 7.0
    np.testing.assert_array_equal(recorded_leads(signal, STANDARD_LEADS)[0], signal)


def test_a_subset_of_leads_can_be_picked(signal):
    picked, is_recorded = recorded_leads(signal, STANDARD_LEADS, ["V5", "DII"])
    np.testing.assert_array_equal(picked, signal[[STANDARD_LEADS.index("V5"), STANDARD_LEADS.index("II")]])
    assert is_recorded.all()


@pytest.mark.parametrize("absent", [("V3",), ("I", "II", "III", "aVR", "aVL"), STANDARD_LEADS])
def test_leads_that_cannot_be_derived_are_told(signal, absent):
    kept = [row for row, name in enumerate(STANDARD_LEADS) if name not in absent]
    leads, is_recorded = recorded_leads(signal[kept], [STANDARD_LEADS[row] for row in kept])
    np.testing.assert_array_equal(leads, signal[kept])
    assert [name for name, given in zip(STANDARD_LEADS, is_recorded, strict=True) if not given] == list(absent)


def test_a_lead_without_any_sample_was_not_recorded(signal):
    rows = dict(zip(STANDARD_LEADS, signal, strict=True))
    rows["V1"] = np.full_like(rows["V1"], np.nan)
    rows["aVL"] = rows["V1"]
    leads, is_recorded = recorded_leads(np.stack(list(rows.values())), STANDARD_LEADS)
    assert np.flatnonzero(~is_recorded) == [STANDARD_LEADS.index("V1")]
    np.testing.assert_allclose(leads, np.delete(signal, STANDARD_LEADS.index("V1"), axis=0), atol=1e-14)


def test_names_and_rows_must_agree_in_number(signal):
    with pytest.raises(ValueError, match="Got 11 lead names for a signal of 12 rows"):
        recorded_leads(signal, STANDARD_LEADS[:11])
