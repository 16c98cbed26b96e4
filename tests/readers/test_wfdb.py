import shutil
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import wfdb

from modeling_enecg.io import ECGFileError, read_ecg
from modeling_enecg.reading_wfdb import find_header
from tests.helpers.expected_formats import assert_samples_read_as_expected

WFDB_FORMATS = ["16", "24", "32", "80", "212", "508", "516", "524"]  # those that the package writes


@pytest.fixture
def write(tmp_path):
    """A function that writes a record from its header's lines and int16 samples, `(num_frames, width)` a file."""

    def write(*lines, name="record", **files):
        (tmp_path / f"{name}.hea").write_text("\n".join(lines) + "\n", encoding="utf-8")
        for file, samples in files.items():
            (tmp_path / f"{file}.dat").write_bytes(np.asarray(samples, "<i2").tobytes())
        return tmp_path / name

    return write


def ramp(width=1, num_frames=20):
    return np.arange(num_frames * width).reshape(num_frames, width) + 1


def test_sample_records_read_as_expected(formats_dir):
    assert_samples_read_as_expected(formats_dir, "wfdb/")


@pytest.mark.parametrize("num_samples", range(1, 8))
@pytest.mark.parametrize("fmt", WFDB_FORMATS)
def test_every_format_reads_as_wfdb_reads_it(tmp_path, fmt, num_samples):
    bits = {"80": 8, "212": 12, "508": 8, "524": 24}.get(fmt, int(fmt) % 500)
    counts = np.random.default_rng(num_samples).integers(-(1 << bits - 1) + 1, 1 << bits - 1, (num_samples, 3))
    wfdb.wrsamp(
        *("record", 100, ["mV"] * 3, ["I", "II", "V1"]),
        d_signal=counts,
        fmt=[fmt] * 3,
        adc_gain=[100.0, 200.0, 300.5],
        baseline=[0, 5, -7],
        write_dir=str(tmp_path),
    )
    truth = wfdb.rdrecord(str(tmp_path / "record")).p_signal.T
    np.testing.assert_allclose(read_ecg(tmp_path / "record").signal_mv, truth, rtol=1e-12)


@pytest.mark.parametrize(
    ("fmt", "stored", "counts"),
    [
        ("61", b"\x00\x01\xff\xfe", [1, -2]),
        ("160", b"\x01\x80\xfe\x7f", [1, -2]),
        ("80", b"\x81\x7e", [1, -2]),
        ("8", b"\x01\xfd", [11, 8]),  # differences from the initial value
        ("212", b"\x01\xf0\xfe\x03\x00", [1, -2, 3]),  # the last pair is cut off
        ("310", b"\x02\xf8\xfc\xff\x06\x00", [1, -2, -1, 3]),
        ("311", b"\x01\xf8\xff\x3f\x03\x00", [1, -2, -1, 3]),
        ("311", b"\x01\xf8\xff\x3f\x03\x14\x00", [1, -2, -1, 3, 5]),
        ("24", b"\x01\x00\x00\xfe\xff\xff", [1, -2]),
        ("32", b"\x01\x00\x00\x00\xfe\xff\xff\xff", [1, -2]),
    ],
)
def test_stored_bytes_mean_what_the_format_says(tmp_path, fmt, stored, counts):
    (tmp_path / "record.dat").write_bytes(stored)
    (tmp_path / "record.hea").write_text(f"record 1 100 {len(counts)}\nrecord.dat {fmt} 1 0 0 10 {sum(counts)} 0 I\n")
    np.testing.assert_array_equal(read_ecg(tmp_path / "record").signal_mv, [counts])


@pytest.mark.parametrize(("fmt", "lowest"), [("212", -2048), ("16", -32768), ("80", -128), ("24", -(1 << 23))])
def test_the_lowest_count_marks_a_missing_sample(tmp_path, fmt, lowest):
    counts = np.array([[1], [lowest], [3]])
    wfdb.wrsamp(
        *("record", 100, ["mV"], ["I"]),
        d_signal=counts,
        fmt=[fmt],
        adc_gain=[1.0],
        baseline=[0],
        write_dir=str(tmp_path),
    )
    np.testing.assert_array_equal(read_ecg(tmp_path / "record").signal_mv, [[1, np.nan, 3]])


