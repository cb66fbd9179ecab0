"""Writes the files of this folder. Needs duckdb, h5py, numpy, polars, scipy, pyarrow, pyedflib; run it in this folder.

The value of lead l at sample t is 100 l + t unless said otherwise, so that tests can tell where each came from.
"""

import duckdb
import h5py
import numpy as np
import polars
import pyarrow as pa
import pyarrow.parquet as pq
from scipy.io import savemat

LEADS = ["I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6"]
x = (100 * np.arange(12)[:, None] + np.arange(90)[None, :]).astype(np.float32)


def hdf5():
    with h5py.File("layouts.h5", "w") as f:
        f.create_dataset("contiguous", data=x)
        f.create_dataset("compressed", data=x, chunks=(5, 40), compression="gzip", shuffle=True, fletcher32=True)
        f.create_dataset("lzf", data=x, chunks=(12, 16), compression="lzf")
        f.create_dataset("odd", data=x.astype("u1")[:, :89], chunks=(7, 11), fletcher32=True)
        f.create_dataset("big_endian", data=x.astype(">i2"))
        f.create_dataset("half", data=x.astype("f2"), compression="gzip")
        f.create_dataset("double", data=x.astype(">f8"), chunks=(1, 90))
        f.create_dataset("i64", data=np.array([-(2**63), 2**63 - 1, 7]))
        f.create_dataset("u64", data=np.array([2**64 - 1, 7], dtype="u8"))
        f.create_dataset("bool", data=np.array([True, False, True]))
        f.create_dataset("scalar", data=np.float64(2.5))
        f.create_dataset("empty", data=h5py.Empty("f4"))
        f.create_dataset("nothing", shape=(0, 12), dtype="f4", maxshape=(None, 12), chunks=(4, 12))
        f.create_dataset("fixed", data=np.array([b"one", b"three"]))
        f.create_dataset("texts", data=["one", "", "drei \u00e4"], dtype=h5py.string_dtype())
        f.create_dataset("compound", data=np.zeros(3, dtype=[("a", "i4"), ("b", "f8")]))
        d = f.create_dataset("holes", shape=(9, 20, 12), dtype="f4", chunks=(2, 7, 5), fillvalue=-1.5, maxshape=(None, 20, 12))
        d[3] = np.arange(240).reshape(20, 12)
        d[7, 4] = 5
        f.create_dataset("never", shape=(3, 4), dtype="i4", fillvalue=9)
        for i in range(40):
            f.create_dataset(f"group/inner/{i:02}", data=np.arange(i + 1, dtype="i2"))
        f["again"] = f["contiguous"]
        f["soft"] = h5py.SoftLink("/contiguous")
        f.attrs["made"] = "by h5py"
        f["contiguous"].attrs["fs"] = 250
        f["contiguous"].attrs["leads"] = LEADS
        f["contiguous"].attrs["gains"] = np.array([1.5, 2.5], dtype="f4")
    with h5py.File("latest.h5", "w", libver="latest") as f:
        f.create_dataset("contiguous", data=x)
        f.create_dataset("single", data=x, chunks=x.shape)
        f.create_dataset("single_packed", data=x, chunks=x.shape, compression="gzip")
        f.create_dataset("fixed_array", data=x, chunks=(5, 40))
        f.create_dataset("fixed_array_packed", data=x, chunks=(5, 40), compression="gzip", shuffle=True)
        pages = np.arange(3000, dtype="i4")
        f.create_dataset("pages", data=pages, chunks=(2,), compression="gzip")
        f.create_dataset("extensible", data=x, chunks=(5, 40), maxshape=(None, 90))
    # One recording a file, as the SPH set has them: half precision, [lead, time], neither rate nor unit.
    with h5py.File("sph.h5", "w") as f:
        f.create_dataset("ecg", data=(x / 256).astype("f2"), compression="gzip")
    with h5py.File("said.h5", "w", userblock_size=512) as f:
        d = f.create_dataset("record/signal", data=(x[[1, 0, 6]].T * 10).astype("i2"))
        d.attrs["fs"] = 250.0
        d.attrs["unit"] = "uV"
        d.attrs["leads"] = ["II", "I", "V1"]


def matlab():
    values = {
        "feats": x.astype("f8"),
        "curr_sample_rate": 500,
        "text": "Sinus rhythm. Normal ECG \u00e4",
    }
    savemat("feats.mat", values)
    savemat("feats_packed.mat", values, do_compression=True)
    savemat(
        "kinds.mat",
        {
            "i8": np.array([[-1, 2], [3, 4]], dtype="i1"),
            "u16": np.array([[1, 65535]], dtype="u2"),
            "u64": np.array([[2**53]], dtype="u8"),
            "single": np.float32(1.5),
            "complex": np.array([1 + 2j]),
            "logical": np.array([True, False]),
            "empty": np.zeros((0, 3)),
            "cube": np.arange(24.0).reshape(2, 3, 4),
            "lines": np.array(["abc", "de "]),
            "cell": np.array([1.0, "two", np.array([3, 4])], dtype=object),
            "nested": {"a": {"b": {"c": np.array([[7.0]])}}, "t": "text"},
            "structs": np.array([(1.0, "x"), (2.0, "y")], dtype=[("n", object), ("s", object)]),
        },
        do_compression=True,
    )
    savemat("level4.mat", {"val": (x * 10).astype("i2"), "fs": 250.0, "name": "text"}, format="4")


