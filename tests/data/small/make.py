"""Writes twenty small files of each format, so that tests can cut them at every byte and change every byte.

Needs h5py, numpy, pyarrow, pydicom, scipy; run it in this folder. Nothing here was recorded from a person.
"""

import base64
import os
import shutil
import struct

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID
from scipy.io import savemat

LEADS = ["I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6"]
rng = np.random.default_rng(7)


def signal(leads, time):
    """Whole numbers of a microvolt, `[lead, time]`."""
    return np.cumsum(rng.integers(-40, 41, (leads, time)), axis=1).astype("i2")


def write(folder, n, extension, data):
    os.makedirs(folder, exist_ok=True)
    path = f"{folder}/{n:02}.{extension}"
    if data is not None:
        with open(path, "wb") as f:
            f.write(data if isinstance(data, bytes) else data.encode())
    return path


def csv(n):
    separator = ",;\t"[n % 3]
    leads = LEADS[: 1 + n % 5]
    unit = ["", " (uV)", " [mV]", " (V)"][n % 4]
    time = [None, ("time", 0.002), ("time (ms)", 2), ("t", 0.002), ("Time_us", 2000)][n % 5]
    titles = ([time[0]] if time else ["sample"]) + [lead + unit for lead in leads]
    lines = [f"# made file {n}"] * (n % 2) + [separator.join(titles)]
    for t, row in enumerate(signal(len(leads), 8 + n).T):
        cells = [f"{t * time[1]:g}" if time else str(t)]
        cells += ["" if t == 3 and n % 6 == 0 else f"{v / 1000:.3f}" for v in row]
        line = separator.join(cells)
        lines.append(line.replace(".", ",") if separator == ";" and n % 2 else line)
    write("csv", n, "csv", "\ufeff" * (n % 7 == 0) + ["\n", "\r\n"][n // 10].join(lines) + "\n")


def npy_bytes(n, leads):
    x = signal(leads, 7 + n)
    x = x if n % 2 else x.T
    kind = ["<f4", "<f8", "<i2", ">f4", ">i2"][n % 5]
    x = (np.asfortranarray if n % 3 else np.ascontiguousarray)(x.astype(kind))
    import io

    out = io.BytesIO()
    np.lib.format.write_array(out, x, version=[(1, 0), (2, 0), (3, 0)][n % 3])
    return out.getvalue()


def npy(n):
    write("npy", n, "npy", npy_bytes(n, 2))


def npz(n):
    x = signal(2, 8 + n).astype(["f4", "f8", "i2"][n % 3])
    arrays = {["signal", "ecg", "data", "x", "other"][n % 5]: x if n % 2 else x.T}
    arrays[["rate_hz", "fs", "sampling_rate"][n % 3]] = [500, 250.0, np.array([100])][n % 3]
    arrays["leads"] = np.array(["I", "V2"]) if n % 2 else np.array([b"II", b"V1"])
    if n % 4 == 0:
        arrays["unit"] = np.array("uV")
    path = write("npz", n, "npz", None)
    (np.savez_compressed if n % 2 else np.savez)(path, **arrays)


def mat4(n):
    x = signal(12, 4 + n % 6).astype(["i2", "f4", "f8", "i4"][n % 4])
    values = {["val", "feats", "ecg"][n % 3]: x if n % 2 else x.T, "fs": float(100 + n), "name": f"record {n}"}
    if n % 5 == 0:
        del values["name"]
    path = write("mat4", n, "mat", None)
    savemat(path, values, format="4")
    if n % 7 == 3:
        # Big-endian, as other machines wrote it: one matrix of doubles.
        values = np.asarray(x, dtype=">f8")
        write("mat4", n, "mat", struct.pack(">5i", 1000, *values.shape, 0, 4) + b"val\0" + values.T.tobytes())


def mat5(n):
    x = signal(12, 4 + n % 8) / 1000
    if n % 4 == 0:
        values = {"ECG": {"sex": ["Male", "Female"][n % 8 // 4], "age": 40.0 + n, "data": x}}
    else:
        x = x if n % 2 else x.T
        values = {"feats": x.astype(["f4", "f8"][n % 2]), "curr_sample_rate": 400 + n}
        if n % 3 == 0:
            values["text"] = "Sinus rhythm \u00e4"
        if n % 5 == 0:
            values |= {"cell": np.array([1.0, "two"], dtype=object), "empty": np.zeros((0, 2)), "yes": np.array([True])}
    savemat(write("mat5", n, "mat", None), values, do_compression=n % 3 != 1)


def hdf5(n):
    x = signal(12, 13 + n).astype(["i2", "f4", "f8", ">i2", "f2"][n % 5])
    x = x if n % 2 else x.T
    options = [{}, {"chunks": (4, 4)}, {"chunks": (4, 4), "compression": "gzip"}, {"compression": "gzip", "shuffle": True, "fletcher32": True}]
    with h5py.File(write("hdf5", n, "h5", None), "w", libver=["earliest", "latest"][n // 10]) as f:
        d = f.create_dataset(["ecg", "record/signal", "tracings"][n % 3], data=x, **options[n % 4])
        if n % 2:
            d.attrs["fs"] = 500.0
        if n % 3:
            d.attrs["unit"] = "uV"
        if n % 5 == 0:
            d.attrs["leads"] = LEADS


def edf(n):
    plus = n % 2 == 1
    signals = 1 + n % 3
    per_record = 4 + n % 5
    records = 1 + n % 4
    labels = [["I", "ECG II", "EKG V1", "Lead aVR"][i] for i in range(signals)]
    units = [["uV", "mV", "uV"][(n + i) % 3] for i in range(signals)]
    counts = [per_record] * signals
    if plus:
        labels, units, counts = labels + ["EDF Annotations"], units + [""], counts + [20]
    total = len(labels)

    def fields(width, values):
        return "".join(f"{value:<{width}}"[:width] for value in values)

    patient = "MCH-0234567 F 02-MAY-1951 Haagse_Harry" if plus else "unknown patient"
    head = fields(8, ["0"]) + fields(80, [patient]) + fields(80, ["Startdate 02-MAR-2002 X X X" if plus else "a recording"])
    head += "02.03.0210.00.00" + fields(8, [256 * (total + 1)]) + fields(44, ["EDF+C" if plus else ""])
    head += fields(8, [records]) + fields(8, [["0.01", "0.02", "1"][n % 3]]) + fields(4, [total])
    head += fields(16, labels) + fields(80, [""] * total) + fields(8, units)
    limit = 32767
    head += fields(8, [-limit] * total) + fields(8, [limit] * total) + fields(8, [-limit] * total) + fields(8, [limit] * total)
    head += fields(80, ["HP:0.05Hz"] * total) + fields(8, counts) + fields(32, [""] * total)
    body = b""
    for record in range(records):
        for label, count in zip(labels, counts):
            if label == "EDF Annotations":
                start = record * float(["0.01", "0.02", "1"][n % 3])
                text = f"+{start:g}\x14\x14\0+{start:g}\x15{0.5}\x14N\x14\0".encode()
                body += text[: 2 * count].ljust(2 * count, b"\0")
            else:
                body += signal(1, count)[0].tobytes()
    write("edf", n, "edf", head.encode() + body)


def parquet(n):
    x = signal(1 + n % 3, 6 + n)
    columns = {f"{lead} (uV)": values.astype(["i2", "f4", "f8", "i8", "u4"][n % 5]) for lead, values in zip(LEADS, x)}
    if n % 4 == 1:
        columns = {"time_s": np.arange(x.shape[1]) / 500} | columns
    if n % 4 == 2:
        columns["V6"] = pa.array(np.arange(x.shape[1]) / 8, mask=np.arange(x.shape[1]) % 3 == 0)
    table = pa.table(columns)
    if n % 4 == 3:
        table = table.replace_schema_metadata({"rate_hz": "250"})
    pq.write_table(
        table, write("parquet", n, "parquet", None), compression=["none", "snappy", "gzip", "zstd"][n % 4], use_dictionary=n % 3 == 0,
        data_page_version=["1.0", "2.0"][n % 2], row_group_size=[None, 9][n // 15], store_schema=False, write_statistics=n % 5 == 0,
        write_page_checksum=n % 7 == 0,
    )


def code(value, scheme):
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, "a name"
    return item


def dicom(n):
    def group(samples, leads, originality):
        x = signal(leads, samples)
        g = Dataset()
        g.WaveformOriginality = originality
        g.NumberOfWaveformChannels, g.NumberOfWaveformSamples = leads, samples
        g.SamplingFrequency = [500, 250, 1000][n % 3]
        g.ChannelDefinitionSequence = []
        for i in range(leads):
            c = Dataset()
            c.ChannelSourceSequence = [code(f"2:{i + 1}", "MDC") if n % 2 else code(f"5.6.3-9-{i + 1}", "SCPECG")]
            c.ChannelSensitivity, c.ChannelSensitivityCorrectionFactor, c.ChannelBaseline = [1, 2.5, 1.25][n % 3], 1, n % 2 * 5
            c.ChannelSensitivityUnitsSequence = [code(["uV", "mV"][n % 5 == 4], "UCUM")]
            c.WaveformBitsStored = 16
            g.ChannelDefinitionSequence.append(c)
        g.WaveformBitsAllocated, g.WaveformSampleInterpretation = 16, "SS"
        g.WaveformData = x.T.astype(">i2" if n % 4 == 2 else "<i2").tobytes()
        return g

    ds = Dataset()
    ds.SOPClassUID = UID("1.2.840.10008.5.1.4.1.1.9." + ["1.1", "1.2", "1.3"][n % 3])
    ds.SOPInstanceUID = UID(f"1.2.3.{n + 1}")
    ds.PatientName, ds.PatientID, ds.PatientBirthDate = "Doe^Jane", f"MRN-{n}", "19510502"
    ds.PatientSex, ds.PatientAge = "F", "051Y"
    ds.WaveformSequence = [group(4 + n, 1 + n % 3, "ORIGINAL")]
    if n % 4 == 0:
        ds.WaveformSequence.append(group(3, 1 + n % 3, "DERIVED"))
    ds.file_meta = FileMetaDataset()
    syntax = ["1.2.840.10008.1.2.1", "1.2.840.10008.1.2", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99"][n % 4]
    ds.file_meta.TransferSyntaxUID = UID(syntax)
    ds.save_as(write("dicom", n, "dcm", None), enforce_file_format=True)


def encoded(text, n):
    if n % 5 == 4:
        return b"\xff\xfe" + f'<?xml version="1.0" encoding="UTF-16"?>{text}'.encode("utf-16-le")
    head = ["", '<?xml version="1.0"?>', '<?xml version="1.0" encoding="ISO-8859-1"?><!-- made -->\n'][n % 3]
    return (head + text).encode("latin-1")


def muse(n):
    waveforms = ""
    for kind, samples in [("Median", 3), ("Rhythm", 5 + n)][n % 2 :]:
        leads = ""
        for lead in ["I", "II", "V1", "V2"][: 2 + n % 3]:
            data = base64.b64encode(signal(1, samples)[0].tobytes()).decode()
            leads += f"<LeadData><LeadSampleCountTotal>{samples}</LeadSampleCountTotal><LeadAmplitudeUnitsPerBit>4.88</LeadAmplitudeUnitsPerBit><LeadAmplitudeUnits>{['MICROVOLTS', 'MILLIVOLTS'][n % 7 == 6]}</LeadAmplitudeUnits><LeadID>{lead}</LeadID><LeadSampleSize>2</LeadSampleSize><WaveFormData>\n{data}\n</WaveFormData></LeadData>"
        waveforms += f"<Waveform><WaveformType>{kind}</WaveformType><SampleBase>{[500, 250][n % 2]}</SampleBase>{leads}</Waveform>"
    person = f"<PatientDemographics><PatientID>MRN{n}</PatientID><PatientAge>{40 + n}</PatientAge><Gender>MALE</Gender><PatientLastName>Doe</PatientLastName></PatientDemographics>"
    said = "<Diagnosis><DiagnosisStatement><StmtText>Sinus &amp; rhythm</StmtText></DiagnosisStatement></Diagnosis>" if n % 3 else "<!-- none -->"
    write("muse", n, "xml", encoded(f"<RestingECG>{person}{said}{waveforms}</RestingECG>", n))


def philips(n):
    leads, samples = 2 + n % 3, 4 + n % 5
    x = signal(leads, samples)
    labels = ["II", "V1", "V2", "V3"][:leads]
    if n % 2:
        data = b""
        for row in x:
            # High bytes, then low bytes, in codes of ten bits; 1023 ends.
            codes = [0] * samples + [int(v) & 63 for v in row] + [1023]
            bits = "".join(f"{c:010b}" for c in codes)
            bits = bits.ljust(-(-len(bits) // 8) * 8, "0")
            packed = bytes(int(bits[i : i + 8], 2) for i in range(0, len(bits), 8))
            data += struct.pack("<IHh", len(packed), 1, n) + packed
    else:
        data = x.astype("<i2").tobytes()
    text = base64.b64encode(data).decode()
    compression = ["Uncompressed", "XLI"][n % 2]
    waves = f'<waveforms><parsedwaveforms dataencoding="Base64" compression="{compression}" numberofleads="{leads}" leadlabels="{" ".join(labels)}" samplespersecond="500" resolution="{[5, 2.5][n % 2]}" durationperchannel="{samples * 2}">{text}</parsedwaveforms></waveforms>'
    person = f'<patient><generalpatientdata><patientid>MRN{n}</patientid><name><lastname>Doe</lastname></name><age><years>{40 + n}</years></age><sex>Male</sex></generalpatientdata></patient>'
    said = f'<interpretations><interpretation><statement><statementcode>SR</statementcode><leftstatement>Sinus rhythm</leftstatement></statement></interpretation></interpretations>' if n % 3 else ""
    write("philips", n, "xml", encoded(f"<restingecgdata>{person}{waves}{said}</restingecgdata>", n))


def aecg(n):
    unit, increment = [("s", "0.002"), ("ms", "2")][n % 2]
    sequences = f'<component><sequence><code code="TIME_{["RELATIVE", "ABSOLUTE"][n % 3 == 2]}"/><value><head value="0" unit="s"/><increment value="{increment}" unit="{unit}"/></value></sequence></component>'
    for lead, row in zip(LEADS, signal(1 + n % 4, 4 + n)):
        digits = " ".join(map(str, row))
        sequences += f'<component><sequence><code code="MDC_ECG_LEAD_{lead}" codeSystem="2.16.840.1.113883.6.24"/><value xsi:type="SLIST_PQ"><origin value="0" unit="uV"/><scale value="{[2.5, 5][n % 2]}" unit="uV"/><digits>{digits}</digits></value></sequence></component>'
    person = f'<componentOf><timepointEvent><componentOf><subjectAssignment><subject><trialSubject><id root="1" extension="MRN{n}"/><subjectDemographicPerson><name>Doe</name><administrativeGenderCode code="F"/><birthTime value="19510502"/></subjectDemographicPerson></trialSubject></subject></subjectAssignment></componentOf></timepointEvent></componentOf>'
    series = f'<component><series><code code="RHYTHM"/><component><sequenceSet>{sequences}</sequenceSet></component></series></component>'
    write("aecg", n, "xml", encoded(f'<AnnotatedECG xmlns="urn:hl7-org:v3" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><effectiveTime><low value="20020302"/></effectiveTime>{person}{series}</AnnotatedECG>', n))


FORMATS = [csv, npy, npz, mat4, mat5, hdf5, edf, parquet, dicom, muse, philips, aecg]
for make in FORMATS:
    shutil.rmtree(make.__name__, ignore_errors=True)
    for n in range(20):
        make(n)