@pytest.mark.parametrize(
    ("fields", "gain", "baseline", "mv_per_unit"),
    [
        ("", 200, 0, 1),
        ("0", 200, 0, 1),
        ("0 11 1024", 200, 1024, 1),
        ("100 11 1024", 100, 1024, 1),
        ("100(5)/uV 11 1024", 100, 5, 1e-3),
        ("100/µV", 100, 0, 1e-3),
        ("1.5E+03/mV", 1500, 0, 1),
    ],
)
def test_gain_baseline_and_unit_have_the_defaults_of_the_standard(write, fields, gain, baseline, mv_per_unit):
    path = write("record 1 100 20", f"record.dat 16 {fields}", record=ramp())
    expected = (ramp().T - baseline) / gain * mv_per_unit
    np.testing.assert_allclose(read_ecg(path, lead_names=["I"]).signal_mv, expected, rtol=1e-12)


@pytest.mark.parametrize(("rate", "hz"), [("62.4725/999.56", 62.4725), ("128/360(4)", 128.0), ("", 250.0)])
def test_the_frame_rate_comes_before_the_counters(write, rate, hz):
    path = write(f"record 1 {rate} {20 if rate else ''}", "record.dat 16 200 16 0 0 0 0 I", record=ramp())
    assert read_ecg(path).sampling_rate == hz


def test_skew_moves_a_signal_earlier_and_leaves_samples_missing_at_its_end(write):
    path = write("record 2 100 20", "record.dat 16 1 0 0 0 0 0 I", "record.dat 16:3 1 0 0 0 0 0 II", record=ramp(2))
    moved = np.append(ramp(2)[3:, 1], [np.nan] * 3)
    np.testing.assert_array_equal(read_ecg(path).signal_mv, [ramp(2)[:, 0], moved])


def test_a_byte_offset_and_several_files_are_followed(write, tmp_path):
    path = write("record 2 100 20", "a.dat 16+24 1 0 0 0 0 0 I", "b.dat 16 1 0 0 0 0 0 II", a=ramp(), b=-ramp())
    (tmp_path / "a.dat").write_bytes(bytes(24) + (tmp_path / "a.dat").read_bytes())
    np.testing.assert_array_equal(read_ecg(path).signal_mv, [ramp()[:, 0], -ramp()[:, 0]])


def test_leads_keep_their_samples_where_all_have_as_many_a_frame(write):
    path = write("record 2 100 20", "record.dat 16x4 1 0 0 0 0 0 I", "record.dat 16 1 0 0 0 0 0 RESP", record=ramp(5))
    record = read_ecg(path)
    assert (record.sampling_rate, record.lead_names) == (400, ["I"])
    np.testing.assert_array_equal(record.signal_mv, ramp(5)[:, :4].reshape(1, -1))


def test_leads_of_different_rates_are_averaged_and_a_frame_with_a_missing_sample_is_missing(write):
    counts = ramp(5)
    counts[3, 1] = -32768
    path = write("record 2 100 20", "record.dat 16x4 1 0 0 0 0 0 I", "record.dat 16 1 0 0 0 0 0 II", record=counts)
    record = read_ecg(path)
    assert record.sampling_rate == 100
    means = counts[:, :4].mean(axis=1)
    means[3] = np.nan
    np.testing.assert_array_equal(record.signal_mv, [means, counts[:, 4]])


def test_a_signal_that_was_not_recorded_is_left_out(write):
    path = write("record 2 100 20", "~ 0 1 0 0 0 0 0 I", "record.dat 16 1 0 0 0 0 0 II", record=ramp())
    assert read_ecg(path).lead_names == ["II"]


@pytest.fixture
def segments(write):
    """Three segments: I and II; II and I with another gain; II alone."""
    write("a 2 100 20", "a.dat 16 1 0 0 0 0 0 I", "a.dat 16 1 0 0 0 0 0 II", name="a", a=ramp(2))
    write("b 2 100 20", "b.dat 16 1 0 0 0 0 0 II", "b.dat 16 10 0 0 0 0 0 I", name="b", b=ramp(2))
    write("c 1 100 20", "c.dat 16 1 0 0 0 0 0 II", name="c", c=ramp())
    write("layout 2 100 0", "~ 0 1 0 0 0 0 0 I", "~ 0 1 0 0 0 0 0 II", name="layout")
    return write


