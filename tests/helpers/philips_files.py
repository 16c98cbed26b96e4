"""Writers of Philips Sierra ECG files."""

import struct

import numpy as np

from modeling_enecg.leads import STANDARD_LEADS
from tests.helpers.xml_files import text_in_base64


def lzw_codes(data: bytes) -> list[int]:
    table = {bytes([value]): value for value in range(256)}
    codes, word = [], b""
    for value in data:
        longer = word + bytes([value])
        if longer in table:
            word = longer
            continue
        codes.append(table[word])
        if len(table) < 1023:
            table[longer] = len(table)
        word = bytes([value])
    return [*codes, table[word], 1023]


def xli_chunk(samples: np.ndarray) -> bytes:
    wide = samples.astype(np.int64)
    bends = -np.diff(wide, 2)
    stored = np.concatenate([wide[:2], bends[1:] + 64, [64]]).astype(np.uint16)
    codes = lzw_codes((stored >> 8).astype(np.uint8).tobytes() + (stored & 255).astype(np.uint8).tobytes())
    bits = "".join(f"{code:010b}" for code in codes)
    packed = int(bits.ljust(-(-len(bits) // 8) * 8, "0"), 2).to_bytes(-(-len(bits) // 8), "big")
    return struct.pack("<IHH", len(packed), 1, int(bends[0]) & 0xFFFF) + packed


def xli_residuals(counts: np.ndarray) -> np.ndarray:
    """What devices store of the limb leads, by formulas of integers."""
    i, ii, iii, avr, avl, avf = counts[:6].astype(np.int64)
    left = [ii - i - iii, -avr - (i + ii) // 2, (i - iii) // 2 - avl, (ii + iii) // 2 - avf]
    return np.concatenate([counts[:2], np.array(left).astype(np.int16), counts[6:]])


def sierra_1_03(text, method="XLI", flag="True", encoding="Base64", channels=12, duration=100):
    return (
        '<restingecgdata xmlns="http://www3.medical.philips.com"><documentinfo><documentversion>1.03</documentversion>'
        "</documentinfo><signalcharacteristics><samplingrate>500</samplingrate><signalresolution>5</signalresolution>"
        f"<numberchannelsallocated>{channels}</numberchannelsallocated></signalcharacteristics><waveforms>"
        f'<parsedwaveforms compressflag="{flag}" compressmethod="{method}" dataencoding="{encoding}" '
        f'durationperchannel="{duration}" nbitspersample="16">{text}</parsedwaveforms></waveforms></restingecgdata>'
    )


def sierra_1_04_01(text, compression='compression="XLI"', encoding="Base64", labels=STANDARD_LEADS, duration=100):
    return (
        '<?xml version="1.0" encoding="utf-16"?><restingecgdata xmlns="http://www3.medical.philips.com">'
        "<signalcharacteristics><samplingrate>1000</samplingrate><resolution>1</resolution></signalcharacteristics>"
        f'<waveforms><parsedwaveforms dataencoding="{encoding}" {compression} numberofleads="{len(labels)}" '
        f'leadlabels="{" ".join(labels)}" durationperchannel="{duration}" samplespersecond="500.0" resolution="2.5" '
        f'signaloffset="0" signalsigned="True" bitspersample="16">{text}</parsedwaveforms></waveforms>'
        "</restingecgdata>"
    )


def xli_text(rows) -> str:
    return text_in_base64(b"".join(map(xli_chunk, rows)))
