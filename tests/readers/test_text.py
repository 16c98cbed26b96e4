import time
from contextlib import suppress

import numpy as np
import pytest

from modeling_enecg.io import ECGFileError, read_ecg
from modeling_enecg.leads import STANDARD_LEADS
from tests.helpers.expected_formats import assert_samples_read_as_expected, cases_of

STATED = {"sampling_rate": 500, "unit": "mV"}


@pytest.fixture
def write(tmp_path):
    def write(text, encoding="utf-8", name="ecg.csv"):
        path = tmp_path / name
        path.write_bytes(text.encode(encoding))
        return path

    return write


@pytest.fixture
def signal():
    """Two leads in mV, with three decimals."""
    return np.random.default_rng(0).normal(size=(2, 200)).round(3)


def table(signal, separator=",", decimal=".", header="I (mV),II (mV)"):
    rows = [separator.join(f"{value:.3f}".replace(".", decimal) for value in sample) for sample in signal.T]
    return "\n".join([header.replace(",", separator), *rows]) + "\n"


def test_sample_files_read_as_expected(formats_dir):
    assert_samples_read_as_expected(formats_dir, "csv_txt/")


def test_counts_without_a_unit_are_never_called_millivolts(formats_dir):
    case = cases_of(formats_dir, "csv_txt/biosppy")["csv_txt/biosppy_ecg.txt"]
    path = formats_dir / "csv_txt/biosppy_ecg.txt"
    with pytest.raises(ECGFileError, match="states no unit of voltage"):
        read_ecg(path)
    record = read_ecg(path, unit=0.001)
    assert (record.sampling_rate, record.lead_names) == (case["sampling_rate_hz"], case["leads"])
    np.testing.assert_allclose(record.signal_mv[0, :10] * 1000, case["raw_first10"])


@pytest.mark.parametrize(("separator", "decimal"), [(",", "."), (";", "."), (";", ","), ("\t", "."), ("\t", ",")])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1"])
def test_every_separator_decimal_sign_and_encoding_is_told(write, signal, separator, decimal, encoding):
    text = table(signal * 1000, separator, decimal, header="I (µV),II (µV)").replace("\n", "\r\n")
    record = read_ecg(write(text, encoding), sampling_rate=500)
    np.testing.assert_allclose(record.signal_mv, signal, atol=1e-9)
    assert record.lead_names == ["I", "II"]


@pytest.mark.parametrize(("separator", "decimal"), [(" ", "."), (" ", ","), ("   ", "."), (", ", ".")])
def test_blanks_separate_cells(write, signal, separator, decimal):
    record = read_ecg(write(table(signal, separator, decimal, header="I,II")), **STATED)
    np.testing.assert_allclose(record.signal_mv, signal)
    assert record.lead_names == ["I", "II"]


@pytest.mark.parametrize("decimal", [".", ","])
def test_a_decimal_comma_in_one_column_is_no_separator(write, signal, decimal):
    record = read_ecg(write(table(signal[:1], decimal=decimal, header="ECG")), **STATED)
    np.testing.assert_allclose(record.signal_mv, signal[:1])


def test_two_columns_of_whole_numbers_are_two_columns(write, signal):
    counts = (signal * 1000).astype(int)
    text = "\n".join(f"{one},{two}" for one, two in counts.T)
    record = read_ecg(write(text), sampling_rate=500, unit="uV", lead_names=["I", "II"])
    np.testing.assert_allclose(record.signal_mv, counts / 1000)


@pytest.mark.parametrize(
    "header", ["I (mV),II (mV)", "I[mV],II[mV]", "I_mV,II_mV", "I,II\nmV,mV", '"I (mV)","II (mV)"']
)
def test_units_stand_with_the_names_or_below_them(write, signal, header):
    record = read_ecg(write(table(signal, header=header)), sampling_rate=500)
    assert record.lead_names == ["I", "II"]
    np.testing.assert_allclose(record.signal_mv, signal)


