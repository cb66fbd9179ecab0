"""Writes lead-arrays, headers, objects and a file of named-leads from named-leads/sig_name.npz. Needs h5py, numpy and scipy; run it in this folder.

MATLAB 7.3 is HDF5 after 512 bytes of the user, with dimensions in reverse order, texts as 16-bit codes and cells as references to `#refs#`.
"""

import h5py
import numpy as np
from scipy.io import savemat

source = np.load("named-leads/sig_name.npz")
names = [str(name) for name in source["sig_name"]]
matrix = next(source[key] for key in source if source[key].ndim == 2).astype("f8")
matrix = (matrix if matrix.shape[0] == 12 else matrix.T)[:, :600]
uv = np.rint(1000 * matrix).astype("i2")
leads = dict(zip(names, uv))
# So large a text that nobody needs it.
notes = "n" * (1 << 20 | 16)


def arrays(kind):
    return f"lead-arrays/{kind}"


def packed(group, name, values):
    return group.create_dataset(name, data=values, compression="gzip", shuffle=True, track_times=False)


with h5py.File(arrays("group.h5"), "w") as f:
    f.attrs["fs"] = 500
    for name, row in leads.items():
        packed(f, f"ecg_rest/{name}", (row / 1000).astype("f4"))
# Two strips of each lead: the recording and the average beat. Unit with every array, rate with the group, a gap in the middle of the names.
with h5py.File(arrays("strips.h5"), "w") as f:
    for name, row in leads.items():
        packed(f, f"ukb_ecg_rest/strip_{name}/instance_0", row).attrs["units"] = "uV"
        packed(f, f"ukb_ecg_rest/median_{name}/instance_0", row[:300]).attrs["units"] = "uV"
    f["ukb_ecg_rest"].attrs["sampling_frequency"] = np.array([500.0])
    packed(f, "ukb_ecg_rest/heart_rate", np.arange(600))
# Each lead with a gain of its own.
with h5py.File(arrays("gains.h5"), "w") as f:
    for at, (name, row) in enumerate(leads.items()):
        gain = 1000 * (1 + at % 3)
        own = packed(f, f"record/{name.lower()}", row * (gain // 1000) + np.int16(at))
        own.attrs["units"], own.attrs["gain"], own.attrs["adc_zero"], own.attrs["fs"] = "mV", gain, at, 500
savemat(arrays("level5.mat"), {name: row / 1000 for name, row in leads.items()} | {"fs": 500.0, "notes": notes}, do_compression=True)
savemat(arrays("level4.mat"), {f"lead_{n}": row[:, None] for n, row in leads.items()} | {"unit": "uV", "Fs": 500.0}, format="4")
savemat(arrays("unit-in-names.mat"), {"rec": {f"{n}_uV": row for n, row in leads.items()} | {"srate": 500.0}}, do_compression=True)
np.savez_compressed(arrays("times.npz"), time_ms=2.0 * np.arange(600), **{f"filtered-{n}": row / 1000 for n, row in leads.items()})


def v73(path, write):
    with h5py.File(path, "w", userblock_size=512) as f:
        write(f)
    head = b"MATLAB 7.3 MAT-file, written for a test".ljust(124) + bytes([0, 2]) + b"IM"
    with open(path, "r+b") as f:
        f.write(head)


def value(f, name, own, matlab):
    own = f.create_dataset(name, data=own, track_times=False)
    own.attrs["MATLAB_class"] = np.bytes_(matlab)
    return own


def text(f, name, *rows):
    width = max(len(row) for row in rows)
    codes = np.array([[ord(c) for c in row.ljust(width)] for row in rows], "u2")
    own = value(f, name, codes.T, "char")
    own.attrs["MATLAB_int_decode"] = np.int32(2)
    return own


def cells(f, name, words):
    refs = [text(f, f"#refs#/{name}{at}", word).ref for at, word in enumerate(words)]
    own = f.create_dataset(name, data=np.array([refs], dtype=h5py.ref_dtype), dtype=h5py.ref_dtype, track_times=False)
    own.attrs["MATLAB_class"] = np.bytes_("cell")


def vectors(f):
    for name, row in leads.items():
        value(f, name, row[None, :] / 1000, "double")
    value(f, "fs", [[500.0]], "double")


def table(f):
    value(f, "ecg", uv.T, "int16")
    cells(f, "lead_names", names)
    cells(f, "units", ["uV"])
    value(f, "samplingRate", [[500.0]], "double")


v73(arrays("level73.mat"), vectors)
v73("named-leads/v73-cells.mat", table)

# The struct of ecg-kit: samples in steps of a converter, [time, lead].
gains = np.array([1000.0 * (1 + at % 3) for at in range(12)])
zeros = np.arange(12.0) * 10
steps = (uv * (gains / 1000)[:, None] + zeros[:, None]).astype("i2")
header = {"recname": "r", "freq": 500.0, "nsig": 12.0, "nsamp": 600.0, "gain": gains[:, None], "adczero": zeros[:, None]}
desc = [name.ljust(3) for name in names]
both = {"header": header | {"desc": np.array(desc), "units": np.array(["mV"] * 12)}}
savemat("headers/level5.mat", both | {"signal": steps.T}, do_compression=True)
savemat("headers/doubles.mat", both | {"signal": steps.T.astype("f8")}, do_compression=True)


def kit(f):
    for name, own in header.items():
        if name != "recname":
            value(f, f"header/{name}", np.atleast_2d(own).T, "double")
    text(f, "header/recname", "r")
    text(f, "header/desc", *desc)
    text(f, "header/units", *["mV"] * 12)
    value(f, "signal", steps, "int16")
    f["header"].attrs["MATLAB_class"] = np.bytes_("struct")


v73("headers/level73.mat", kit)
np.savez_compressed("objects/leads.npz", ecg=matrix.astype("f4"), fs=500, leads=np.array(names, dtype=object))
