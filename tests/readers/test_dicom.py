import time
import tracemalloc
import warnings

import numpy as np
import pytest
from pydicom.uid import (
    AmbulatoryECGWaveformStorage,
    CTImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    GeneralECGWaveformStorage,
    HemodynamicWaveformStorage,
    ImplicitVRLittleEndian,
)

from modeling_enecg.io import ECGFileError, read_ecg
from tests.helpers.dicom_files import LEAD_I, LEAD_II, LEAD_V1, channel, dicom, group
from tests.helpers.expected_formats import assert_samples_read_as_expected


@pytest.fixture
def samples() -> np.ndarray:
    return np.random.default_rng(0).integers(-3000, 3000, size=(2, 500)).astype("<i2")


@pytest.fixture
def write(tmp_path):
    """A function that writes groups and returns the file's path."""
    return lambda groups, **options: dicom(tmp_path / "ecg.dcm", groups, **options)


def test_sample_files_read_as_expected(formats_dir):
    assert_samples_read_as_expected(formats_dir, "dicom/")


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_every_encoding_reads_the_same(write, samples, syntax):
    stored = samples.astype(">i2") if syntax == ExplicitVRBigEndian else samples
    padding = np.array(-2999, dtype=stored.dtype).tobytes()
    path = write([group(stored, [channel(LEAD_I), channel(LEAD_II)], padding=padding)], syntax=syntax)
    record = read_ecg(path)
    truth = np.where(samples == -2999, np.nan, samples * 2.5e-3)
    np.testing.assert_allclose(record.signal_mv, truth, rtol=1e-12)
    assert record.lead_names == ["I", "II"]
    assert record.sampling_rate == 500


@pytest.mark.parametrize(
    "sop_class", [GeneralECGWaveformStorage, AmbulatoryECGWaveformStorage, HemodynamicWaveformStorage]
)
def test_other_classes_of_ecg_are_read(write, samples, sop_class):
    path = write([group(samples, [channel(LEAD_I), channel(LEAD_II)])], sop_class=sop_class)
    np.testing.assert_allclose(read_ecg(path).signal_mv, samples * 2.5e-3)


def test_each_channel_has_its_calibration_and_unit(write, samples):
    channels = [
        channel(LEAD_I, sensitivity=0.00122, unit="mV", correction=1.5, baseline=0.25),
        channel(LEAD_II, sensitivity=1.25, unit="uV", correction=0.5, baseline=-100),
    ]
    truth = [samples[0] * 0.00122 * 1.5 + 0.25, (samples[1] * 1.25 * 0.5 - 100) * 1e-3]
    np.testing.assert_allclose(read_ecg(write([group(samples, channels)])).signal_mv, truth, rtol=1e-9)