@pytest.mark.parametrize(
    ("name", "step"),
    [("time (s)", "0.002"), ("time [ms]", "2"), ("Time_ms", "2"), ("sec", "0.002"), ("ms", "2"), ("t (us)", "2000")],
)
def test_a_regular_column_of_times_in_a_stated_unit_tells_the_rate(write, signal, name, step):
    rows = [f"{index * float(step):.3f},{one},{two}" for index, (one, two) in enumerate(signal.T)]
    record = read_ecg(write("\n".join([f"{name},I,II", *rows])), unit="mV")
    assert (record.sampling_rate, record.lead_names) == (500, ["I", "II"])
    np.testing.assert_allclose(record.signal_mv, signal)


@pytest.mark.parametrize("header", ["time,I,II", "index,I,II", "sample #,I,II", ",I,II"])
def test_times_without_a_unit_and_indices_are_left_out_and_the_rate_is_asked_for(write, signal, header):
    rows = [f"{index},{one},{two}" for index, (one, two) in enumerate(signal.T)]
    path = write("\n".join([header, *rows]))
    with pytest.raises(ECGFileError, match="give sampling_rate"):
        read_ecg(path, unit="mV")
    np.testing.assert_allclose(read_ecg(path, **STATED).signal_mv, signal)


def test_an_unnamed_first_column_that_counts_is_no_lead(write, signal):
    path = write("\n".join(f"{index},{one},{two}" for index, (one, two) in enumerate(signal.T)))
    np.testing.assert_allclose(read_ecg(path, **STATED, lead_names=["I", "II"]).signal_mv, signal)


def test_a_gap_in_the_times_is_refused(write, signal):
    rows = [f"{index + 5 * (index > 100)},{one},{two}" for index, (one, two) in enumerate(signal.T)]
    with pytest.raises(ECGFileError, match=r"irregular times: 0\.106 s follows 0\.1 s"):
        read_ecg(write("\n".join(["time (ms),I,II", *rows])), unit="mV")


def test_times_rounded_to_milliseconds_tell_the_rate_they_were_rounded_from(write, signal):
    rows = [f"'0:{index / 360:06.3f}',{one},{two}" for index, (one, two) in enumerate(signal.T)]
    text = "\n".join(["'Elapsed time','MLII','V5'", "'hh:mm:ss.mmm','mV','mV'", *rows])  # PhysioBank ATM
    record = read_ecg(write(text))
    assert (record.sampling_rate, record.lead_names) == (360, ["MLII", "V5"])
    np.testing.assert_allclose(record.signal_mv, signal)


def test_clock_times_go_on_after_midnight(write, signal):
    times = [np.datetime64("2020-01-01T23:59:59.900") + np.timedelta64(2 * index, "ms") for index in range(200)]
    rows = [f"{time},{one},{two}" for time, (one, two) in zip(times, signal.T, strict=True)]
    record = read_ecg(write("\n".join(["timestamp,I (mV),II (mV)", *rows])))
    assert record.sampling_rate == 500


APPLE = {
    "en": 'Name,\nDate of Birth,\nDevice,"Watch6,7"\nSample Rate,512 hertz\n\n\nLead,Lead I\nUnit,µV\n\n\n',
    "de": "Name;\nGerät;Watch\nAbtastrate;512 Hertz\n\n\nAbleitung;Ableitung I\nEinheit;µV\n\n",
    "fr": "Nom,\nFréquence d’échantillonnage,512 hertz\n\nDérivation,Dérivation I\nUnité,µV\n\n",
    "es": "Nombre;\nFrecuencia de muestreo;512 hercios\n\nDerivación;Derivación I\nUnidad;µV\n\n",
    "it": "Nome;\nFrequenza di campionamento;512 hertz\n\nDerivazione;Derivazione I\nUnità;µV\n\n",
    "nl": "Naam;\nSamplefrequentie;512 hertz\n\nAfleiding;Afleiding I\nEenheid;µV\n\n",
}


