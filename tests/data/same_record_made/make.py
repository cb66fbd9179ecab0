"""Writes record A0002 of ../same_record in further formats. Needs h5py, numpy, polars, pyarrow, pydicom, scipy; run it in this folder."""

import h5py
import numpy as np
import polars
import pyarrow as pa
import pyarrow.parquet as pq
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, GeneralECGWaveformStorage, generate_uid
from scipy.io import loadmat, savemat

LEADS = ["I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6"]
uv = loadmat("../same_record/A0002.mat")["val"].astype("i2")
mv = uv / 1000

np.savez_compressed("A0002.npz", ecg=uv, fs=500, leads=np.array(LEADS), unit=np.array("uV"))
savemat("A0002.mat", {"feats": mv, "curr_sample_rate": 500}, do_compression=True)
with h5py.File("A0002.h5", "w") as f:
    d = f.create_dataset("ecg", data=uv, chunks=(1, 1000), compression="gzip", shuffle=True)
    d.attrs["fs"] = 500.0
    d.attrs["unit"] = "uV"
    d.attrs["leads"] = LEADS
# Columns in another order, as tables have no order of their own; times as f64.
order = [11, 0, 3, 1, 2, 5, 4, 6, 7, 8, 9, 10]
columns = {"time_s": np.arange(uv.shape[1]) / 500} | {f"{LEADS[i]} (uV)": uv[i] for i in order}
pq.write_table(pa.table(columns), "A0002.parquet", compression="snappy")
polars.DataFrame({n: v.astype("f4") for n, v in zip(LEADS, mv)}).write_parquet("A0002_f32.parquet")


def code(value, scheme, meaning):
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


# SCP-ECG numbers of the leads, as DICOM's context group 3001 has them.
numbers = [1, 2, 61, 62, 63, 64, 3, 4, 5, 6, 7, 8]
channels = []
for lead, number in zip(LEADS, numbers):
    channel = Dataset()
    channel.ChannelSourceSequence = [code(f"5.6.3-9-{number}", "SCPECG", f"Lead {lead}")]
    channel.ChannelSensitivity = 1
    channel.ChannelSensitivityUnitsSequence = [code("uV", "UCUM", "microvolt")]
    channel.ChannelSensitivityCorrectionFactor = 1
    channel.ChannelBaseline = 0
    channel.WaveformBitsStored = 16
    channels.append(channel)
group = Dataset()
group.WaveformOriginality = "ORIGINAL"
group.NumberOfWaveformChannels = 12
group.NumberOfWaveformSamples = uv.shape[1]
group.SamplingFrequency = 500
group.ChannelDefinitionSequence = channels
group.WaveformBitsAllocated = 16
group.WaveformSampleInterpretation = "SS"
group.WaveformData = uv.T.tobytes()
ds = Dataset()
ds.SOPClassUID = GeneralECGWaveformStorage
ds.SOPInstanceUID = generate_uid(entropy_srcs=["A0002"])
ds.Modality = "ECG"
ds.WaveformSequence = [group]
ds.file_meta = FileMetaDataset()
ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
ds.save_as("A0002.dcm", enforce_file_format=True)
