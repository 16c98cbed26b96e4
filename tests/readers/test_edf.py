import numpy as np
import pytest

from modeling_enecg.io import ECGFileError, read_ecg
from tests.helpers.edf_files import annotations, bdf, channel, edf, int16, int24, onset, records_of
from tests.helpers.expected_formats import assert_samples_read_as_expected


@pytest.fixture
def counts() -> np.ndarray:
    return np.random.default_rng(0).integers(-30000, 30000, size=(3, 100), dtype=np.int16)


def read(tmp_path, content, **arguments):
    path = tmp_path / "recording.edf"
    path.write_bytes(content)
    return read_ecg(path, **arguments)


def test_sample_files_read_as_expected(formats_dir):
    assert_samples_read_as_expected(formats_dir, "edf/", "bdf/")


def test_physical_values_come_from_both_ranges(tmp_path, counts):
    channels = [
        channel("I", 100, "uV", (-3276.8, 3276.7)),
        channel("II", 100, "mV", (10, -10), (-2048, 2047)),
        channel("V1", 100, "V", ("0,5", "1,5"), (0, 1000)),
    ]
    digital = np.stack([counts[0], counts[1] // 16, np.abs(counts[2]) // 30])
    record = read(tmp_path, edf(channels, records_of(*digital)))
    truth = [digital[0] * 1e-4, 10 - (digital[1] + 2048.0) * 20 / 4095, (digital[2] / 1000 + 0.5) * 1e3]
    np.testing.assert_allclose(record.signal_mv, truth, rtol=1e-12, atol=1e-12)
    assert record.lead_names == ["I", "II", "V1"]


def test_large_offsets_are_kept(tmp_path, counts):
    record = read(tmp_path, edf([channel("ECG", 100, "uV", (176468, 176494))], records_of(counts[0])))
    truth = 176.468 + (counts[0] + 32768.0) * 0.026 / 65535
    np.testing.assert_allclose(record.signal_mv[0], truth, atol=1e-9)


@pytest.mark.parametrize(
    ("seconds", "num_samples", "rate"),
    [("9.59375", 1228, 128.0), ("0.00125", 1, 800.0), ("0,1", 36, 360.0), ("3", 100, 100 / 3), ("1.0E-01", 25, 250.0)],
)
def test_the_rate_is_exact_for_every_duration_of_a_record(tmp_path, seconds, num_samples, rate):
    signal = np.arange(num_samples * 40) % 30000
    content = edf([channel("ECG", num_samples)], records_of(signal, length=num_samples), seconds)
    record = read(tmp_path, content)
    assert record.sampling_rate == rate
    np.testing.assert_allclose(record.signal_mv[0], signal * 1e-4, atol=1e-12)


def test_channels_of_another_rate_or_no_ecg_are_left_out(tmp_path, counts):
    channels = [channel("EEG Fp1", 100), channel("ECG I", 100), channel("SaO2", 10, "%"), channel("ECG II", 100)]
    channels += [channel("ECG V1", 50)]
    blocks = [[int16(counts[0]), int16(counts[1]), int16(counts[0][:10]), int16(counts[2]), int16(counts[0][:50])]]
    record = read(tmp_path, edf(channels, blocks))
    assert record.lead_names == ["I", "II"]
    np.testing.assert_allclose(record.signal_mv, counts[1:] * 1e-4, atol=1e-12)


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (["ECG ECG1", "ECG ECG2"], ["ECG1", "ECG2"]),
        (["ECG V2", "EKG  aVR"], ["V2", "aVR"]),
        (["ECG", "EKG2"], ["ECG", "EKG2"]),
        (["ECG LA-RA", "ECG 2"], ["ECG LA-RA", "ECG 2"]),
        (["ECG1", "Status"], ["ECG1"]),
        (["ECG", "C3"], ["ECG"]),
        (["I", "C2"], ["I", "V2"]),
        (["channel 1", "channel 2"], ["channel 1", "channel 2"]),
        (["ECG", "ECG"], ["ECG", "ECG"]),
        (["POL EKG1", "POL Fp1"], ["POL EKG1"]),
        (["EEG EKG1-REF", "EEG FP1-REF"], ["EEG EKG1-REF"]),
        (["ECG_1", "channel 2"], ["ECG_1"]),
        (["channel 1", "EMG chin"], ["channel 1"]),
    ],
)
def test_labels_become_names_of_leads(tmp_path, counts, labels, names):
    content = edf([channel(label, 100) for label in labels], records_of(*counts[:2]))
    assert read(tmp_path, content).lead_names == names


