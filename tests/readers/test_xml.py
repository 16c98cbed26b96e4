import os
import socket

import numpy as np
import pytest

from modeling_enecg.io import ECGFileError, read_ecg
from modeling_enecg.leads import STANDARD_LEADS, derive_limb_leads
from modeling_enecg.readers import xml
from tests.helpers.expected_formats import assert_samples_read_as_expected
from tests.helpers.xml_files import (
    EIGHT,
    aecg,
    aecg_lead,
    aecg_set,
    aecg_time,
    eight_leads,
    muse,
    muse_lead,
    muse_waves,
    sema,
    sema_channel,
    sema_waves,
)


@pytest.mark.parametrize("folder", ["muse_xml", "aecg", "philips_xml", "schiller_xml"])
def test_sample_files_read_as_expected(formats_dir, folder):
    assert_samples_read_as_expected(formats_dir, f"{folder}/")


@pytest.mark.parametrize("order", [1, -1])
def test_a_muse_rhythm_is_told_by_its_type_and_gains_the_derived_limb_leads(write_xml, counts, order):
    waves = [muse_waves(eight_leads(counts[:, :20]), kind="Median"), muse_waves(eight_leads(counts))]
    record = read_ecg(write_xml(muse(*waves[::order])))
    mv = counts * 4.88e-3
    truth = dict(zip(EIGHT, mv[:8], strict=True)) | derive_limb_leads(mv[0], mv[1])
    assert record.lead_names == list(STANDARD_LEADS)
    np.testing.assert_allclose(record.signal_mv, [truth[name] for name in STANDARD_LEADS], rtol=1e-12, atol=1e-15)


def test_stored_limb_leads_are_not_derived_and_other_leads_follow(write_xml, counts):
    names = ("V3R", "aVF", "II", "I")
    leads = [muse_lead(name, row) for name, row in zip(names, counts, strict=False)]
    record = read_ecg(write_xml(muse(muse_waves(leads))))
    assert record.lead_names == [*STANDARD_LEADS[:6], "V3R"]
    np.testing.assert_allclose(record.signal_mv[[5, 6]], counts[[1, 0]] * 4.88e-3)


@pytest.mark.parametrize(("base", "exponent", "rate"), [(500, 0, 500), (25, 1, 250), (10000, -1, 1000)])
def test_a_muse_rate_is_its_base_times_ten_to_its_exponent(write_xml, counts, base, exponent, rate):
    assert (
        read_ecg(write_xml(muse(muse_waves(eight_leads(counts), base=base, exponent=exponent)))).sampling_rate == rate
    )


@pytest.mark.parametrize(("units", "mv"), [("MICROVOLTS", 1e-3), ("uV", 1e-3), ("MILLIVOLTS", 1.0), ("nV", 1e-6)])
def test_muse_amplitudes_are_read_in_their_unit(write_xml, counts, units, mv):
    record = read_ecg(write_xml(muse(muse_waves(eight_leads(counts, units_per_bit="2.5", units=units)))))
    np.testing.assert_allclose(record.signal_mv[0], counts[0] * 2.5 * mv)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"LeadDataCRC32": 1}, "LeadDataCRC32 of I is 1"),
        ({"LeadSampleCountTotal": 49}, "LeadSampleCountTotal of I is 49, but 50"),
        ({"LeadByteCountTotal": -100}, "LeadByteCountTotal of I is -100, but 100"),
        ({"LeadSampleSize": 4}, "LeadSampleSize of I is 4, but 2"),
        ({"LeadAmplitudeUnitsPerBit": "nan"}, "LeadAmplitudeUnitsPerBit of I is 'nan'; a number"),
        ({"LeadAmplitudeUnitsPerBit": "-4.88"}, "a positive number was expected"),
        ({"LeadAmplitudeUnitsPerBit": ""}, "LeadAmplitudeUnitsPerBit of I is absent"),
        ({"LeadAmplitudeUnits": "PARSECS"}, "LeadAmplitudeUnits of I is PARSECS"),
        ({"LeadSampleCountTotal": "1" * 5000}, "a whole number was expected"),
        ({"LeadOffsetFirstSample": 7}, "do not start together"),
        ({"LeadID": " "}, "LeadData without LeadID"),
        ({"WaveFormData": "****"}, "WaveFormData of I is not in base64"),
        ({"WaveFormData": "AAAA", "LeadSampleCountTotal": "", "LeadDataCRC32": ""}, "3 bytes, no whole number"),
    ],
)
def test_a_muse_lead_that_contradicts_itself_is_refused(write_xml, counts, fields, message):
    leads = [muse_lead("I", counts[0], **fields), muse_lead("II", counts[1])]
    with pytest.raises(ECGFileError, match=message):
        read_ecg(write_xml(muse(muse_waves(leads))))