def archives():
    np.savez("said.npz", signal=x[:3], rate_hz=500, leads=np.array(["I", "II", "V1"]))
    np.savez_compressed("packed.npz", other=x.T, notes=np.array([1.0]))


def tables():
    columns = {"time_s": np.arange(90) / 250.0, "I": x[0], "V1": x[6].astype("f8"), "aVR": x[3].astype("i2")}
    pq.write_table(pa.table(columns), "time.parquet", compression="snappy", row_group_size=40)
    table = pa.table({"II (uV)": pa.array([1000.0, None, 3000.0]), "note": pa.array(["a", "b", "c"]), "V2": pa.array([1, 2, 3])})
    table = table.replace_schema_metadata({"rate_hz": "250", "unit": "mV"})
    pq.write_table(table, "metadata.parquet", compression="zstd")

    # Every kind of number in every encoding of it, without and with nulls (where t is a multiple of 7).
    def typed(values, kind):
        return pa.array(values.astype(kind), mask=np.arange(90) % 7 == 0)

    kinds = {
        "I": x[0].astype("i4"), "II": typed(x[1], "i2"), "III": typed(x[2], "i8"), "aVR": x[3].astype("u4"), "aVL": typed(x[4], "u2"),
        "aVF": x[5].astype("f4"), "V1": typed(x[6], "f8"), "V2": typed(x[7], "f4"), "V3": x[8].astype("f2"), "V4": x[9].astype("u8"),
        "time": pa.array((np.arange(90) * 4000).astype("M8[us]")),
        "lists": [[1.0, 2.0]] * 90, "day": pa.array(np.arange(90).astype("M8[D]")), "done": [True] * 90,
    }
    table = pa.table(kinds)
    integers = {name: "DELTA_BINARY_PACKED" for name in ["I", "II", "III", "aVR", "aVL", "V4", "time"]}
    split = {name: "BYTE_STREAM_SPLIT" for name in ["aVF", "V1", "V2", "V3"]}
    pq.write_table(table, "encodings.parquet", compression="gzip", use_dictionary=False, data_page_version="2.0",
                   column_encoding=integers | split, write_page_checksum=True, data_page_size=200)
    pq.write_table(table, "plain.parquet", compression="none", use_dictionary=False, data_page_size=100)
    # Codecs that few writers choose.
    for codec in ["brotli", "lz4"]:
        table = pa.table({"I": x[0], "V1": x[6].astype("f8"), "aVR": x[3].astype("i4")})
        pq.write_table(table, f"{codec}.parquet", compression=codec, data_page_version="2.0" if codec == "lz4" else "1.0")
    duckdb.from_arrow(pa.table({n: v for n, v in zip(LEADS, x)})).write_parquet("duckdb.parquet")
    polars.DataFrame({n: v for n, v in zip(LEADS, x)}).write_parquet("polars.parquet")


def edf():
    import datetime
    import pyedflib

    f = pyedflib.EdfWriter("rates.edf", 4, file_type=pyedflib.FILETYPE_EDFPLUS)
    f.setPatientCode("MCH-17")
    f.setPatientName("Harry")
    f.setSex(0)
    f.setBirthdate(datetime.date(1951, 5, 2))
    f.setStartdatetime(datetime.datetime(2002, 3, 2, 10, 0, 0))
    for i, (label, unit, rate, limit) in enumerate(
        [("ECG I", "uV", 250, 3276.7), ("EKG II", "uV", 250, 3276.7), ("Resp", "ohm", 25, 100), ("Lead V1", "mV", 500, 5)]
    ):
        f.setSignalHeader(
            i,
            dict(label=label, dimension=unit, sample_frequency=rate, physical_min=-limit, physical_max=limit,
                 digital_min=-32767, digital_max=32767, transducer="", prefilter="HP:0.05Hz" if i == 0 else ""),
        )
    t = np.arange(750)
    f.writeSamples([t.astype("f8"), 2.0 * t, np.zeros(75), np.linspace(-1, 1, 1500)])
    f.writeAnnotation(0.5, -1, "N")
    f.writeAnnotation(1.25, 0.5, "noise@@ECG I")
    f.writeAnnotation(2.0, -1, "Lights off")
    f.close()


hdf5()
matlab()
archives()
tables()
edf()