def test_places_on_the_head_are_no_chest_leads(tmp_path, counts):
    with pytest.raises(ECGFileError, match=r"no ECG: its channels are C3 \(uV\), C4 \(uV\)"):
        read(tmp_path, edf([channel("C3", 100), channel("C4", 100)], records_of(*counts[:2])))


def test_recordings_of_something_else_are_refused(tmp_path, counts):
    with pytest.raises(ECGFileError, match=r"no ECG: its channels are EEG Fpz-Cz \(uV\), EOG \(uV\)"):
        read(tmp_path, edf([channel("EEG Fpz-Cz", 100), channel("EOG", 100)], records_of(*counts[:2])))


@pytest.mark.parametrize(
    ("unit", "mv"),
    [
        ("uV", 1e-3),
        ("\xb5V", 1e-3),
        ("\xc2\xb5V", 1e-3),
        ("uVolts", 1e-3),
        ("0.001mV", 1e-3),
        ("mVolt", 1),
        ("V", 1e3),
    ],
)
def test_units_are_read_as_writers_spell_them(tmp_path, counts, unit, mv):
    record = read(tmp_path, edf([channel("ECG", 100, unit)], records_of(counts[0])))
    np.testing.assert_allclose(record.signal_mv[0], counts[0] * 0.1 * mv, rtol=1e-9, atol=1e-9)


def test_whole_numbers_may_have_decimals(tmp_path, counts):
    content = edf([channel("ECG", "100.0")], records_of(counts[0]), num_records="1.00")
    assert read(tmp_path, content).signal_mv.shape == (1, 100)


def test_a_unit_that_is_not_stated_is_asked_for(tmp_path, counts):
    content = edf([channel("ECG", 100, "?")], records_of(counts[0]))
    with pytest.raises(ECGFileError, match="give unit"):
        read(tmp_path, content)
    np.testing.assert_allclose(read(tmp_path, content, unit="uV").signal_mv[0], counts[0] * 1e-4, atol=1e-12)


def test_samples_of_24_bits_keep_their_sign(tmp_path):
    values = np.array([-8388608, 8388607, -1, 0, 1, 256, -256, 65536, -65537, 255])
    channels = [channel("ECG", 10, "uV", (-8388608, 8388607), (-8388608, 8388607)), channel("Status", 10)]
    record = read(tmp_path, bdf(channels, [[int24(values), int24(range(10))]], seconds="0.1", kind="24BIT"))
    np.testing.assert_allclose(record.signal_mv, values[None] * 1e-3, atol=1e-9)
    assert record.lead_names == ["ECG"]


def test_gaps_of_a_discontinuous_recording_are_missing(tmp_path, counts):
    blocks = [[int16(row), onset(second)] for row, second in zip(counts, ("7.5", "8.5", "11.25"), strict=True)]
    record = read(tmp_path, edf([channel("ECG", 100), annotations()], blocks, kind="EDF+D"))
    assert record.signal_mv.shape == (1, 475)
    np.testing.assert_allclose(record.signal_mv[0, :200], counts[:2].ravel() * 1e-4, atol=1e-12)
    assert np.isnan(record.signal_mv[0, 200:375]).all()
    np.testing.assert_allclose(record.signal_mv[0, 375:], counts[2] * 1e-4, atol=1e-12)


def test_gaps_are_kept_in_24_bits_too(tmp_path, counts):
    blocks = [[int24(row), onset(second, 20, 3)] for row, second in zip(counts, (0, 2, 3), strict=True)]
    record = read(tmp_path, bdf([channel("ECG", 100), annotations("BDF")], blocks, kind="BDF+D"))
    assert record.signal_mv.shape == (1, 400)
    assert np.isnan(record.signal_mv[0, 100:200]).all()


@pytest.mark.parametrize(
    ("onsets", "message"),
    [
        ([onset(0), onset(0.5)], "overlap"),
        ([onset(0), onset(999999999)], "at least one of 10"),
        ([onset(0), b"\0" * 40], "record 2 does not tell"),
    ],
)
def test_impossible_times_of_records_are_refused(tmp_path, counts, onsets, message):
    blocks = [[int16(counts[0]), each] for each in onsets]
    with pytest.raises(ECGFileError, match=message):
        read(tmp_path, edf([channel("ECG", 100), annotations()], blocks, kind="EDF+D"))