@pytest.mark.parametrize(
    ("kind", "dtype"), [((8, "SB"), "i1"), ((8, "UB"), "u1"), ((16, "SS"), "<i2"), ((16, "US"), "<u2")]
)
def test_every_kind_of_sample_is_read(write, kind, dtype):
    limits = np.iinfo(dtype)
    values = np.linspace(limits.min + 1, limits.max - 1, 201).astype(dtype).reshape(1, -1)
    padding = np.array(limits.min, dtype=dtype).tobytes() * (2 // np.dtype(dtype).itemsize)
    values[0, 7] = limits.min
    record = read_ecg(write([group(values, [channel(LEAD_I)], kind=kind, padding=padding)]))
    truth = values * 2.5e-3
    truth[0, 7] = np.nan
    np.testing.assert_allclose(record.signal_mv, truth)


def test_other_kinds_of_sample_are_refused(write, samples):
    with pytest.raises(ECGFileError, match="8 bits as MB"):
        read_ecg(write([group(samples.astype("u1"), [channel(LEAD_I), channel(LEAD_II)], kind=(8, "MB"))]))


def test_padding_with_0x8000_is_missing(write, samples):
    samples[1, 5:9] = -32768
    record = read_ecg(write([group(samples, [channel(LEAD_I), channel(LEAD_II)], padding=b"\x00\x80")]))
    assert np.isnan(record.signal_mv[1, 5:9]).all()
    assert np.isnan(record.signal_mv).sum() == 4


def test_padding_with_zero_leaves_true_zeros(write, samples):
    samples[1, 5:9] = 0
    record = read_ecg(write([group(samples, [channel(LEAD_I), channel(LEAD_II)], padding=b"\x00\x00")]))
    np.testing.assert_array_equal(record.signal_mv[1, 5:9], 0.0)


@pytest.mark.parametrize(
    ("source", "meaning", "name"),
    [
        (("SCPECG", "5.6.3-9-61"), "Lead I", "III"),
        (("MDC", "2:64"), "", "aVF"),
        (("MDC", "MDC_ECG_LEAD_AVR"), "", "aVR"),
        (("SCPECG", "5.6.3-9-65"), "-aVR", "aVRneg"),
        (("SCPECG", "5.6.3-9-0"), "Lead I (Einthoven)", "I"),
        (("99LOCAL", "x"), "aVL, augmented voltage, left", "aVL"),
        (("99LOCAL", "x"), "Lead V2", "V2"),
        (("99LOCAL", "x"), "Limb lead II", "II"),
        (("99LOCAL", "aVF"), "an electrode", "aVF"),
        (("99LOCAL", "x"), "", "unnamed"),
    ],
)
def test_the_lead_is_told_by_its_code_before_its_text(write, samples, source, meaning, name):
    assert read_ecg(write([group(samples[:1], [channel(source, meaning)])])).lead_names == [name]


def test_a_label_tells_the_lead_where_the_source_does_not(write, samples):
    channels = [channel(("99LOCAL", "x"), "ECG"), channel(("99LOCAL", "x"), "ECG")]
    channels[0].ChannelLabel, channels[1].ChannelLabel = "I", "Lead aVR"
    assert read_ecg(write([group(samples, channels)])).lead_names == ["I", "aVR"]


def test_a_unit_of_one_is_no_voltage(write, samples):
    with pytest.raises(ECGFileError, match="states no unit of voltage but 1; give unit"):
        read_ecg(write([group(samples[:1], [channel(unit="1")])]))


@pytest.mark.parametrize(
    ("beat", "rhythm"),
    [
        ({"label": "MEDIAN BEAT"}, {"label": "RHYTHM"}),
        ({"originality": "DERIVED"}, {}),
        ({}, {}),
        ({"label": "MEDIAN BEAT", "originality": "DERIVED"}, {"label": "RHYTHM", "originality": "DERIVED"}),
    ],
    ids=["label", "originality", "length", "derived_rhythm"],
)
@pytest.mark.parametrize("beat_first", [True, False])
def test_the_rhythm_is_read_and_not_the_averaged_beat(write, samples, beat, rhythm, beat_first):
    groups = [
        group(np.full((2, 300), 7, dtype="<i2"), [channel(LEAD_I), channel(LEAD_II)], **beat),
        group(samples, [channel(LEAD_I), channel(LEAD_II)], **rhythm),
    ]
    record = read_ecg(write(groups if beat_first else groups[::-1]))
    np.testing.assert_allclose(record.signal_mv, samples * 2.5e-3)


def test_a_longer_average_is_not_preferred(write, samples):
    average = group(np.full((2, 900), 7, dtype="<i2"), [channel(LEAD_I), channel(LEAD_II)], originality="DERIVED")
    record = read_ecg(write([average, group(samples, [channel(LEAD_I), channel(LEAD_II)])]))
    np.testing.assert_allclose(record.signal_mv, samples * 2.5e-3)


def test_groups_without_leads_are_left_out(write, samples):
    pressure = ("MDC", "2:19280")
    others = group(np.ones((1, 5000), dtype="<i2"), [channel(pressure, "Pressure", unit="mm[Hg]")], rate=250)
    record = read_ecg(write([others, group(samples, [channel(LEAD_I), channel(LEAD_II)], originality="DERIVED")]))
    assert record.lead_names == ["I", "II"]
    assert record.sampling_rate == 500


def test_leads_recorded_in_turn_are_placed_in_time(write, samples):
    groups = [group(samples, [channel(LEAD_I), channel(LEAD_II)], offset=0)]
    groups += [group(samples[:1], [channel(LEAD_V1)], offset=1000)]
    groups += [group(samples[:1, :100], [channel(("SCPECG", "5.6.3-9-4"))], rate=250)]  # another rate
    record = read_ecg(write(groups))
    assert record.lead_names == ["I", "II", "V1"]
    assert record.signal_mv.shape == (3, 1000)
    np.testing.assert_allclose(record.signal_mv[:2, :500], samples * 2.5e-3)
    np.testing.assert_allclose(record.signal_mv[2, 500:], samples[0] * 2.5e-3)
    assert np.isnan(record.signal_mv[:2, 500:]).all()
    assert np.isnan(record.signal_mv[2, :500]).all()


def test_groups_far_apart_are_refused(write, samples):
    groups = [
        group(samples, [channel(LEAD_I), channel(LEAD_II)]),
        group(samples[:1], [channel(LEAD_V1)], offset=10**9),
    ]
    with pytest.raises(ECGFileError, match="groups from sample 0 to"):
        read_ecg(write(groups))


def test_uncalibrated_samples_ask_for_a_unit(write, samples):
    path = write([group(samples, [channel(LEAD_I, sensitivity=None), channel(LEAD_II, sensitivity=None)])])
    with pytest.raises(ECGFileError, match="give unit"):
        read_ecg(path)
    np.testing.assert_allclose(read_ecg(path, unit=0.005).signal_mv, samples * 0.005)


def test_a_file_without_preamble_is_read(write, samples, tmp_path):
    path = write([group(samples, [channel(LEAD_I), channel(LEAD_II)])])
    bare = tmp_path / "bare"
    bare.write_bytes(path.read_bytes()[132:])
    np.testing.assert_array_equal(read_ecg(bare).signal_mv, read_ecg(path).signal_mv)


@pytest.mark.parametrize("first", [b"", b"\x08\0\x12\0DA\x08\x0020200101", b"\x08\0\x05\0CS\x0a\0ISO_IR 100"])
def test_a_bare_dataset_is_read(write, samples, tmp_path, first):
    path = write([group(samples, [channel(LEAD_I), channel(LEAD_II)])])
    content = path.read_bytes()
    bare = tmp_path / "bare"
    bare.write_bytes(first + content[content.index(b"\x08\0\x16\0UI") :])
    np.testing.assert_array_equal(read_ecg(bare).signal_mv, read_ecg(path).signal_mv)


def test_a_file_without_waveform_is_refused_by_its_class(write):
    with pytest.raises(ECGFileError, match="holds no waveform: CT Image Storage"):
        read_ecg(write([], sop_class=CTImageStorage))


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("NumberOfWaveformSamples", 501, "declares 2 channels of 501 samples"),
        ("NumberOfWaveformSamples", 2**32 - 1, "holds at most 1000"),
        ("NumberOfWaveformSamples", 0, "must be positive"),
        ("NumberOfWaveformChannels", 3, "declares 3 channels, and defines 2"),
        ("SamplingFrequency", 0, "must be positive"),
        ("WaveformBitsAllocated", 12, "12 bits as SS"),
        ("WaveformData", b"", "holds at most 0"),
        ("ChannelDefinitionSequence", [], "defines 0"),
    ],
)
def test_contradictions_are_refused(write, samples, field, value, message):
    item = group(samples, [channel(LEAD_I), channel(LEAD_II)])
    item[field].value = value
    with pytest.raises(ECGFileError, match=message):
        read_ecg(write([item]))


