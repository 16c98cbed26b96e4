"""Writes ECGs in GE's CardioSoft XML and in the ELI XML of Mortara and Welch Allyn."""

import base64


def cardiosoft_lead(name, samples):
    """Write a lead as CardioSoft does: some numbers a line, each followed by a comma but the last."""
    lines = [",".join(map(str, samples[begin : begin + 20])) for begin in range(0, len(samples), 20)]
    return f'<WaveformData lead="{name}">' + ",\n\t\t\t".join(lines) + "</WaveformData>"


def strip(leads, rate=500, resolution=5, units="uVperLsb", num_leads=None, num_samples=None):
    """Write the rhythm of some leads; the numbers of leads and samples only where they are given."""
    counts = "".join(
        f"<{field}>{count}</{field}>"
        for field, count in (("NumberOfLeads", num_leads), ("ChannelSampleCountTotal", num_samples))
        if count is not None
    )
    return (
        f'<StripData>{counts}<SampleRate units="Hz">{rate}</SampleRate>'
        f'<Resolution units="{units}">{resolution}</Resolution>{"".join(leads)}</StripData>'
    )


def cardiosoft(*parts):
    doctype = '<!DOCTYPE CardiologyXML SYSTEM "CardiologyXML.dtd">'
    kind = "<ObservationType>RestECG</ObservationType>"
    return f'<?xml version="1.0"?>{doctype}<CardiologyXML>{kind}{"".join(parts)}</CardiologyXML>'


def eli_channel(name, samples, rate=1000, units_per_mv=400, **attributes):
    """Write a channel of ELI XML."""
    attributes = {
        "OFFSET": 0,
        "BITS": 16,
        "FORMAT": "SIGNED",
        "UNITS_PER_MV": units_per_mv,
        "DURATION": len(samples),
        "SAMPLE_FREQ": rate,
        "NAME": name,
        "ENCODING": "BASE64",
        "DATA": base64.b64encode(samples.astype("<i2").tobytes()).decode(),
    } | attributes
    written = [f'{key}="{value}"' for key, value in attributes.items() if value is not None]
    return f"<CHANNEL {' '.join(written)}/>"


def eli(*channels, before=""):
    return f'<?xml version="1.0"?><ECG ACQUISITION_TIME="20200101120000">{before}{"".join(channels)}</ECG>'