def test_gaps_without_annotations_are_refused(tmp_path, counts):
    with pytest.raises(ECGFileError, match="no annotations"):
        read(tmp_path, edf([channel("ECG", 100)], records_of(counts[0]), kind="EDF+D"))


def test_the_number_of_records_may_be_open(tmp_path, counts):
    content = edf([channel("ECG", 100)], records_of(counts.ravel()), num_records=-1)
    np.testing.assert_allclose(read(tmp_path, content).signal_mv[0], counts.ravel() * 1e-4, atol=1e-12)
    for damaged in (content + b"\r", content[:-3], content[:600] + b"\r\r" + content[600:]):
        with pytest.raises(ECGFileError, match=r"number of records open \(-1\), and ends \d+ bytes within one of 200"):
            read(tmp_path, damaged)


@pytest.mark.parametrize("kept", [8, 100, 255, 256, 400, 512, 513, 1111])
def test_a_file_that_was_cut_short_is_refused(tmp_path, counts, kept):
    with pytest.raises(ECGFileError):
        read(tmp_path, edf([channel("ECG", 100)], records_of(counts.ravel()))[:kept])


@pytest.mark.parametrize("write", [edf, bdf])
def test_a_file_longer_than_it_declares_is_refused(tmp_path, counts, write):
    sample = int16 if write is edf else int24
    content = write([channel("ECG", 100)], [[sample(counts.ravel()[:100])]])
    with pytest.raises(ECGFileError, match=r"declares 1 records of [23]00 bytes, and holds 1 bytes more"):
        read(tmp_path, content[:600] + b"\r" + content[600:])
    with pytest.raises(ECGFileError, match="bytes were inserted, as a transfer in text mode does"):
        read(tmp_path, content + content[-len(content) // 3 :])


def test_missing_records_are_counted(tmp_path, counts):
    with pytest.raises(ECGFileError, match="declares 99999999 records, and holds 3"):
        read(tmp_path, edf([channel("ECG", 100)], records_of(counts.ravel()), num_records=99999999))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seconds": "0"}, "duration of a record is '0'"),
        ({"seconds": "1e999999"}, "duration of a record"),
        ({"seconds": "nan"}, "duration of a record"),
        ({"seconds": ""}, "duration of a record"),
        ({"num_records": "many"}, "number of records is 'many'"),
        ({"num_records": 0}, "0 samples"),
        ({"header_bytes": 768}, "header of 768 bytes"),
    ],
)
def test_a_senseless_header_is_refused(tmp_path, counts, options, message):
    with pytest.raises(ECGFileError, match=message):
        read(tmp_path, edf([channel("ECG", 100)], records_of(counts[0]), **options))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"physical": (1, 1)}, "no such range"),
        ({"digital": (5, 5)}, "no such range"),
        ({"physical": ("-1e308", "1e308")}, "physical minimum of ECG is '-1e308'"),
        ({"digital": ("x", 1)}, "digital minimum of ECG is 'x'"),
        ({"num_samples": -1}, "at least 0"),
        ({"num_samples": 0}, "no ECG"),
        ({"num_samples": 99999999}, "holds 0"),
        ({"unit": "mmHg"}, "no ECG"),
    ],
)
def test_a_senseless_channel_is_refused(tmp_path, counts, options, message):
    with pytest.raises(ECGFileError, match=message):
        read(tmp_path, edf([channel(**{"label": "ECG", "num_samples": 100} | options)], records_of(counts[0])))


def test_a_lead_at_another_rate_is_told(tmp_path, counts):
    channels = [channel("ECG I", 100), channel("ECG II", 100), channel("ECG V1", 50)]
    records = [[int16(counts[0]), int16(counts[1]), int16(counts[2][:50])]]
    record = read(tmp_path, edf(channels, records))
    assert (record.lead_names, record.left_out) == (["I", "II"], {"ECG V1": "at 50 Hz, unlike the leads at 100 Hz"})


def test_central_places_of_a_sleep_study_are_no_chest_leads(tmp_path, counts):
    labels = ("II", "C3", "C4")
    record = read(tmp_path, edf([channel(label, 100) for label in labels], records_of(*counts)))
    assert (record.lead_names, set(record.left_out)) == (["II"], {"C3", "C4"})


def test_thousands_of_channels_are_refused_at_once(tmp_path):
    with pytest.raises(ECGFileError, match="declares 9999 channels; at most 1024"):
        read(tmp_path, edf([channel("ECG", 1)] * 9999, []))
