"""Small valid files of every format, to be damaged.

They are damaged before they are sealed, that is compressed or given checksums that fit: so damage reaches the decoder
behind these. Samples without a seal show that checksums are looked at.
"""

import base64
import binascii
import io
import re
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import scipy.io
import soundfile
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from tests.helpers import dicom_files as dicom
from tests.helpers import edf_files as edf
from tests.helpers import ishne_files as ishne
from tests.helpers import mfer, vendor_xml
from tests.helpers import philips_files as philips
from tests.helpers import scp_files as scp
from tests.helpers import scp_reference_beats as beats
from tests.helpers import xml_files as xml
from tests.helpers.atc import atc, block, lead_blocks, stated_format
from tests.helpers.matlab import cpsc, save_73

PATIENT = b"Nobody Nowhere"
_COUNTS = np.random.default_rng(0).normal(scale=40, size=(12, 50)).cumsum(axis=1).astype("<i2")
_SIGNAL = _COUNTS[:3] / 7
_STATED = {"sampling_rate": 500.0, "unit": "uV", "lead_names": ["I", "II", "V1"]}


class Sample(NamedTuple):
    """A recording.

    Attributes:
        files (`dict[str, bytes]`): The contents of its files by name, not yet sealed.
        entry (`str`): What is given to `read_ecg`.
        stated (`dict`): The arguments of `read_ecg` that the files need beside them.
        seal (`Callable`): What turns the content of its only file into what is written.
    """

    files: dict[str, bytes]
    entry: str
    stated: dict[str, Any] = {}
    seal: Callable[[bytes], bytes] = bytes


def _crc(content: bytes) -> bytes:
    return struct.pack("<H", binascii.crc_hqx(content, 0xFFFF))


def _seal_scp(content: bytes) -> bytes:
    """Correct the checksums of all sections that the pointers lead to, and of the record."""
    sealed = bytearray(content)
    for at in range(22, len(content) - 9, 10)[:30]:
        number, length, place = struct.unpack_from("<HII", content, at)
        if number and length > 16 and 0 < place < len(content):
            sealed[place - 1 : place + 1] = _crc(bytes(sealed[place + 1 : place - 1 + length]))
    sealed[:2] = _crc(bytes(sealed[2 : int.from_bytes(sealed[2:6], "little")]))
    return bytes(sealed)


def _seal_atc(content: bytes) -> bytes:
    """Correct the checksums of all blocks."""
    sealed, at = content[:12], 12
    while at + 8 <= len(content):
        end = at + 8 + int.from_bytes(content[at + 4 : at + 8], "little")
        sealed += content[at:end] + struct.pack("<I", sum(content[at:end]))
        at = end + 4
    return sealed


def _information_end(content: bytes) -> int:
    """Return where the file information of DICOM ends, as it states."""
    return 144 + int.from_bytes(content[140:144], "little")


def _seal_deflated(content: bytes) -> bytes:
    """Deflate what follows the file information."""
    begin = _information_end(content)
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return content[:begin] + packer.compress(content[begin:]) + packer.flush()


def _seal_ishne(content: bytes) -> bytes:
    if len(content) < 522:
        return content
    block_size, _, block_at = struct.unpack_from("<3i", content, 10)
    block = content[block_at : block_at + block_size] if block_size > 0 and block_at >= 0 else b""
    return content[:8] + _crc(content[10:522] + block) + content[10:]


def _seal_muse(content: bytes) -> bytes:
    """Correct the checksums of all leads whose data can be decoded."""

    def corrected(match: re.Match[bytes]) -> bytes:
        try:
            number = zlib.crc32(base64.b64decode(b"".join(match[1].split()), validate=True))
        except ValueError:
            return match[0]
        return b"<LeadDataCRC32>%d</LeadDataCRC32><WaveFormData>%s<" % (number, match[1])

    return re.sub(rb"<LeadDataCRC32>[^<]*</LeadDataCRC32><WaveFormData>([^<]*)<", corrected, content)


def _seal_sierra(chunks: bytes) -> bytes:
    return philips.sierra_1_03(base64.b64encode(chunks).decode()).encode()