def test_a_muse_checksum_of_zero_was_not_computed_and_base64_needs_no_padding(write_xml, counts):
    leads = [muse_lead(name, row[:49], LeadDataCRC32=0) for name, row in zip(("I", "II"), counts, strict=False)]
    text = muse(muse_waves(leads))
    assert "=\n<" in text
    record = read_ecg(write_xml(text.replace("=\n<", "\n<")))
    np.testing.assert_allclose(record.signal_mv[:2], counts[:2, :49] * 4.88e-3)


@pytest.mark.parametrize(
    ("declared", "encoding"),
    [
        ("GB2312", "gb2312"),
        ("GB18030", "gb18030"),
        ("Shift_JIS", "shift_jis"),
        ("EUC-KR", "euc_kr"),
        ("UTF-16", "utf-8"),
    ],
)
def test_encodings_that_the_parser_does_not_know_or_is_misled_about_are_read(write_xml, counts, declared, encoding):
    text = aecg(aecg_set(aecg_time(), aecg_lead("I", counts[0])), before="<text>\u03a9</text>")
    path = write_xml(f'<?xml version="1.0" encoding="{declared}"?>{text}', encoding)
    np.testing.assert_allclose(read_ecg(path).signal_mv, counts[:1] * 2.5e-3)


def test_bytes_that_the_declared_encoding_does_not_have_are_refused(write_xml):
    with pytest.raises(ECGFileError, match="cannot be read by the XML parser"):
        read_ecg(write_xml('<?xml version="1.0" encoding="GB2312"?><AnnotatedECG>\xff\xff</AnnotatedECG>', "latin-1"))


def test_a_muse_record_without_rhythm_is_refused(write_xml, counts):
    with pytest.raises(ECGFileError, match=r"no Waveform of the type Rhythm; .* 1 are \['Median'\]"):
        read_ecg(write_xml(muse(muse_waves(eight_leads(counts), kind="Median"))))


@pytest.mark.parametrize(
    "text",
    [
        lambda rows: muse(muse_waves([muse_lead("I", rows[0]), muse_lead("II", rows[1][:-1])])),
        lambda rows: aecg(aecg_set(aecg_time(), aecg_lead("I", rows[0]), aecg_lead("II", rows[1][:-1]))),
        lambda rows: sema(sema_waves("ECG_RHYTHMS", [sema_channel("I", rows[0]), sema_channel("II", rows[1][:-1])])),
    ],
    ids=["muse", "aecg", "sema"],
)
def test_leads_of_differing_lengths_are_refused(write_xml, counts, text):
    with pytest.raises(ECGFileError, match="leads of 49 and of 50 samples"):
        read_ecg(write_xml(text(counts)))


def test_an_aecg_origin_without_value_is_zero(write_xml, counts):
    text = aecg(aecg_set(aecg_time(), aecg_lead("I", counts[0], origin="<origin/>")))
    np.testing.assert_allclose(read_ecg(write_xml(text)).signal_mv, counts[:1] * 2.5e-3)


@pytest.mark.parametrize(("value", "unit"), [("0.002", "s"), ("2", "ms"), ("2.0E3", "us")])
def test_an_aecg_value_is_origin_plus_scale_times_digit_each_in_its_unit(write_xml, counts, value, unit):
    origin = '<origin value="-0.25" unit="mV"/>'
    leads = [aecg_lead("AVR", counts[0], "2500", "nV", origin), aecg_lead("V1", counts[1], "0.005", "mV", "")]
    text = aecg(aecg_set(*leads, aecg_time(value, unit, 'value="0" unit="s"', "TIME_RELATIVE")))
    record = read_ecg(write_xml(text))
    assert record.lead_names == ["aVR", "V1"]
    assert record.sampling_rate == 500
    np.testing.assert_allclose(record.signal_mv, [counts[0] * 2.5e-3 - 0.25, counts[1] * 5e-3])