@pytest.mark.parametrize("language", list(APPLE))
@pytest.mark.parametrize("decimal", [".", ","])
def test_exports_of_a_watch_read_in_several_languages(write, language, decimal):
    signal = np.random.default_rng(0).normal(size=(1, 200)).round(6)
    rows = [f"{value * 1000:.3f}".replace(".", decimal) for value in signal[0]]
    record = read_ecg(write(APPLE[language] + "\n".join(rows)))
    assert (record.sampling_rate, record.lead_names) == (512, ["I"])
    np.testing.assert_allclose(record.signal_mv, signal, atol=1e-9)


@pytest.mark.parametrize(
    ("line", "hz"),
    [
        ("# Sampling Rate (Hz):= 1000.00", 1000),
        ("Sampling frequency: 0.5 kHz", 500),
        ("fs = 250", 250),
        ("SR=250", 250),
        ("Samples per second: 250", 250),
        ("Sampling Interval: 2 ms", 500),
        ("Interval=\t0.001 s", 1000),
    ],
)
def test_the_rate_is_read_from_the_preamble(write, signal, line, hz):
    path = write(f"Export of a recorder\n{line}\n" + table(signal))
    assert read_ecg(path).sampling_rate == hz
    with pytest.raises(ECGFileError, match=f"states a sampling_rate of {hz}"):
        read_ecg(path, sampling_rate=hz + 100)


def test_contradicting_rates_are_refused(write, signal):
    rows = [f"{2 * index},{one},{two}" for index, (one, two) in enumerate(signal.T)]
    text = "\n".join(["time (ms),I (mV),II (mV)", *rows])
    with pytest.raises(ECGFileError, match="states a sampling rate of 250 Hz; its column of times has 500 Hz"):
        read_ecg(write("Sample Rate: 250\n" + text))
    with pytest.raises(ECGFileError, match="several sampling rates: 250, 500"):
        read_ecg(write("Sample Rate: 250\nfs: 500\n" + text))


@pytest.mark.parametrize("empty", ["", "nan", "NaN", " ", "N/A", "null", '""'])
def test_empty_cells_are_missing_samples(write, signal, empty):
    lines = table(signal).split("\n")
    lines[8] = f"{empty},{signal[1, 7]}"
    lines[9] = f"{signal[0, 8]},{empty}"
    signal[0, 7] = signal[1, 8] = np.nan
    np.testing.assert_allclose(read_ecg(write("\n".join(lines)), sampling_rate=500).signal_mv, signal)


@pytest.mark.parametrize("header", ["I (mV);II (mV);", "I (mV);II (mV)", ""])
def test_a_separator_at_every_end_adds_no_lead(write, signal, header):
    text = "\n".join([header, *(f"{one};{two};" for one, two in signal.T)])
    record = read_ecg(write(text), **STATED, lead_names=["I", "II"])
    np.testing.assert_allclose(record.signal_mv, signal)


@pytest.mark.parametrize("line", ["0.1,x", "0.1", "0.1,0.2,0.3", "0.1 0.2", "0.1,1_0", "0.1,0x1", "end of file"])
@pytest.mark.parametrize("number", [2, 3, 6, 150])
def test_a_line_that_is_no_row_of_numbers_is_named(write, signal, line, number):
    lines = table(signal).split("\n")
    lines.insert(number, line)
    with pytest.raises(ECGFileError, match=f"line {number + 1}: '{line}' is no row of 2 numbers"):
        read_ecg(write("\n".join(lines)), sampling_rate=500)


@pytest.mark.parametrize("lacking", ["sampling_rate", "unit", "lead_names"])
def test_what_the_file_does_not_say_is_asked_for(write, signal, lacking):
    stated = STATED | {"lead_names": ["I", "II"]}
    path = write("\n".join(f"{one},{two}" for one, two in signal.T))
    np.testing.assert_allclose(read_ecg(path, **stated).signal_mv, signal)
    with pytest.raises(ECGFileError, match=f"give {lacking}"):
        read_ecg(path, **{name: value for name, value in stated.items() if name != lacking})


