"""Writers of GE MUSE, HL7 aECG and Sema XML files."""

import base64
import zlib

EIGHT = ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")


def text_in_base64(data: bytes) -> str:
    return base64.encodebytes(data).decode()


def muse_lead(name, samples, units_per_bit="4.88", units="MICROVOLTS", **fields):
    data = samples.astype("<i2").tobytes()
    fields = {
        "LeadSampleCountTotal": len(samples),
        "LeadAmplitudeUnitsPerBit": units_per_bit,
        "LeadAmplitudeUnits": units,
        "LeadID": name,
        "LeadDataCRC32": zlib.crc32(data),
        "WaveFormData": text_in_base64(data),
    } | fields
    return f"<LeadData>{''.join(f'<{tag}>{value}</{tag}>' for tag, value in fields.items())}</LeadData>"


def muse_waves(leads, kind="Rhythm", base=500, exponent=0):
    return (
        f"<Waveform><WaveformType>{kind}</WaveformType><SampleBase>{base}</SampleBase>"
        f"<SampleExponent>{exponent}</SampleExponent>{''.join(leads)}</Waveform>"
    )


def muse(*waves, doctype='<!DOCTYPE RestingECG SYSTEM "restecg.dtd">'):
    return f'<?xml version="1.0"?>{doctype}<RestingECG>{"".join(waves)}</RestingECG>'


def eight_leads(counts, **options):
    return [muse_lead(name, row, **options) for name, row in zip(EIGHT, counts, strict=False)]


def aecg_time(value="0.002", unit="s", head='value="20021122091000.000"', code="TIME_ABSOLUTE"):
    unit = f'unit="{unit}"' if unit else ""
    return (
        f'<sequence><code code="{code}"/><value><head {head}/><increment value="{value}" {unit}/></value></sequence>'
    )


def aecg_lead(name, samples, scale="2.5", unit="uV", origin='<origin value="0" unit="uV"/>', code="MDC_ECG_LEAD_"):
    digits = "\n".join(map(str, samples))
    value = f'{origin}<scale value="{scale}" unit="{unit}"/><digits>{digits}</digits>'
    return f'<sequence><code code="{code}{name}"/><value>{value}</value></sequence>'


def aecg_set(*sequences):
    components = "".join(f"<component>{each}</component>" for each in sequences)
    return f"<component><sequenceSet>{components}</sequenceSet></component>"


def aecg(*sets, code="RHYTHM", before=""):
    return (
        f'<AnnotatedECG xmlns="urn:hl7-org:v3">{before}<component><series><code code="{code}"/>'
        f"{''.join(sets)}</series></component></AnnotatedECG>"
    )


def sema_waves(kind, channels, rate=500, exponent=1, units="UV", per_bit="1.0"):
    return (
        f"<wavedata><type>{kind}</type><resolution><samplerate><exponent>{exponent}</exponent><value>{rate}</value>"
        f"</samplerate><yres><unitperbit>{per_bit}</unitperbit><units>{units}</units></yres></resolution>"
        f"{''.join(channels)}</wavedata>"
    )


def sema_channel(name, samples, count=None):
    return (
        f"<channel><name>{name}</name><data>{','.join(map(str, samples))}</data><datastype>COMMASEPARATE</datastype>"
        f"<samplecount>{len(samples) if count is None else count}</samplecount></channel>"
    )


def sema(*waves):
    root = "com.xiriuz.sema.xml.schillerEDI.SchillerEDI"
    return f"\ufeff<{root}><eventdata><event>{''.join(waves)}</event></eventdata></{root}>"