def test_a_variable_layout_joins_by_name_with_gaps_and_lacking_leads_missing(segments):
    path = segments("record/5 2 100 70", "layout 0", "a 20", "~ 10", "b 20", "c 20")
    gap, lacking = [np.nan] * 10, [np.nan] * 20
    lead_i = np.concatenate([ramp(2)[:, 0], gap, ramp(2)[:, 1] / 10, lacking])
    lead_ii = np.concatenate([ramp(2)[:, 1], gap, ramp(2)[:, 0], ramp()[:, 0]])
    record = read_ecg(path)
    assert record.lead_names == ["I", "II"]
    np.testing.assert_array_equal(record.signal_mv, [lead_i, lead_ii])


def test_a_fixed_layout_joins_segments_and_takes_no_more_of_one_than_said(segments):
    path = segments("record/2 2 100 25", "~ 5", "a 20")
    np.testing.assert_array_equal(read_ecg(path).signal_mv[:, 5:], ramp(2).T)
    path = segments("record/1 2 100 15", "a 15")
    np.testing.assert_array_equal(read_ecg(path).signal_mv, ramp(2)[:15].T)


def test_a_segment_may_come_again_and_one_without_samples_is_a_gap(segments):
    segments("null 2 100 5", "* 0 0 0 0 0 0", "* 0 0 0 0 0 0", name="null")
    record = read_ecg(segments("record/3 2 100 45", "a 20", "null 5", "a 20"))
    gap = np.full((2, 5), np.nan)
    np.testing.assert_array_equal(record.signal_mv, np.concatenate([ramp(2).T, gap, ramp(2).T], axis=1))


def test_a_flat_signal_is_compressed_to_next_to_nothing(tmp_path):
    soundfile = pytest.importorskip("soundfile")
    soundfile.write(tmp_path / "flat.dat", np.full((200_000, 3), 25 << 8, "<i2"), 250, format="FLAC")
    lines = "".join(f"flat.dat 516 200 16 0 0 0 0 V{number}\n" for number in (1, 2, 3))
    (tmp_path / "flat.hea").write_text(f"flat 3 250 200000\n{lines}")
    assert (read_ecg(tmp_path / "flat").signal_mv == 32.0).all()


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["record/2 2 100 40", "a 20", "b 20"], "segment b has the signals II, I, not I, II"),
        (["record/11 2 100 220", *["a 20"] * 11], "lists one more than 10 times"),
        (["record/2 2 100 30", "layout 0", "~ 30"], "the record has no samples"),
        (["record/1 2 100 20", "record 20"], "expected 20, 100 Hz and none"),
        (["record/1 2 100 30", "a 30"], "segment a has 20 samples"),
        (["record/1 2 200 20", "a 20"], "segment a has 20 samples at 100 Hz"),
        (["record/2 2 100 20", "a 20"], "declares 2 segments, but has 1 lines"),
        (["record/1 2 100 21", "a 20"], "has segments of 20 samples, and declares 21"),
        (["record/2 2 100 1000020", "a 20", "~ 1000000"], "nearly all gaps"),
        (["record/2 2 100 90000000020", "a 20", "~ 90000000000"], "at most 336 hours"),
        (["record/1 2 100 20", "~ 20"], "no segments but gaps"),
        (["record/1 2 100 20", "../a 20"], r"names the file '\.\./a'"),
        (["record/1 2 100 20", "d 20"], r"d\.hea cannot be read"),
    ],
)
def test_segments_that_contradict_the_record_are_refused(segments, lines, message):
    with pytest.raises(ECGFileError, match=message):
        read_ecg(segments(*lines))


def test_many_segments_of_the_same_samples_are_refused(write, segments):
    names = [f"s{number}" for number in range(11)]
    for name in names:
        write(f"{name} 1 100 20", "c.dat 16 1 0 0 0 0 0 II", name=name)
    with pytest.raises(ECGFileError, match="more than 10 segments of the same samples"):
        read_ecg(segments("record/11 1 100 220", *(f"{name} 20" for name in names)))