@pytest.mark.parametrize("unit", ["counts", "adu", "LSB"])
def test_counts_are_no_unit(write, signal, unit):
    path = write(f"Unit: {unit}\n" + table(signal, header="I,II"))
    with pytest.raises(ECGFileError, match="states no unit of voltage"):
        read_ecg(path, sampling_rate=500)
    np.testing.assert_allclose(read_ecg(path, sampling_rate=500, unit=0.005).signal_mv, signal * 0.005)


def test_a_unit_for_some_leads_only_is_refused_and_other_channels_are_left_out(write, signal):
    path = write(table(signal, header="I (mV),II"))
    with pytest.raises(ECGFileError, match="a unit for some leads only, none for II"):
        read_ecg(path, sampling_rate=500)
    path = write(table(signal, header="I (mV),ABP (mmHg)"))
    assert read_ecg(path, sampling_rate=500).lead_names == ["I"]


@pytest.fixture
def prucka(write, signal):
    """A function that writes an export of GE CardioLab: three columns and their description."""

    def write_both(num_rows=200, channels=("I", "aVF", "HIS d")):
        rows = [f"{one:.3f} {two:.3f} 0.000 " for one, two in signal.T]
        described = "\n".join(f"{number}              {name}" for number, name in enumerate(channels, start=1))
        write(
            f"Patient = X\nNumber of Channel = 3\nPoints for Each Channel = {num_rows}\n"
            "Data Sampling Rate = 977 points/second\nUnits: mmHg for pressure and mV for all others\n"
            f"Channel Number  Channel Label\n{described}\n",
            name="ecg.inf",
        )
        return write("\n".join(rows), name="ecg.txt")

    return write_both


def test_the_description_beside_an_export_names_its_columns(prucka, signal):
    record = read_ecg(prucka())
    assert (record.sampling_rate, record.lead_names) == (977, ["I", "aVF"])
    np.testing.assert_allclose(record.signal_mv, signal)


@pytest.mark.parametrize("options", [{"num_rows": 201}, {"num_rows": "9" * 5000}, {"channels": ("I", "aVF")}])
def test_a_description_of_another_table_is_refused(prucka, options):
    with pytest.raises(ECGFileError, match=r"has 3 columns of 200 rows; ecg\.inf beside it describes"):
        read_ecg(prucka(**options))


@pytest.mark.parametrize("form", ["blanks", "a comma at the end", "numbered"])
def test_long_lines_are_leads(write, form):
    signal = np.random.default_rng(0).normal(size=(12, 600)).round(3)
    lines = [",".join(map(str, lead)) for lead in signal]
    forms = {
        "blanks": [line.replace(",", " ") for line in lines],
        "a comma at the end": [f"{line}," for line in lines],
        "numbered": ["," + ",".join(map(str, range(600))), *(f"{row},{line}" for row, line in enumerate(lines))],
    }
    record = read_ecg(write("\n".join(forms[form])), **STATED, lead_names=STANDARD_LEADS)
    np.testing.assert_allclose(record.signal_mv, signal)


@pytest.mark.parametrize(
    "text", ["a letter\nof two lines\n", "I,II\n", "# only a comment\n", ",\n,\n,\n", "2020-01-01\n"]
)
def test_a_text_without_a_table_is_refused(write, text):
    with pytest.raises(ECGFileError, match="holds no table of numbers"):
        read_ecg(write(text), **STATED)


def test_comments_within_the_table_are_skipped(write, signal):
    lines = table(signal).split("\n")
    lines.insert(50, "# page 2")
    np.testing.assert_allclose(read_ecg(write("\n".join(lines)), sampling_rate=500).signal_mv, signal)