def _seal_npz(content: bytes, member: str = "signal") -> bytes:
    """Put a member into an archive of a signal and what is stated about it."""
    members = {name: _npy(np.array(value)) for name, value in (_STATED | {"signal": _SIGNAL}).items()}
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, each in (members | {member: content}).items():
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), each, zipfile.ZIP_DEFLATED)  # without the time of writing
        archive.writestr(zipfile.ZipInfo("patient.txt"), PATIENT)
    return stream.getvalue()


def _seal_mat(content: bytes) -> bytes:
    """Compress the elements after the header of 128 bytes."""
    packed = zlib.compress(content[128:])
    return content[:128] + struct.pack("<2I", 15, len(packed)) + packed


def _utf_16(content: bytes) -> bytes:
    return content.decode("utf-8", errors="replace").encode("utf-16")


def _npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def _mat(version: str = "5") -> bytes:
    stream = io.BytesIO()
    scipy.io.savemat(stream, {"val": _COUNTS[:3]}, format=version)
    content = stream.getvalue()
    return content if version == "4" else (b"MATLAB 5.0 MAT-file, " + PATIENT).ljust(116) + content[116:]


def _flac() -> bytes:
    stream = io.BytesIO()
    soundfile.write(stream, _COUNTS[:2].T, 500, format="FLAC", subtype="PCM_16")
    return stream.getvalue()


def _wfdb() -> list[Sample]:
    comment = b"# " + PATIENT + b"\n#Age: 71\n#Sex: Female\n#Dx: 426783006,164889003\n"
    sums = [int(row.sum(dtype=np.int64)) % 65536 for row in _COUNTS]
    lines = [f"record.dat 16 200(0)/mV 16 0 {row[0]} {total} 0 " for row, total in zip(_COUNTS, sums, strict=True)]
    plain = f"record 2 500 50 12:00:00 1/1/2000\n{lines[0]}I\n{lines[1]}II\n".encode()
    formats = ("8", "16:3+2", "24", "32", "61", "80", "160", "212x2", "310", "311")
    mixed = f"record {len(formats)} 500 20\n" + "".join(
        f"d{number} {fmt} 200/uV 16 0 0 0 0 V{number}\n" for number, fmt in enumerate(formats)
    )
    stored = _COUNTS.tobytes()[:140]
    segments = b"record/4 2 500 110\nlayout 0\none 50\n~ 10\ntwo 50\n"
    layout = b"layout 2 500 0\n~ 0 200 16 0 0 0 0 I\n~ 0 200 16 0 0 0 0 II\n"
    one = plain.replace(b"record", b"one")
    two = f"two 1 500 50\n{lines[2]}II\n".replace("record", "two").encode()
    both = _COUNTS[:2].T.tobytes()
    parts = {"layout.hea": layout, "one.hea": one, "one.dat": both, "two.hea": two, "two.dat": _COUNTS[2].tobytes()}
    compressed = plain.replace(b".dat 16", b".dat 516")
    fixed = {"record.hea": b"record/2 2 500 80\none 50\none_again 30\n"}
    again = {f"one_again.{ending}": parts[f"one.{ending}"] for ending in ("hea", "dat")}
    return [
        Sample({"record.hea": plain + comment, "record.dat": both}, "record"),
        Sample({"record.hea": mixed.encode()} | {f"d{number}": stored for number in range(len(formats))}, "record"),
        Sample({"record.hea": segments, **parts}, "record.hea"),
        Sample({**fixed, **again, "one.hea": one, "one.dat": both}, "record"),
        Sample({"record.hea": compressed, "record.dat": _flac()}, "record.dat"),
    ]


def _dicom() -> list[Sample]:
    channels = [dicom.channel(dicom.LEAD_I), dicom.channel(dicom.LEAD_II)]
    later = dicom.group(_COUNTS[2:3], [dicom.channel(dicom.LEAD_V1)], offset=20.0)
    first = dicom.group(_COUNTS[:2], channels, label="RHYTHM", padding=b"\0\x80", offset=0.0)
    syntaxes = (ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian)
    channels[1].ChannelSampleSkew, channels[1].ChannelOffset = "3", "0.002"
    streams = [dicom.dicom(io.BytesIO(), [first, later], syntax=syntax) for syntax in syntaxes]
    contents = [stream.getvalue() for stream in streams]
    deflated = dicom.dicom(io.BytesIO(), [first], syntax=DeflatedExplicitVRLittleEndian).getvalue()
    begin = _information_end(deflated)
    inflated = deflated[:begin] + zlib.decompress(deflated[begin:], -zlib.MAX_WBITS)
    plain = [_one("ecg.dcm", content) for content in (*contents, contents[0][132:])]
    return [*plain, _one("ecg.dcm", inflated, _seal_deflated)]