@pytest.mark.parametrize("name", ["../record.dat", "/etc/passwd", "..\\record.dat", "C:record.dat"])
def test_a_signal_file_outside_the_headers_folder_is_refused(write, name):
    path = write("record 1 100 20", f"{name} 16 1 0 0 0 0 0 I", record=ramp())
    with pytest.raises(ECGFileError, match="only files in the header's own folder"):
        read_ecg(path)


@pytest.mark.parametrize(
    ("record_line", "signal_line", "message"),
    [
        ("record 1 100 21", "record.dat 16 1 0 0 0 0 0 I", "holds at most 20 samples"),
        ("record 1 100 9999999999999", "record.dat 16 1 0 0 0 0 0 I", "holds at most 20 samples"),
        ("record 1 100 20", "record.dat 16x999999999 1 0 0 0 0 0 I", "holds at most 20 samples"),
        ("record 1 100 20", "record.dat 16+99999999999 1 0 0 0 0 0 I", "holds at most 0 samples"),
        ("record 1 100 -20", "record.dat 16 1 0 0 0 0 0 I", "must be positive"),
        ("record 1 nan 20", "record.dat 16 1 0 0 0 0 0 I", "rate is 'nan'; a number was expected"),
        ("record 1 inf 20", "record.dat 16 1 0 0 0 0 0 I", "rate is 'inf'; a number was expected"),
        ("record 1 1_00 20", "record.dat 16 1 0 0 0 0 0 I", "rate is '1_00'; a number was expected"),
        ("record 1 100 2_0", "record.dat 16 1 0 0 0 0 0 I", "number of samples is '2_0'; a whole number"),
        ("record 1 100 ٢٠", "record.dat 16 1 0 0 0 0 0 I", "number of samples is '٢٠'; a whole number"),
        ("record 99999999 100 20", "record.dat 16 1 0 0 0 0 0 I", "declares 99999999 signals"),
        ("record 2 100 20", "record.dat 16 1 0 0 0 0 0 I", "declares 2 signals, but has 1 lines"),
        ("record 1 100 20", "record.dat 17 1 0 0 0 0 0 I", "one of the formats"),
        ("record 1 100 20", "record.dat 16x0 1 0 0 0 0 0 I", "no samples in a frame"),
        ("record 1 100 20", "record.dat 16 nan 0 0 0 0 0 I", "gain is 'nan'; a number was expected"),
        ("record 1 100 20", "record.dat 16 2x0 0 0 0 0 0 I", "gain is '2x0'; a number was expected"),
        ("record 1 100 20", "record.dat 16 1 0 0 0 x 0 I", "checksum is 'x'; a whole number was expected"),
        ("record 1 100 20", "absent.dat 16 1 0 0 0 0 0 I", "absent.dat, which is not there"),
        ("record 1 100 20", "record.dat 516 1 0 0 0 0 0 I", "soundfile"),
    ],
)
def test_a_header_that_cannot_be_true_is_refused(write, record_line, signal_line, message):
    with pytest.raises(ECGFileError, match=message):
        read_ecg(write(record_line, signal_line, record=ramp()))


def test_a_wrong_checksum_is_refused(write):
    total = int(ramp().sum())
    assert read_ecg(write("record 1 100 20", f"record.dat 16 1 0 0 0 {total} 0 I", record=ramp()))
    assert read_ecg(write("record 1 100 20", f"record.dat 16 1 0 0 0 {total - 65536} 0 I", record=ramp()))
    with pytest.raises(ECGFileError, match=f"has the checksum {total}; its header says {total + 1}"):
        read_ecg(write("record 1 100 20", f"record.dat 16 1 0 0 0 {total + 1} 0 I", record=ramp()))
    with pytest.raises(ECGFileError, match="has the checksum 120; its header says 210"):
        read_ecg(write("record 1 100 15", f"record.dat 16 1 0 0 0 {total} 0 I", record=ramp()))