def test_a_row_that_is_there_twice_is_refused(write, signal):
    rows = [f"{index / 500:.3f},{one},{two}" for index, (one, two) in enumerate(signal.T)]
    lines = ["time (s),I (mV),II (mV)", *rows]
    assert read_ecg(write("\n".join(lines))).sampling_rate == 500
    with pytest.raises(ECGFileError, match=r"0.08 s is there twice"):
        read_ecg(write("\n".join([*lines[:41], *lines[41:42] * 2, *lines[42:]])))


def test_rows_that_are_there_twice_at_even_distances_are_refused(write):
    numbers = sorted([*range(1000), 100, 400, 700])
    rows = [f"{number / 500:.3f},{number % 9 / 10}" for number in numbers]
    with pytest.raises(ECGFileError, match=r"0.2 s is there twice"):
        read_ecg(write("\n".join(["time (s),I (mV)", *rows])))


@pytest.mark.parametrize(
    "numbers", [[*range(40), *range(39, 60)], [*range(40), *range(41, 60)]], ids=["twice", "absent"]
)
def test_numbers_of_samples_tell_a_row_that_is_there_twice_or_absent(write, numbers):
    def numbered(numbers):
        return write("\n".join(["sample,I (mV)", *(f"{number},{number % 9 / 10}" for number in numbers)]))

    with pytest.raises(ECGFileError, match="irregular index"):
        read_ecg(numbered(numbers), sampling_rate=500)
    for sound in (range(0, 300, 5), [*range(16)] * 4, [7] * 60):
        assert read_ecg(numbered(sound), sampling_rate=500).lead_names == ["I"]


def test_a_letter_with_an_accent_behind_it_is_one_with_it(write):
    text = table(np.zeros((2, 100)), header="I (mV),II (mV)")
    assert read_ecg(write(f"fre\u0301quence d'e\u0301chantillonnage: 360\n{text}")).sampling_rate == 360


def test_times_may_be_rounded_more_coarsely_than_samples_follow(write):
    rows = [f"{index / 1024:.3f},{index % 9 / 10}" for index in range(2048)]
    assert read_ecg(write("\n".join(["time (s),I (mV)", *rows]))).sampling_rate == 1024


def test_a_clock_time_among_samples_is_refused(write, signal):
    lines = table(signal).split("\n")
    lines[50] = "1:02:03.5,0.1"
    with pytest.raises(ECGFileError, match=r"line 51: '1:02:03.5,0.1' has a clock time in a column of numbers"):
        read_ecg(write("\n".join(lines)), sampling_rate=500)


def test_an_empty_line_in_a_column_of_samples_is_refused(write, signal):
    samples = list(map(str, signal[0]))
    stated = {"sampling_rate": 500, "unit": "mV", "lead_names": ["I"]}
    with pytest.raises(ECGFileError, match="line 31 is empty among values"):
        read_ecg(write("\n".join([*samples[:30], "", *samples[30:]])), **stated)
    for text in ("\n\n".join(samples), "\n".join([*samples, "", ""]), "\n".join(["I", "", *samples])):
        np.testing.assert_allclose(read_ecg(write(text), **stated).signal_mv, signal[:1])


@pytest.mark.parametrize(
    "line",
    [
        "fs" + " " * 1_000 + "x",
        "unit" + " " * 20_000,
        "(" + " " * 1_000 + "x,II",
        "_" * 20_000 + "x,II",
        "0.1," + "1" * 8_000 + "x",
        "a" + "\u0327\u0301" * 20_000,
    ],
    ids=lambda line: line[:6],
)
def test_a_long_line_takes_no_long_time(write, line):
    path = write(f"I (mV),II (mV)\n{line}\n1,0.2\n3,0.4\n5,0.6\n")
    started = time.process_time()
    with pytest.raises(ECGFileError):
        read_ecg(path)
    assert time.process_time() - started < 1