def test_averages_and_other_units_of_an_aecg_are_left_out(write_xml, counts):
    average = aecg(aecg_set(aecg_time(), aecg_lead("I", counts[1][:9])), code="REPRESENTATIVE_BEAT")
    derived = f"<derivation><derivedSeries>{average}</derivedSeries></derivation>"
    pressure = aecg_lead("PRESS", counts[2], unit="mmHg", code="MDC_")
    rhythm = aecg_set(aecg_time(), pressure, aecg_lead("IIc", [1, 2]), aecg_lead("I", counts[0]), aecg_lead("II", []))
    record = read_ecg(write_xml(aecg(derived, rhythm, before=average)))
    assert record.lead_names == ["I"]
    assert record.left_out == {
        "MDC_PRESS": "in mmHg, which is no unit of voltage",
        "IIc": "by its name no standard lead",
        "II": "without samples",
    }
    np.testing.assert_allclose(record.signal_mv[0], counts[0] * 2.5e-3)
    with pytest.raises(ECGFileError, match=r"no series of the code RHYTHM; .*'REPRESENTATIVE_BEAT'"):
        read_ecg(write_xml(average))


def test_an_aecg_with_elements_out_of_place_reads_the_same(write_xml, counts):
    sound = aecg(aecg_set(aecg_time(), aecg_lead("I", counts[0]), aecg_lead("II", counts[1])))
    odd = sound.replace("<value>", "").replace("</value>", "").replace("<component>", "").replace("</component>", "")
    odd = odd.replace('<code code="RHYTHM"/>', "").replace("MDC_ECG_LEAD_", "MDC_ECG_ELEC_POTL_")
    odd = odd.replace(' xmlns="urn:hl7-org:v3"', "").replace("<series>", "<component><series>")
    odd = odd.replace("</series>", "</series></component>")
    truth, found = read_ecg(write_xml(sound)), read_ecg(write_xml(odd))
    np.testing.assert_array_equal(found.signal_mv, truth.signal_mv)
    assert (found.sampling_rate, found.lead_names) == (truth.sampling_rate, truth.lead_names)


@pytest.mark.parametrize(
    "heads",
    [
        ('value="0" unit="s"', 'value="120" unit="ms"'),
        ('value="20021231235959.950"', 'value="20030101000000.070"'),
        ('value="20021231235959.950+0100"', 'value="20021231213000.07-0130"'),
    ],
)
def test_the_sequence_sets_of_an_aecg_are_put_at_their_times(write_xml, counts, heads):
    sets = [
        aecg_set(aecg_time(head=heads[0]), aecg_lead("I", counts[0]), aecg_lead("II", counts[1])),
        aecg_set(aecg_time(head=heads[1]), aecg_lead("II", counts[2]), aecg_lead("V1", counts[3])),
    ]
    record = read_ecg(write_xml(aecg(*sets[::-1])))
    assert record.lead_names == ["II", "V1", "I"]
    truth = np.full((3, 110), np.nan)  # the second set starts 60 samples after the first
    truth[[2, 0], :50], truth[:2, 60:] = counts[:2], counts[2:4]
    np.testing.assert_allclose(record.signal_mv, truth * 2.5e-3)


def test_sequence_sets_that_contradict_each_other_are_refused(write_xml, counts):
    first = aecg_set(aecg_time(head='value="0" unit="s"'), aecg_lead("I", counts[0]))
    others = {
        "differ in their increment": aecg_time("4", "ms"),
        "holds I twice at the same time": aecg_time(head='value="40" unit="ms"'),
        "declares 1 channels of .* samples": aecg_time(head='value="1e14" unit="s"'),
        "head is '20021399'; a time": aecg_time(head='value="20021399"'),
        "which is no time": aecg_time(head='value="20021399000000"'),
    }
    for message, time in others.items():
        with pytest.raises(ECGFileError, match=message):
            read_ecg(write_xml(aecg(first, aecg_set(time, aecg_lead("I", counts[1])))))


