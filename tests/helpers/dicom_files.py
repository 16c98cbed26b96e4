"""Writers of DICOM waveforms."""

import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    ExplicitVRLittleEndian,
    TwelveLeadECGWaveformStorage,
)

pydicom = pytest.importorskip("pydicom")
LEAD_I, LEAD_II, LEAD_V1 = ("SCPECG", "5.6.3-9-1"), ("SCPECG", "5.6.3-9-2"), ("SCPECG", "5.6.3-9-3")


def coded(value, scheme="UCUM", meaning=""):
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def channel(source=LEAD_I, meaning="", sensitivity=2.5, unit="uV", correction=1.0, baseline=0.0):
    item = Dataset()
    item.ChannelSourceSequence = [coded(source[1], source[0], meaning)]
    if sensitivity is not None:
        item.ChannelSensitivity = sensitivity
        item.ChannelSensitivityUnitsSequence = [coded(unit)]
        item.ChannelSensitivityCorrectionFactor = correction
        item.ChannelBaseline = baseline
    item.WaveformBitsStored = 16
    return item


def group(samples, channels, rate=500, label=None, originality="ORIGINAL", kind=(16, "SS"), padding=None, offset=None):
    """Write a multiplex group of `samples` of shape `(num_channels, num_samples)`, in the byte order of their type."""
    item = Dataset()
    item.WaveformOriginality = originality
    item.NumberOfWaveformChannels, item.NumberOfWaveformSamples = samples.shape
    item.SamplingFrequency = rate
    if label:
        item.MultiplexGroupLabel = label
    if offset is not None:
        item.MultiplexGroupTimeOffset = offset
    item.ChannelDefinitionSequence = channels
    item.WaveformBitsAllocated, item.WaveformSampleInterpretation = kind
    if padding is not None:
        item.add_new("WaveformPaddingValue", "OW" if kind[0] == 16 else "OB", padding)
    item.add_new("WaveformData", "OW" if kind[0] == 16 else "OB", samples.T.tobytes())
    return item


def dicom(path, groups, sop_class=TwelveLeadECGWaveformStorage, syntax=ExplicitVRLittleEndian):
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = sop_class, "1.2.3"
    dataset.PatientName = "Nobody Nowhere"
    if groups:
        dataset.WaveformSequence = groups
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.file_meta.MediaStorageSOPClassUID = sop_class
    dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    pydicom.dcmwrite(path, dataset, enforce_file_format=True)
    return path