def test_an_export_of_lab_system_pro_is_scaled_by_its_ranges(write):
    counts = np.random.default_rng(0).integers(-9000, 9000, size=(3, 60))
    channels = (("I", 5), ("CS 1-2", 2.5), ("V1", 10))
    header = "".join(f"Channel #: 1\nLabel: {name}\nRange: {mv}mv \nLow: .5Hz\n" for name, mv in channels)
    rows = "\n".join(",".join(map(str, sample)) for sample in counts.T)
    record = read_ecg(write(f"[Header]\nSample Rate: 1000Hz\n{header}[Data]\n{rows}\n"))
    assert (record.sampling_rate, record.lead_names) == (1000, ["I", "V1"])
    np.testing.assert_allclose(record.signal_mv, counts[[0, 2]] * [[5 / 32768], [10 / 32768]])


@pytest.mark.parametrize("end", ["", ","])
def test_an_export_of_acq_knowledge_names_its_channels_line_by_line(write, signal, end):
    rows = "\n".join(f"{index / 30000:.9f},{one},{two}{end}" for index, (one, two) in enumerate(signal.T))
    header = f"rest.acq\n2 msec/sample\n2 channels\nECG I\nmV\nECG II\nmV\nmin,CH1,CH2{end}\n,200,200{end}\n"
    record = read_ecg(write(header + rows))
    assert (record.sampling_rate, record.lead_names) == (500, ["I", "II"])
    np.testing.assert_allclose(record.signal_mv, signal)


def test_an_export_of_lab_chart_names_units_only_in_their_line(write, signal):
    rows = "\n".join(f"{index / 500:.3f}\t{one}\t{two}" for index, (one, two) in enumerate(signal.T))
    header = "Interval=\t0.002 s\nChannelTitle=\tI\tII\nRange=\t10 mV\t10 mV\n"
    path = write(header + rows)
    with pytest.raises(ECGFileError, match="states no unit of voltage"):
        read_ecg(path)
    record = read_ecg(write(f"{header}UnitName=\tmV\tmV\nTopValue=\t10.0\t10.0\n{rows}"))
    assert (record.sampling_rate, record.lead_names) == (500, ["I", "II"])
    np.testing.assert_allclose(record.signal_mv, signal)


@pytest.mark.parametrize(
    ("header", "time"),
    [
        ("'sample interval','I','II'\n'0.002 sec','mV','mV'", "{index}"),
        ("'Time and date','I','II'\n'hh:mm:ss.mmm','mV','mV'", "'[10:00:{seconds:06.3f} 01/02/2020]'"),
        ("timestamp,I (mV),II (mV)", "2020/02/01 10:00:{seconds:06.3f}"),
        ("Zeit [s],Ableitung I [mV],Ableitung II [mV]", "{seconds}"),
        ("time (s),I: mV,II - mV", "{seconds}"),
    ],
)
def test_more_forms_of_times_and_names_are_read(write, signal, header, time):
    rows = [
        f"{time.format(index=index, seconds=index / 500)},{one},{two}" for index, (one, two) in enumerate(signal.T)
    ]
    record = read_ecg(write("\n".join([header, *rows])))
    assert (record.sampling_rate, record.lead_names) == (500, ["I", "II"])
    np.testing.assert_allclose(record.signal_mv, signal)


def test_columns_aligned_by_blanks_have_names_of_two_words(write, signal):
    rows = [f"    0:{index / 500:06.3f}    {one}    {two}" for index, (one, two) in enumerate(signal.T)]
    header = "    Elapsed time      I      II\n    hh:mm:ss.mmm    (mV)    (mV)"  # rdsamp
    record = read_ecg(write("\n".join([header, *rows])))
    assert (record.sampling_rate, record.lead_names) == (500, ["I", "II"])
    np.testing.assert_allclose(record.signal_mv, signal)


def test_a_description_may_be_far_longer_than_the_table(write, signal):
    preamble = "".join(f"setting {number}: on, off\n" for number in range(5000))
    record = read_ecg(write(preamble + table(signal, ";", ",")), sampling_rate=500)
    np.testing.assert_allclose(record.signal_mv, signal)