def _edf() -> list[Sample]:
    channels = [edf.channel("ECG I", 50), edf.channel("ECG II", 50)]
    blocks = edf.records_of(*_COUNTS[:2], length=50)
    timed = [[*block, edf.onset(second)] for block, second in ((blocks[0], 0), (blocks[0], "2.5"))]
    timed_bdf = [[edf.int24(_COUNTS[0]), edf.onset(second, 20, 3)] for second in (0, 2)]
    contents = {
        "plain.edf": edf.edf(channels, blocks, "0.1"),
        "gaps.edf": edf.edf([*channels, edf.annotations()], timed, kind="EDF+D"),
        "gaps.bdf": edf.bdf([edf.channel("ECG I", 50), edf.annotations("BDF")], timed_bdf, kind="BDF+D"),
    }
    return [_one(name, content.replace(b"X X X X       ", PATIENT)) for name, content in contents.items()]


def _scp() -> list[Sample]:
    rows = _COUNTS[:2]
    table = struct.pack("<H", 1) + scp.table(("0", 1, 1, 0), ("10", 18, 1, 0), ("11", 2, 1, 1))
    coded = scp.huffman(rows, 2)
    own = [scp.packed("".join(f"10{int(value) & 0xFFFF:016b}" for value in row)) for row in rows]
    records = [
        scp.scp({1: PATIENT, 3: scp.leads(rows), 6: scp.rhythm(scp.plain(rows))}),
        scp.scp({1: PATIENT, 2: scp.DEFAULT, 3: scp.leads(rows, firsts=[1, 51]), 6: scp.rhythm(coded, 2)}),
        scp.scp({1: PATIENT, 2: table, 3: scp.leads(rows), 6: scp.rhythm(own)}),
    ]
    wave = (np.hanning(20) * [[90], [-40]]).astype("<i2")
    located = beats.locations([(0, 5, 16, 24), (0, 30, 38, 49)], length_ms=40)
    records += [beats.record(rows, wave, coding, 1, section_4=located) for coding in ("plain", "huffman")]
    return [_one("ecg.scp", content, seal) for content in records for seal in (_seal_scp, bytes)]


def _ishne() -> list[Sample]:
    content = bytearray(ishne.ishne(_COUNTS[:3], block=b"anything"))
    content[30 : 30 + len(PATIENT)] = PATIENT
    content = _seal_ishne(bytes(content))
    return [_one("holter.ecg", content, seal) for seal in (_seal_ishne, bytes)]


def _xml_text(text: str) -> bytes:
    """Put the patient behind the root's tag."""
    return re.sub(r"(<[A-Za-z][^>]*>)", rf"\1<name>{PATIENT.decode()}</name>", text, count=1).encode()


def _muse() -> list[Sample]:
    leads = [xml.muse_lead(name, row) for name, row in zip(("I", "II", "V1"), _COUNTS, strict=False)]
    content = _xml_text(xml.muse(xml.muse_waves(leads)))
    said = (
        "<PatientDemographics><PatientID>1</PatientID><PatientAge>71</PatientAge><AgeUnits>YEARS</AgeUnits>"
        "</PatientDemographics><RestingECGMeasurements><PRInterval>138</PRInterval></RestingECGMeasurements>"
        "<Diagnosis><DiagnosisStatement><StmtText>Sinus</StmtText></DiagnosisStatement></Diagnosis>"
    )
    leads = [
        xml.muse_lead(name, row, LeadOff="TRUE", LeadTimeOffset=0) for name, row in zip("I", _COUNTS, strict=False)
    ]
    more = xml.muse(xml.muse_waves([*leads, xml.muse_lead("V1", _COUNTS[1], LeadOff="FALSE")]))
    more = _xml_text(more.replace("<RestingECG>", f"<RestingECG>{said}"))
    return [*(_one("muse.xml", content, seal) for seal in (_seal_muse, bytes)), _one("muse.xml", more)]