def test_a_part_of_a_longer_file_is_read_where_its_checksum_tells_it(write, caplog):
    total = int(ramp(num_frames=15).sum())
    path = write("record 1 100 15", f"record.dat 16 1 0 0 0 {total} 0 I", record=ramp())
    np.testing.assert_array_equal(read_ecg(path).signal_mv, ramp(num_frames=15).T)
    assert "record.dat goes on for 10 bytes behind the 15 samples" in caplog.text
    with pytest.raises(
        ECGFileError, match=r"15 samples a signal in record.dat, without a checksum, and holds 10 bytes"
    ):
        read_ecg(write("record 1 100 15", "record.dat 16 1 0 0 0 0 0 I", record=ramp()))


@pytest.mark.parametrize("checksum", [0, int(ramp().sum())])
def test_a_file_that_a_transfer_in_text_mode_made_longer_is_refused(write, checksum):
    path = write("record 1 100 20", f"record.dat 16 1 0 0 0 {checksum} 0 I", record=ramp())
    file = path.with_suffix(".dat")
    file.write_bytes(file.read_bytes().replace(b"\n", b"\r\n"))  # of which there is one
    with pytest.raises(ECGFileError, match="has the checksum" if checksum else "holds 1 bytes more"):
        read_ecg(path)


@pytest.mark.parametrize(("fmt", "num_bytes"), [("212", 12), ("310", 12), ("311", 12)])
def test_a_last_group_may_be_filled_up(tmp_path, fmt, num_bytes):
    (tmp_path / "record.hea").write_text(f"record 1 100 7\nrecord.dat {fmt} 1 0 0 0 0 0 I\n")
    (tmp_path / "record.dat").write_bytes(bytes(num_bytes))
    assert read_ecg(tmp_path / "record").signal_mv.shape == (1, 7)
    (tmp_path / "record.dat").write_bytes(bytes(num_bytes + 1))
    with pytest.raises(ECGFileError, match="holds 1 bytes more"):
        read_ecg(tmp_path / "record")


def test_a_flac_file_longer_than_its_header_says_is_refused(tmp_path):
    soundfile = pytest.importorskip("soundfile")
    soundfile.write(tmp_path / "record.dat", np.arange(500, dtype="<i2"), 250, format="FLAC")
    (tmp_path / "record.hea").write_text("record 1 250 400\nrecord.dat 516 200 16 0 0 0 0 I\n")
    with pytest.raises(ECGFileError, match=r"declares 400 samples a signal in record.dat, and holds 200 bytes more"):
        read_ecg(tmp_path / "record")


def test_a_record_without_its_length_is_as_long_as_its_file(write):
    path = write("record 2 100", "record.dat 16 1 0 0 0 0 0 I", "record.dat 16 1 0 0 0 0 0 II", record=ramp(2))
    np.testing.assert_array_equal(read_ecg(path).signal_mv, ramp(2).T)


def test_names_that_the_header_lacks_are_asked_for(write):
    path = write("record 1 100 20", "record.dat 16", record=ramp())
    with pytest.raises(ECGFileError, match="give lead_names"):
        read_ecg(path)


def test_a_record_is_found_by_its_name_or_its_files(tmp_path):
    header = tmp_path / "patient.7.hea"
    header.write_text("patient.7 1 100 20\npatient.d0 16\n")
    (tmp_path / "other.hea").write_text("other 1 100 20\nother.d0 16\n")
    for name in ("patient.7", "patient.7.hea", "patient.7.dat"):
        assert find_header(tmp_path / name) == header
    for name in ("other", "other.d0", "other.dat"):
        assert find_header(tmp_path / name) == tmp_path / "other.hea"
    for name in ("other.7", "other.csv", "patient", "patient.dat"):
        assert find_header(tmp_path / name) is None
    assert find_header(Path("/")) is None


def test_a_table_beside_a_record_of_its_name_is_read_itself(write, tmp_path):
    write("record 1 100 20", "record.dat 16 1 0 0 0 0 0 I", record=ramp())
    (tmp_path / "record.csv").write_text("V1 (mV)\n5\n6\n7\n")
    np.testing.assert_array_equal(read_ecg(tmp_path / "record.csv", sampling_rate=100).signal_mv, [[5, 6, 7]])