def test_the_rate_is_read_from_a_header_in_json(write, signal):
    header = '# OpenSignals Text File Format\n# {"00:07": {"sampling rate": 1000, "label": ["A1"]}}\n# EndOfHeader\n'
    rows = "\n".join(f"{one}\t{two}" for one, two in signal.T)
    assert read_ecg(write(header + rows), unit="mV", lead_names=["I", "II"]).sampling_rate == 1000


@pytest.mark.parametrize("numbers", ["0,1", "1,2", "0.0,1.0", "3,7"])
def test_a_row_that_numbers_the_columns_is_no_sample(write, signal, numbers):
    rows = table(signal).splitlines()[1:]
    record = read_ecg(write("\n".join([numbers, *rows])), **STATED, lead_names=["I", "II"])
    np.testing.assert_allclose(record.signal_mv, signal)


def test_numbers_of_columns_stand_above_an_index_too(write, signal):
    rows = [f"{index},{row}" for index, row in enumerate(table(signal).splitlines()[1:])]
    record = read_ecg(write("\n".join([",0,1", *rows])), **STATED, lead_names=["I", "II"])
    np.testing.assert_allclose(record.signal_mv, signal)


def test_a_row_of_counts_that_looks_like_numbers_of_columns_is_kept_where_it_comes_again(write):
    record = read_ecg(write("0,1\n0,1\n0,2\n1,5\n"), **STATED, lead_names=["I", "II"])
    np.testing.assert_array_equal(record.signal_mv, [[0, 0, 0, 1], [1, 1, 2, 5]])


@pytest.mark.parametrize(
    ("text", "hz"),
    [
        ("10,000", 10_000),
        ("1,000", 1000),
        ("12,500", 12_500),
        ("512,414", 512.414),
        ("250,5", 250.5),
        ("250.000", 250),
        ("10 000", 10_000),
        ("1\u202f000", 1000),
        ("1'000.0", 1000),
    ],
)
def test_a_comma_in_a_rate_is_decimal_or_parts_thousands(write, signal, text, hz):
    path = write(f"Sampling Rate: {text} Hz\nUnit: mV\nLeads: I,II\n" + table(signal))
    assert read_ecg(path).sampling_rate == hz


@pytest.mark.parametrize(
    ("interval", "hz"), [("1,000 us", 1000), ("4.000 ms", 250), ("4 000 µs", 250), ("0,004 s", 250)]
)
def test_an_interval_is_read_so_that_a_rate_comes_of_it(write, signal, interval, hz):
    path = write(f"Sample Interval: {interval}\nUnit: mV\nLeads: I,II\n" + table(signal))
    assert read_ecg(path).sampling_rate == hz


@pytest.mark.parametrize("text", ["1.000", "75,000", "75 000", "1_000", "١٠٠٠"])
def test_a_rate_that_may_mean_two_or_is_no_number_is_asked_for(write, signal, text):
    path = write(f"Sampling Rate: {text} Hz\nUnit: mV\nLeads: I,II\n" + table(signal))
    with pytest.raises(ECGFileError, match="give sampling_rate"):
        read_ecg(path)
    assert read_ecg(path, sampling_rate=1000).sampling_rate == 1000


def test_quoted_numbers_whose_comma_may_part_thousands_are_refused(write):
    with pytest.raises(ECGFileError, match='numbers such as "1,250", of which the comma may be decimal'):
        read_ecg(write('I,II\n"1,234",5\n"1,250",7\n"1,300",9\n'), **STATED)


def test_a_long_line_above_the_table_takes_no_more_time_than_its_length(write, signal):
    started = time.process_time()
    path = write("units: " + "x" * 100_000 + "\n" + table(signal))
    with suppress(ECGFileError):
        read_ecg(path, **STATED)
    assert time.process_time() - started < 2


def test_a_table_of_thousands_of_columns_and_rows_is_refused(write):
    row = ",".join(["1.5"] * 1025)
    with pytest.raises(ECGFileError, match="holds 1025 columns of 1025 rows; at most 1024"):
        read_ecg(write("\n".join([row] * 1025)), **STATED)