def test_a_channel_that_scales_to_nothing_is_refused(write, samples):
    with pytest.raises(ECGFileError, match="0 units a count"):
        read_ecg(write([group(samples, [channel(LEAD_I), channel(LEAD_II, sensitivity=0)])]))


def test_more_samples_than_declared_are_refused(write, samples):
    item = group(samples, [channel(LEAD_I), channel(LEAD_II)])
    item.NumberOfWaveformSamples -= 3
    with pytest.raises(ECGFileError, match="samples of 2 channels, and holds 12 bytes more"):
        read_ecg(write([item]))


@pytest.mark.parametrize("num_samples", [7, 8])
def test_samples_of_8_bits_may_be_filled_up_to_an_even_length(write, num_samples):
    counts = np.arange(num_samples, dtype="u1")[None]
    item = group(counts, [channel(LEAD_I)], kind=(8, "UB"))
    assert read_ecg(write([item])).signal_mv.shape == (1, num_samples)


@pytest.mark.parametrize("field", ["ChannelSensitivity", "ChannelSensitivityCorrectionFactor"])
def test_an_empty_sensitivity_is_refused(write, samples, field):
    lead = channel(LEAD_I)
    lead[field].value = None
    with pytest.raises(ECGFileError, match=f"{field} is .*; a number was expected"):
        read_ecg(write([group(samples[:1], [lead])]))