def _aecg() -> list[Sample]:
    sets = [
        xml.aecg_set(
            xml.aecg_time(head=f'value="{start}"'), xml.aecg_lead("I", row), xml.aecg_lead("II", row[::-1], unit="nV")
        )
        for start, row in zip(("20021231235959.900", "20030101000000.070"), _COUNTS, strict=False)
    ]
    both, first = _xml_text(xml.aecg(*sets)), _xml_text(xml.aecg(sets[0]))
    return [_one("aecg.xml", both), _one("aecg.xml", first, _utf_16), _one("aecg.xml", _utf_16(first))]


def _sierra() -> list[Sample]:
    packed, hexadecimal = philips.xli_text(philips.xli_residuals(_COUNTS)), _COUNTS.tobytes().hex()
    chunks = base64.b64decode(packed)
    plain = " ".join(map(str, _COUNTS.ravel()))
    return [
        _one("sierra.xml", chunks, _seal_sierra),
        _one("sierra.xml", _xml_text(philips.sierra_1_03(packed))),
        _one("sierra.xml", _xml_text(philips.sierra_1_04_01(packed)), _utf_16),
        _one("sierra.xml", _xml_text(philips.sierra_1_03(plain, flag="False", encoding="Plain"))),
        _one("sierra.xml", _xml_text(philips.sierra_1_04_01(hexadecimal, "", "Hex")), _utf_16),
    ]


def _sema() -> list[Sample]:
    channels = [xml.sema_channel(name, row) for name, row in zip(("I", "II", "V1"), _COUNTS, strict=False)]
    return [_one("sema.xml", _xml_text(xml.sema(xml.sema_waves("ECG_RHYTHMS", channels))))]


def _matlab() -> list[Sample]:
    samples = [
        _one("ecg.mat", _mat(), _seal_mat),
        _one("ecg.mat", _mat()),
        _one("ecg.mat", _seal_mat(_mat())),
        _one("ecg.mat", _mat("4")),
    ]
    return [sample._replace(stated=_STATED) for sample in samples]


def _structures() -> list[Sample]:
    """MATLAB's structures, plain, compressed and in HDF5."""
    variables = cpsc(_COUNTS[:3].astype(float), name=PATIENT.decode())
    stream = io.BytesIO()
    scipy.io.savemat(stream, variables)
    content = stream.getvalue()
    with tempfile.TemporaryDirectory() as folder:
        newer = save_73(Path(folder) / "ecg.mat", variables).read_bytes()
    samples = [_one("ecg.mat", content, _seal_mat), _one("ecg.mat", content), _one("ecg.mat", newer)]
    return [sample._replace(stated=_STATED) for sample in samples]


def _hdf5() -> list[Sample]:
    """Records of an array in HDF5, plain and in chunks, and a single signal."""
    tracings = np.pad(_SIGNAL.T[None], ((0, 2), (3, 4), (0, 0)))
    contents = []
    for options in ({}, {"chunks": (2, 20, 3), "compression": "gzip", "shuffle": True}):
        stream = io.BytesIO()
        with h5py.File(stream, "w") as file:
            file["exam_id"] = [11, 12, 13]
            file.create_dataset("tracings", data=tracings, **options)
            file.attrs["patient"] = PATIENT
        contents.append(stream.getvalue())
    single = io.BytesIO()
    with h5py.File(single, "w", libver="latest") as file:
        file["signal"], file["fs"] = _SIGNAL, 500.0
    samples = [*(Sample({"ecg.h5": content}, "ecg.h5/11") for content in contents), _one("ecg.h5", single.getvalue())]
    return [sample._replace(stated=_STATED) for sample in samples]


def _atc() -> list[Sample]:
    info = block(b"info", PATIENT.ljust(264, b"\0"))
    content = atc(info, block(b"fmt ", stated_format()), *lead_blocks(_COUNTS[:3]), block(b"avg ", b"\1\0" * 9))
    return [_one("ecg.atc", content, seal) for seal in (_seal_atc, bytes)]


