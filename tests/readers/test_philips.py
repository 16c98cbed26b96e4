import struct

import numpy as np
import pytest

from modeling_enecg.io import ECGFileError, read_ecg
from modeling_enecg.leads import STANDARD_LEADS
from modeling_enecg.readers.philips_xli import decode_xli
from tests.helpers.philips_files import sierra_1_03, sierra_1_04_01, xli_chunk, xli_residuals, xli_text
from tests.helpers.xml_files import text_in_base64


@pytest.mark.parametrize("kind", ["random", "walk", "flat", "extremes"])
@pytest.mark.parametrize("num_samples", [3, 4, 5500])
def test_xli_gives_back_what_was_encoded_with_sums_that_wrap_around(kind, num_samples):
    generator = np.random.default_rng(num_samples)
    samples = {
        "random": generator.integers(-32768, 32768, num_samples, dtype=np.int16),
        "walk": generator.integers(-5, 6, num_samples).cumsum().astype(np.int16),
        "flat": np.zeros(num_samples, dtype=np.int16),
        "extremes": np.resize(np.array([-32768, 32767], dtype=np.int16), num_samples),
    }[kind]
    (decoded,) = decode_xli(xli_chunk(samples), 1, num_samples)
    np.testing.assert_array_equal(decoded, samples)


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-16"])
def test_sierra_1_04_01_limb_leads_are_rebuilt_and_its_own_attributes_win(write_xml, counts, encoding):
    mark = "" if encoding == "utf-16" else "\ufeff"
    spare = np.zeros((4, 50), dtype=np.int16)  # devices store 16 channels
    record = read_ecg(write_xml(mark + sierra_1_04_01(xli_text([*xli_residuals(counts), *spare])), encoding))
    assert record.lead_names == list(STANDARD_LEADS)
    assert record.sampling_rate == 500
    np.testing.assert_allclose(record.signal_mv, counts * 2.5e-3)


def test_rebuilt_limb_leads_wrap_around(write_xml):
    counts = np.random.default_rng(1).integers(-32768, 32768, size=(12, 50), dtype=np.int16)
    record = read_ecg(write_xml(sierra_1_03(xli_text(xli_residuals(counts)))))
    np.testing.assert_allclose(record.signal_mv, counts * 5e-3)


def test_sierra_1_03_has_the_standard_leads_without_labels(write_xml, counts):
    record = read_ecg(write_xml(sierra_1_03(xli_text(xli_residuals(counts)))))
    assert record.lead_names == list(STANDARD_LEADS)
    assert record.sampling_rate == 500
    np.testing.assert_allclose(record.signal_mv, counts * 5e-3)


def test_sierra_1_03_with_fewer_channels_than_are_known_is_refused(write_xml, counts):
    with pytest.raises(ECGFileError, match="has 5 channels without labels"):
        read_ecg(write_xml(sierra_1_03(xli_text(counts[:5]), channels=5)))


def test_sierra_leads_without_limb_leads_are_read_as_they_are(write_xml, counts):
    labels = ("V1", "V7", "?", "?")
    record = read_ecg(write_xml(sierra_1_04_01(xli_text(counts[:4]), labels=labels), "utf-16"))
    assert record.lead_names == ["V1", "V7"]
    np.testing.assert_allclose(record.signal_mv, counts[:2] * 2.5e-3)


@pytest.mark.parametrize("encoding", ["Plain", "Base64", "Hex"])
def test_sierra_waveforms_without_compression_are_read_as_they_are(write_xml, counts, encoding):
    data = counts.astype("<i2").tobytes()
    text = {"Plain": " \n".join(map(str, counts.ravel())), "Base64": text_in_base64(data), "Hex": data.hex()}[encoding]
    texts = [sierra_1_03(text, flag="False", encoding=encoding), sierra_1_04_01(text, "", encoding)]
    for text, microvolts, code in zip(texts, (5, 2.5), ("utf-8", "utf-16"), strict=True):
        np.testing.assert_allclose(read_ecg(write_xml(text, code)).signal_mv, counts * microvolts / 1000)


@pytest.mark.parametrize(
    ("duration", "message"),
    [
        (98, "has 600 samples, no whole number of leads of 49"),
        (102, "12 channels of 51 samples, but holds at most 600"),
    ],
)
def test_sierra_waveforms_without_compression_must_fit_their_duration(write_xml, counts, duration, message):
    with pytest.raises(ECGFileError, match=message):
        read_ecg(write_xml(sierra_1_04_01(text_in_base64(counts.tobytes()), "", duration=duration), "utf-16"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"duration": 98}, "not the 49 samples declared"),
        ({"duration": 102}, "not the 51 samples declared"),
        ({"duration": 10**9}, "at most 3600 are read"),
        ({"duration": 3_000_000}, "declares 12 channels of 1500000 samples, but holds at most"),
        ({"duration": "inf"}, "durationperchannel is 'inf'"),
        ({"labels": ("I", "II", "III")}, "all limb leads were expected"),
        ({"labels": ("I", "II", "III", "-aVR", "aVL", "aVF")}, "inverted lead -aVR"),
        ({"labels": [f"V{number}" for number in range(13)]}, "12 leads in XLI, of 13 declared"),
        ({"compression": 'compression="Huffman"'}, "compressed by Huffman"),
        ({"encoding": "Morse"}, "dataencoding is 'morse'"),
    ],
)
def test_a_sierra_record_that_contradicts_itself_is_refused(write_xml, counts, change, message):
    with pytest.raises(ECGFileError, match=message):
        read_ecg(write_xml(sierra_1_04_01(xli_text(xli_residuals(counts)), **change), "utf-16"))


def test_xli_cut_short_or_with_an_unknown_code_is_refused(counts):
    chunk = xli_chunk(counts[0])
    for damaged in (chunk[:7], chunk[:20], struct.pack("<IHh", 2, 1, 0) + b"\xc0\x00"):
        with pytest.raises(ECGFileError, match=r"cut short|damaged"):
            decode_xli(damaged, 1, 50)