@pytest.mark.parametrize(
    ("time", "lead", "message"),
    [
        (aecg_time(unit=""), aecg_lead("I", [1, 2]), "does not state its sampling_rate"),
        (aecg_time() + aecg_time("0.004"), aecg_lead("I", [1, 2]), "a sequence set with several times"),
        (aecg_time("0"), aecg_lead("I", [1, 2]), "a positive number"),
        (aecg_time(unit="Hz"), aecg_lead("I", [1, 2]), "increment is in Hz"),
        ("", aecg_lead("I", [1, 2]), "increment, .* is absent"),
        (aecg_time(), aecg_lead("I", [1, "2x"]), "digits of MDC_ECG_LEAD_I lists something else than numbers"),
        (aecg_time(), aecg_lead("I", [1, "nan"]), "infinite or absurd"),
        (aecg_time(), aecg_lead("I", [1, 2], unit=""), "scale of MDC_ECG_LEAD_I has no unit"),
        (aecg_time(), aecg_lead("I", [1, 2], scale="x" * 99), r"scale of MDC_ECG_LEAD_I is 'x+\.\.\.'"),
        (aecg_time(), aecg_lead("I", [1], origin='<origin value="0" unit="mmHg"/>'), "origin of .* is in mmHg"),
        (aecg_time(), aecg_lead("", [1, 2], code=""), "digits without code"),
        (aecg_time(), aecg_lead("I", []), "no lead in a unit of voltage"),
    ],
)
def test_an_aecg_that_lacks_what_is_needed_is_refused(write_xml, time, lead, message):
    with pytest.raises(ECGFileError, match=message):
        read_ecg(write_xml(aecg(aecg_set(time, lead))))


def test_a_sema_rhythm_follows_its_averages_and_an_exponent_of_1_is_no_factor(write_xml, counts):
    averages = sema_waves("ECG_AVERAGES", [sema_channel("I", counts[1][:9])])
    rhythm = sema_waves("ECG_RHYTHMS", [sema_channel("AVL", counts[0])], per_bit="2.5")
    record = read_ecg(write_xml(sema(averages, rhythm)))
    assert record.lead_names == ["aVL"]
    assert record.sampling_rate == 500
    np.testing.assert_allclose(record.signal_mv[0], counts[0] * 2.5e-3)


@pytest.mark.parametrize(
    ("kind", "channel", "options", "message"),
    [
        ("ECG_AVERAGES", sema_channel("I", [1]), {}, "no wavedata of the type ECG_RHYTHMS"),
        ("ECG_RHYTHMS", sema_channel("I", [1], count=2), {}, "samplecount of I is 2, but its data are 1"),
        ("ECG_RHYTHMS", sema_channel("I", [1, ""]), {"rate": "1e999"}, "samplerate/value is '1e999'"),
        ("ECG_RHYTHMS", sema_channel("I", [1, "", 2]), {}, "data of I lists something else than numbers"),
        ("ECG_RHYTHMS", sema_channel("I", [1]), {"exponent": 3}, "samplerate/exponent is 3"),
        ("ECG_RHYTHMS", sema_channel("I", [1]), {"units": "MMHG"}, "yres/units is MMHG"),
        ("ECG_RHYTHMS", "", {}, "holds no lead"),
    ],
)
def test_a_sema_record_that_contradicts_itself_is_refused(write_xml, kind, channel, options, message):
    with pytest.raises(ECGFileError, match=message):
        read_ecg(write_xml(sema(sema_waves(kind, [channel], **options))))


@pytest.mark.parametrize("encoding", ["iso-8859-1", "windows-1252", "utf-8", "utf-8-sig", "utf-16"])
def test_names_in_any_encoding_do_not_disturb(write_xml, counts, encoding):
    text = muse(muse_waves(eight_leads(counts)), "<Name>Übermäßig, Zoë</Name>")
    text = text.replace('version="1.0"', f'version="1.0" encoding="{encoding.removesuffix("-sig")}"')
    assert len(read_ecg(write_xml(text, encoding)).lead_names) == 12


def test_a_dtd_is_neither_fetched_nor_opened(write_xml, counts, tmp_path):
    (tmp_path / "restecg.dtd").write_text("<!ELEMENT this is no DTD")
    assert len(read_ecg(write_xml(muse(muse_waves(eight_leads(counts))))).lead_names) == 12
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.1)
        address = f"http://127.0.0.1:{server.getsockname()[1]}/restecg.dtd"
        read_ecg(write_xml(muse(muse_waves(eight_leads(counts)), doctype=f'<!DOCTYPE RestingECG SYSTEM "{address}">')))
        with pytest.raises(TimeoutError):
            server.accept()