def test_every_cut_of_a_header_is_read_or_refused(write, tmp_path):
    lines = ("record 2 100 20", "record.dat 16:1+0 200(0)/mV 16 0 1 0 0 I", "record.dat 16 200/mV 16 0 2 0 0 II")
    path = write(*lines, record=ramp(2))
    content = path.with_suffix(".hea").read_bytes()
    for end in range(len(content)):
        path.with_suffix(".hea").write_bytes(content[:end])
        with suppress(ECGFileError):
            assert read_ecg(path).signal_mv.shape[1] == 20


def test_a_flac_file_that_is_cut_short_is_refused(tmp_path):
    counts = np.random.default_rng(0).integers(-900, 900, (5000, 1))
    options = {"fmt": ["516"], "adc_gain": [1.0], "baseline": [0], "write_dir": str(tmp_path)}
    wfdb.wrsamp("record", 100, ["mV"], ["I"], d_signal=counts, **options)
    file = tmp_path / "record.dat"
    file.write_bytes(file.read_bytes()[:3000])
    with pytest.raises(ECGFileError):
        read_ecg(tmp_path / "record")


def test_a_folder_can_be_moved_with_its_record(write, tmp_path):
    write("record 1 100 20", "record.dat 16 1 0 0 0 0 0 I", record=ramp())
    copy = Path(shutil.copytree(tmp_path, tmp_path / "copy ü"))
    np.testing.assert_array_equal(read_ecg(copy / "record").signal_mv, ramp().T)


@pytest.mark.parametrize("change", [{"format": "5"}, {"val": np.ones((2, 20))}, {"val": np.ones((3, 20), "<i2")}])
def test_a_matrix_that_was_saved_again_is_refused_where_no_checksum_tells(write, tmp_path, change):
    content = {"val": ramp(2).T.astype("<i2"), "format": "4"} | change
    lines = ("record.mat 16+24 1 0 0 0 0 0 I", "record.mat 16+24 1 0 0 0 0 0 II")
    path = write("record 2 100 20", *lines)
    scipy.io.savemat(tmp_path / "record.mat", {"val": ramp(2).T.astype("<i2")}, format="4")
    np.testing.assert_array_equal(read_ecg(path).signal_mv, ramp(2).T)
    scipy.io.savemat(tmp_path / "record.mat", {"val": content["val"]}, format=content["format"])
    with pytest.raises(ECGFileError, match=r"record\.mat is no MATLAB 4 matrix of 2 rows in format 16"):
        read_ecg(path)


def test_leads_of_different_rates_come_at_the_highest_rate_that_divides_both(write):
    lines = ("record.dat 16x256 1 0 0 0 0 0 I", "record.dat 16x128 1 0 0 0 0 0 II")
    record = read_ecg(write("record 2 0.9765625 3", *lines, record=ramp(384, 3)))
    assert record.sampling_rate == 125
    assert record.signal_mv.shape == (2, 384)
    np.testing.assert_array_equal(record.signal_mv[0], ramp(384, 3)[:, :256].reshape(-1, 2).mean(axis=1))


def test_signals_at_another_rate_than_the_leads_are_told(write):
    path = write("record 2 100 20", "record.dat 16x4 1 0 0 0 0 0 I", "record.dat 16 1 0 0 0 0 0 RESP", record=ramp(5))
    assert read_ecg(path).left_out == {"RESP": "at 100 Hz, unlike the leads"}


def test_names_in_capitals_are_found_or_said(write, tmp_path):
    path = write("record 1 100 20", "record.dat 16 1 0 0 0 0 0 I", record=ramp())
    (tmp_path / "record.hea").rename(tmp_path / "record.HEA")
    for name in (path, tmp_path / "record.HEA", tmp_path / "record.dat"):
        assert read_ecg(name).signal_mv.shape == (1, 20)
    (tmp_path / "record.dat").rename(tmp_path / "RECORD.DAT")
    with pytest.raises(ECGFileError, match=r"record\.dat, which is not there; RECORD\.DAT is: rename one of them"):
        read_ecg(path)


def test_a_header_of_many_segments_is_refused_at_once(write):
    with pytest.raises(ECGFileError, match=r"s0\.hea cannot be read"):
        read_ecg(write("record/100000 1 100 2000000", *(f"s{number} 20" for number in range(100_000))))
