from datetime import datetime

import numpy as np
import pytest

from modeling_enecg.io import ECGFileError, read_ecg
from modeling_enecg.leads import STANDARD_LEADS
from modeling_enecg.recording import Metadata
from tests.helpers.vendor_xml import cardiosoft, cardiosoft_lead, eli, eli_channel, strip


@pytest.fixture
def read(write_xml):
    return lambda text: read_ecg(write_xml(text))


def strip_leads(counts):
    return [cardiosoft_lead(name, row) for name, row in zip(STANDARD_LEADS, counts, strict=False)]


def test_a_cardiosoft_strip_is_in_the_stated_microvolts(read, counts):
    median = f"<MedianSamples>{''.join(strip_leads(counts[:, ::2]))}</MedianSamples>"
    record = read(cardiosoft(median, strip(strip_leads(counts), num_leads=12, num_samples=50)))
    assert record.lead_names == list(STANDARD_LEADS)
    assert record.sampling_rate == 500
    np.testing.assert_allclose(record.signal_mv, counts * 0.005, rtol=1e-12)


@pytest.mark.parametrize(("units", "resolution", "mv"), [("uVperLsb", "2.5", 0.0025), ("mVPerLSB", "0.01", 0.01)])
def test_a_cardiosoft_resolution_is_read_in_its_unit(read, counts, units, resolution, mv):
    text = cardiosoft(strip(strip_leads(counts[:2]), rate=1000, resolution=resolution, units=units))
    record = read(text)
    assert record.sampling_rate == 1000
    np.testing.assert_allclose(record.signal_mv, counts[:2] * mv, rtol=1e-12)


def test_what_cardiosoft_says_of_patient_and_beats_is_kept(read, counts):
    def date(tag, *numbers):
        fields = ("Year", "Month", "Day", "Hour", "Minute", "Second")
        written = "".join(f"<{name}>{value}</{name}>" for name, value in zip(fields, numbers, strict=False))
        return f"<{tag}>{written}</{tag}>"

    patient = f"<PatientInfo><PID>7</PID><Gender>FEMALE</Gender>{date('BirthDateTime', 1950, 6, 20)}</PatientInfo>"
    measured = {"VentricularRate": 61, "PQInterval": 150, "QRSDuration": 0, "RAxis": -30}
    beats = "".join(f"<{name}>{value}</{name}>" for name, value in measured.items())
    text = "<Diagnosis><DiagnosisText>Sinus rhythm</DiagnosisText></Diagnosis>"
    parts = [
        patient,
        date("ObservationDateTime", 2019, 6, 19, 13, 20, 5),
        f"<RestingECGMeasurements>{beats}</RestingECGMeasurements>",
    ]
    metadata = read(cardiosoft(*parts, text, strip(strip_leads(counts)))).metadata
    assert metadata == Metadata(
        patient_id="7",
        recorded_at=datetime(2019, 6, 19, 13, 20, 5),
        age_years=68.0,
        sex="female",
        heart_rate_bpm=61.0,
        pr_ms=150.0,
        qrs_axis_deg=-30.0,
        statements=("Sinus rhythm",),
    )


def test_cardiosoft_spells_its_encoding_in_a_way_of_its_own(write_xml, counts):
    text = cardiosoft("<Name>Jürgen</Name>", strip(strip_leads(counts[:2])))
    text = text.replace('version="1.0"', 'version="1.0" encoding="ISO8859-1"')
    np.testing.assert_allclose(read_ecg(write_xml(text, "latin-1")).signal_mv, counts[:2] * 0.005, rtol=1e-12)