@pytest.mark.parametrize(
    "declarations",
    [
        '<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">',
        '<!ENTITY b SYSTEM "secret.txt">',
        '<!ENTITY % b SYSTEM "secret.txt"> %b;',
        '<!ATTLIST LeadData note CDATA "copied into each">',
    ],
    ids=["expansion", "external", "parameter", "attribute"],
)
def test_entities_and_default_attributes_are_refused(write_xml, counts, tmp_path, declarations):
    (tmp_path / "secret.txt").write_text("secret")
    doctype = f"<!DOCTYPE RestingECG [{declarations}]>"
    text = muse(muse_waves(eight_leads(counts)), "<Name>&b;</Name>", doctype=doctype)
    with pytest.raises(ECGFileError, match=r"EntitiesForbidden|declares a default") as caught:
        read_ecg(write_xml(text))
    assert "secret" not in str(caught.value).replace("secret.txt", "")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<svg/>", "its root is svg; known are RestingECG, AnnotatedECG, restingecgdata, SchillerEDI"),
        ("<RestingECG>", "no element found"),
        ("<RestingECG/>", "no Waveform of the type Rhythm"),
        ("<AnnotatedECG/>", "no series of the code RHYTHM"),
        ("<restingecgdata/>", "has no parsedwaveforms"),
        ("<SchillerEDI/>", "no wavedata"),
        ('<?xml version="1.0" encoding="klingon"?><a/>', "unknown encoding"),
        (f'<a b="{"x" * (6 << 20)}"/>', "a tag of more than 4194304 bytes"),
    ],
)
def test_other_and_damaged_xml_is_refused(write_xml, text, message):
    path = write_xml(text)
    with pytest.raises(ECGFileError, match=message) as caught:
        read_ecg(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("inside", ["<b/>" * 100, "<b c='' d='' e=''/>" * 25, "<b>" * 100])
def test_xml_of_too_many_elements_or_attributes_is_refused(write_xml, monkeypatch, inside):
    monkeypatch.setattr(xml, "_MOST_ELEMENTS", 100)
    with pytest.raises(ECGFileError, match="more than 100 elements and attributes"):
        read_ecg(write_xml(f"<a>{inside}</a>"))


def test_an_aecg_of_too_many_sequences_is_refused(write_xml):
    sequences = [aecg_lead(f"X{number}", [1, 2]) for number in range(1025)]
    with pytest.raises(ECGFileError, match="1026 sequences at once; at most 1024"):
        read_ecg(write_xml(aecg(aecg_set(aecg_time(), *sequences))))


def test_a_file_that_is_too_large_is_refused_unread(write_xml):
    path = write_xml("<a>")
    os.truncate(path, (64 << 20) + 1)
    with pytest.raises(ECGFileError, match="XML is read up to 67108864"):
        read_ecg(path)


@pytest.mark.parametrize("off", ["TRUE", "True", "1"])
def test_a_muse_lead_that_was_off_is_missing_and_so_is_what_devices_compute_from_it(write_xml, counts, off):
    names = ("I", "II", "III", "aVF", "V1")
    leads = [
        muse_lead(name, row, LeadOff=off if name == "II" else "FALSE")
        for name, row in zip(names, counts, strict=False)
    ]
    record = read_ecg(write_xml(muse(muse_waves(leads))))
    assert record.lead_names == list(names)
    assert list(record.damaged_leads) == ["II", "III", "aVF"]
    assert np.isnan(record.signal_mv).all(axis=1).tolist() == [False, True, True, True, False]


def test_further_rhythm_series_of_an_aecg_are_told(write_xml, counts):
    first = aecg(aecg_set(aecg_time(), aecg_lead("I", counts[0])))
    second = first[first.index("<component><series>") : first.index("</AnnotatedECG>")]
    record = read_ecg(write_xml(first.replace("</AnnotatedECG>", f"{second}</AnnotatedECG>")))
    assert record.left_out == {"rhythm series 2": "only the first series is read"}
    np.testing.assert_allclose(record.signal_mv, counts[:1] * 2.5e-3)


@pytest.mark.parametrize("text", [muse_lead, aecg_lead, sema_channel])
def test_the_lowest_code_of_16_bits_is_a_missing_sample(write_xml, counts, text):
    row = counts[0].copy()
    row[7] = -32768
    lead = text("I", row)
    whole = {
        muse_lead: lambda: muse(muse_waves([lead])),
        aecg_lead: lambda: aecg(aecg_set(aecg_time(), lead)),
        sema_channel: lambda: sema(sema_waves("ECG_RHYTHMS", [lead])),
    }[text]()
    assert np.flatnonzero(np.isnan(read_ecg(write_xml(whole)).signal_mv[0])).tolist() == [7]