def test_a_unit_without_a_sensitivity_is_refused(write, samples):
    lead = channel(LEAD_I)
    del lead.ChannelSensitivity
    with pytest.raises(ECGFileError, match="has a channel in uV without ChannelSensitivity"):
        read_ecg(write([group(samples[:1], [lead])]))


def test_a_million_empty_items_take_no_long_time(write, samples):
    path = write([group(samples, [channel(LEAD_I), channel(LEAD_II)])])
    content = path.read_bytes()
    begin = content.index(b"\x00\x54\x00\x01SQ")  # of the sequence of waveforms
    items = b"\xfe\xff\x00\xe0\0\0\0\0" * 1_000_000
    path.write_bytes(content[: begin + 8] + len(items).to_bytes(4, "little") + items)
    started = time.process_time()
    with pytest.raises(ECGFileError, match="more than 100000 items"):
        read_ecg(path)
    assert time.process_time() - started < 2


@pytest.mark.parametrize("kept", [132, 140, 300, 500, 900, 2000])
def test_a_file_that_was_cut_short_is_refused(write, samples, kept):
    path = write([group(samples, [channel(LEAD_I), channel(LEAD_II)])])
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ECGFileError):
        read_ecg(path)


@pytest.mark.parametrize("tag", [b"\x10\x00\x10\x00", b"\x00\x54\x00\x01", b"\x00\x54\x10\x10"])
def test_a_length_beyond_the_file_takes_no_memory(write, samples, tag):
    path = write([group(samples, [channel(LEAD_I), channel(LEAD_II)])], syntax=ImplicitVRLittleEndian)
    content = path.read_bytes()
    at = content.index(tag) + 4  # the length of the patient's name, of the sequence of waveforms, of the samples
    path.write_bytes(content[:at] + b"\xf0\xff\xff\xff" + content[at + 4 : -1000])
    tracemalloc.start()
    with pytest.raises(ECGFileError):
        read_ecg(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 50e6


def test_odd_values_print_no_warning(write):
    path = write([], sop_class=CTImageStorage)
    path.write_bytes(path.read_bytes().replace(b"5.1.4.1.1.2", b"5.1.4.1..12"))  # no valid identifier
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ECGFileError, match="holds no waveform"):
            read_ecg(path)


@pytest.mark.parametrize(
    ("field", "value"), [("ChannelTimeSkew", "0.05"), ("ChannelSampleSkew", "25"), ("ChannelOffset", "0.05")]
)
def test_a_skewed_channel_is_put_in_its_time(write, samples, field, value):
    channels = [channel(LEAD_I), channel(LEAD_II)]
    setattr(channels[1], field, value)
    record = read_ecg(write([group(samples, channels)]))
    late = np.concatenate([np.full(25, np.nan), samples[1, :-25] * 2.5e-3])
    np.testing.assert_allclose(record.signal_mv, [samples[0] * 2.5e-3, late])


@pytest.mark.parametrize("label", ["V4 (V4R)", "V4R", "Lead -aVR", "aVR (inverted)"])
def test_a_name_in_words_of_another_lead_is_no_standard_one(write, samples, label):
    record = read_ecg(write([group(samples, [channel(LEAD_I), channel(("99LOCAL", "V4"), label)])]))
    assert record.lead_names == ["I"] or record.lead_names == ["I", "V4R"]


def test_leads_of_a_group_at_another_rate_are_told(write, samples):
    groups = [group(samples, [channel(LEAD_I), channel(LEAD_II)])]
    groups.append(group(samples[:1, :250], [channel(LEAD_V1)], rate=250))
    assert read_ecg(write(groups)).left_out == {"V1": "at 250 Hz, unlike the other leads"}


def test_a_number_with_an_underscore_is_none(write, samples):
    first = channel(LEAD_I, sensitivity=1)
    path = write([group(samples, [first, channel(LEAD_II)], rate=1000)])
    path.write_bytes(path.read_bytes().replace(b"1000", b"1_00"))
    with pytest.raises(ECGFileError, match="SamplingFrequency"):
        read_ecg(path)