def test_a_comma_after_the_last_number_of_cardiosoft_is_no_sample(read):
    text = cardiosoft(strip(['<WaveformData lead="I">\n\t1,\t2,\n\t3,\n</WaveformData>']))
    np.testing.assert_allclose(read(text).signal_mv, [[0.005, 0.01, 0.015]])


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ([], "has no StripData"),
        (["<FullDisclosure><SampleRate>100</SampleRate></FullDisclosure>"], "full disclosure of a stress test"),
        ([strip([]), strip([])], "holds 2 strips"),
        ([strip([])], "holds no lead"),
        ([strip([cardiosoft_lead("I", [1, 2])], units="mmHgperLsb")], "Resolution is in mmHgperLsb"),
        ([strip([cardiosoft_lead("I", [1, 2])], units="uV")], "Resolution is in uV; uVperLsb"),
        ([strip([cardiosoft_lead("I", [1, 2])], resolution="")], "Resolution is absent"),
        ([strip([cardiosoft_lead("I", [1, 2])], rate=0)], "SampleRate is '0'"),
        ([strip([cardiosoft_lead("I", [1, 2])], num_leads=2)], "NumberOfLeads is 2, but 1"),
        ([strip([cardiosoft_lead("I", [1, 2])], num_samples=3)], "ChannelSampleCountTotal is 3, but 2"),
        ([strip([cardiosoft_lead("I", [1, 2]), cardiosoft_lead("II", [1])])], "leads of 1 and of 2 samples"),
        ([strip([cardiosoft_lead("I", ["1", "x"])])], "something else than numbers"),
        ([strip([cardiosoft_lead("", [1])])], "without its lead"),
    ],
)
def test_what_cardiosoft_does_not_settle_is_refused(read, parts, message):
    with pytest.raises(ECGFileError, match=message):
        read(cardiosoft(*parts))


def test_eli_channels_are_in_units_per_millivolt(read, counts):
    cycle = '<TYPICAL_CYCLE UNITS_PER_MV="200"><TYPICAL_CYCLE_CHANNEL NAME="I" DATA="AAA="/></TYPICAL_CYCLE>'
    channels = [eli_channel(name.upper(), row) for name, row in zip(STANDARD_LEADS, counts, strict=True)]
    record = read(eli(*channels, before=cycle))
    assert record.lead_names == list(STANDARD_LEADS)
    assert record.sampling_rate == 1000
    np.testing.assert_allclose(record.signal_mv, counts / 400, rtol=1e-12)


def test_what_eli_says_of_patient_and_beats_is_kept(read, counts):
    said = (
        '<SUBJECT LAST_NAME="Nobody" ID="7" GENDER="Male" DOB="19500620"/>'
        '<SOURCE MANUFACTURER="Mortara" MODEL="ELI 280"/>'
        '<AUTOMATIC_INTERPRETATION><STATEMENT TEXT="SINUS RHYTHM"/></AUTOMATIC_INTERPRETATION>'
        '<TYPICAL_CYCLE PR_DURATION="150" QT="400" QTC="" T_AXIS="999"/>'
    )
    metadata = read(eli(eli_channel("I", counts[0]), before=said)).metadata
    assert metadata == Metadata(
        patient_id="7",
        recorded_at=datetime(2020, 1, 1, 12),
        age_years=69.0,
        sex="male",
        device="Mortara ELI 280",
        pr_ms=150.0,
        qt_ms=400.0,
        statements=("SINUS RHYTHM",),
    )


def test_each_eli_channel_has_its_scale(read, counts):
    text = eli(eli_channel("I", counts[0], 500, 200), eli_channel("II", counts[1], 500, "204.8"))
    np.testing.assert_allclose(read(text).signal_mv, [counts[0] / 200, counts[1] / 204.8], rtol=1e-12)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"BITS": 8}, "BITS of II is 8; only 16"),
        ({"FORMAT": "UNSIGNED"}, "FORMAT of II is UNSIGNED"),
        ({"ENCODING": None}, "ENCODING of II is None"),
        ({"OFFSET": 12}, "OFFSET of II is 12"),
        ({"DURATION": 20}, "DURATION of II is 20, but its data are 50 samples"),
        ({"DURATION": None}, "DURATION of II is absent"),
        ({"SAMPLE_FREQ": 500}, "of 500 and of 1000 Hz"),
        ({"SAMPLE_FREQ": 0}, "SAMPLE_FREQ is '0'"),
        ({"UNITS_PER_MV": 0}, "UNITS_PER_MV of II is '0'"),
        ({"DATA": "AAAA"}, "no whole number of 16-bit samples"),
        ({"DATA": "!"}, "not in base64"),
        ({"NAME": ""}, "without NAME"),
    ],
)
def test_an_eli_channel_that_is_coded_otherwise_is_refused(read, counts, options, message):
    with pytest.raises(ECGFileError, match=message):
        read(eli(eli_channel("I", counts[0]), eli_channel("II", counts[1], **options)))


def test_another_xml_with_the_root_ecg_is_refused(read):
    with pytest.raises(ECGFileError, match="no ELI of Mortara"):
        read("<ECG><Lead>1,2,3</Lead></ECG>")