def _mfer() -> list[Sample]:
    patient = mfer.item(mfer.NAME, PATIENT)
    missing = mfer.item(mfer.MISSING, b"\x00\x80") + mfer.item(mfer.OFFSET, b"\1\0")
    rhythm = mfer.recording(_COUNTS[:8], extra=missing)
    groups = mfer.channel(2, mfer.item(mfer.SAMPLE, b"\4")) + mfer.item(mfer.GROUP, mfer.lead(1, 0x40))
    later = mfer.recording(_COUNTS[:8, ::2], kind=9)
    return [
        _one("ecg.mwf", mfer.mfer(patient, rhythm, later)),
        _one("ecg.mwf", mfer.LITTLE + mfer.number(mfer.CHANNELS, 8) + mfer.recording(_COUNTS[:8], extra=groups)),
    ]


def _cardiosoft() -> list[Sample]:
    leads = [vendor_xml.cardiosoft_lead(name, row) for name, row in zip(("I", "II"), _COUNTS, strict=False)]
    text = vendor_xml.cardiosoft(vendor_xml.strip(leads, num_leads=2, num_samples=50))
    return [_one("ecg.xml", _xml_text(text)), _one("ecg.xml", _xml_text(text), _utf_16)]


def _eli() -> list[Sample]:
    channels = [vendor_xml.eli_channel(name, row) for name, row in zip(("I", "II", "V1"), _COUNTS, strict=False)]
    return [_one("ecg.xml", _xml_text(vendor_xml.eli(*channels)))]


def _numpy() -> list[Sample]:
    signal = _npy(_SIGNAL)
    return [
        _one("ecg.npz", signal, _seal_npz),
        _one("ecg.npz", _npy(np.array(_STATED["lead_names"])), partial(_seal_npz, member="lead_names")),
        _one("ecg.npz", _npy(np.array(b"uV")), partial(_seal_npz, member="unit")),
        _one("ecg.npz", _seal_npz(signal)),
        _one("ecg.npy", signal)._replace(stated=_STATED),
    ]


def _text() -> list[Sample]:
    mv = _COUNTS[:2].T / 1000
    patient = PATIENT.decode()
    rows = "".join(f"{2 * index},{one:.3f},{two:.3f}\n" for index, (one, two) in enumerate(mv))
    tabs = "".join(f"{one:.3f}\t{two:.3f}\n" for one, two in mv).replace(".", ",")
    blanks = "".join(f"{one:.3f} {two:.3f} \n" for one, two in mv)
    clocks = "".join(f"'0:00.{2 * index:03d}',{one:.3f}\n" for index, (one, _) in enumerate(mv))
    inf = (
        f"Patient = {patient}\nPoints for Each Channel = 50\nData Sampling Rate = 500 points/second\n"
        "Units: mmHg for pressure and mV for all others\nChannel Number  Channel Label\n1   I\n2   II\n"
    )
    wide = f"# Patient: {patient}\ntime (ms),I (µV),II (µV)\n{rows}".encode()
    return [
        _one("ecg.csv", f"# Patient: {patient}\ntime (ms),I (mV),II (mV)\n{rows}".encode()),
        _one("ecg.csv", f"Name\t{patient}\nAbtastrate\t500 Hertz\nEinheit\tµV\n\nI\tII\n{tabs}".encode()),
        _one("ecg.csv", f"'Elapsed time','MLII'\n'hh:mm:ss.mmm','mV'\n{clocks}".encode()),
        _one("ecg.csv", wide, _utf_16),
        _one("ecg.csv", _utf_16(wide)),
        _one("ecg.csv", f",0,1\n{rows}".encode())._replace(stated=_STATED | {"lead_names": ["I", "II"]}),
        Sample({"ecg.txt": blanks.encode(), "ecg.inf": inf.encode()}, "ecg.txt"),
    ]


def _one(name: str, content: bytes, seal: Callable[[bytes], bytes] = bytes) -> Sample:
    return Sample({name: content}, name, seal=seal)


SAMPLES = {
    "wfdb": _wfdb(),
    "dicom": _dicom(),
    "edf": _edf(),
    "scp": _scp(),
    "ishne": _ishne(),
    "muse": _muse(),
    "aecg": _aecg(),
    "sierra": _sierra(),
    "sema": _sema(),
    "matlab": _matlab(),
    "structures": _structures(),
    "hdf5": _hdf5(),
    "atc": _atc(),
    "mfer": _mfer(),
    "cardiosoft": _cardiosoft(),
    "eli": _eli(),
    "numpy": _numpy(),
    "text": _text(),
}
