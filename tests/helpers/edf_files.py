"""Writers of EDF, EDF+ and BDF files."""

import numpy as np


def channel(label, num_samples, unit="uV", physical=(-3276.8, 3276.7), digital=(-32768, 32767)):
    return {"label": label, "samples": num_samples, "unit": unit, "physical": physical, "digital": digital}


def edf(channels, records, seconds="1", kind="", version="0", num_records=None, header_bytes=None):
    """Write a file; `records` are lists of each channel's bytes."""
    columns = [
        (16, [each["label"] for each in channels]),
        (80, [""] * len(channels)),
        (8, [each["unit"] for each in channels]),
        *[(8, [each[name][end] for each in channels]) for name in ("physical", "digital") for end in (0, 1)],
        (80, [""] * len(channels)),
        (8, [each["samples"] for each in channels]),
        (32, [""] * len(channels)),
    ]
    size = 256 * (1 + len(channels)) if header_bytes is None else header_bytes
    count = len(records) if num_records is None else num_records
    first = [(8, version), (80, "X X X X"), (80, ""), (8, "01.01.20"), (8, "00.00.00"), (8, size), (44, kind)]
    fields = [*first, (8, count), (8, seconds), (4, len(channels))]
    fields += [(width, text) for width, texts in columns for text in texts]
    header = b"".join(str(text).encode("latin-1").ljust(width) for width, text in fields)
    return header + b"".join(b"".join(record) for record in records)


def bdf(channels, records, **options):
    content = edf(channels, records, **options)
    return b"\xffBIOSEMI" + content[8:]


def int16(values):
    return np.asarray(values, dtype="<i2").tobytes()


def int24(values):
    return b"".join(int(value).to_bytes(3, "little", signed=True) for value in values)


def onset(seconds, num_samples=20, sample_bytes=2):
    return f"+{seconds}\x14\x14\0".encode().ljust(num_samples * sample_bytes, b"\0")


def annotations(kind="EDF"):
    return channel(f"{kind} Annotations", 20, "", (-1, 1))


def records_of(*signals, length=100):
    starts = range(0, len(signals[0]), length)
    return [[int16(signal[start : start + length]) for signal in signals] for start in starts]
