"""Writes the files of this folder, and what independent readers take from them (`expected.json`). Needs numpy, pyedflib 0.1.42 and
ishneholterlib 2020.5.29; run it in this folder.

The recording is that of `../lead-spellings/mdc.edf`, 1.2 s at 500 Hz.
"""

import json
import struct

import numpy as np
import pyedflib
from crccheck.crc import Crc16CcittFalse
from ishneholterlib import Holter

CODES = {"I": 5, "II": 6, "III": 7, "aVR": 8, "aVL": 9, "aVF": 10, "V1": 11, "V2": 12, "V3": 13, "V4": 14, "V5": 15, "V6": 16}
source = pyedflib.EdfReader("../lead-spellings/mdc.edf")
names = ["I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6"]
uv = np.array([source.readSignal(i) for i in range(12)])
source.close()
expected = {}


def bdf(name, kind, annotate):
    w = pyedflib.EdfWriter(name, 12, file_type=kind)
    w.setDatarecordDuration(0.4)
    w.setSignalHeaders(
        [
            {
                "label": lead,
                "dimension": "uV",
                "sample_frequency": 500,
                "physical_min": -8388608,
                "physical_max": 8388607,
                "digital_min": -8388608,
                "digital_max": 8388607,
                "transducer": "",
                "prefilter": "",
            }
            for lead in names
        ]
    )
    # Beyond 16 bits with the offset of the electrodes, as these devices have it.
    w.writeSamples([row + 10000.0 * i for i, row in enumerate(uv)])
    if annotate:
        w.writeAnnotation(0.5, -1, "N")
        w.writeAnnotation(1.0, -1, "Lights off")
    w.close()
    r = pyedflib.EdfReader(name)
    expected[name] = {lead: [float(v) for v in r.readSignal(i)[[0, 1, 400, 599]]] + [float(r.readSignal(i).sum())] for i, lead in enumerate(names)}
    r.close()


def text(value, size):
    return value.encode().ljust(size, b"\0")


def ishne(name, total, free=b""):
    """`total`: whether the number of samples is that of all leads."""
    chosen = ["I", "II", "V1"]
    resolution = [500, 1000, 2000]
    rows = np.array([np.round(1000 * uv[names.index(lead)] / step) for lead, step in zip(chosen, resolution)]).astype("<i2")
    unused = [-9] * 9
    head = struct.pack("<iiiih", len(free), rows.size if total else rows.shape[1], 522, 522 + len(free), 1)
    head += text("Harry", 40) + text("Haagse", 40) + text("MCH-0234567", 20) + struct.pack("<hh", 2, 1)
    head += struct.pack("<12h", 2, 5, 1951, 2, 3, 2002, 3, 3, 2002, 9, 30, 0)
    head += struct.pack("<h36hh", 3, *([CODES[lead] for lead in chosen] + unused), *([1, 1, 1] + unused), *(resolution + unused), 0)
    head += text("digital", 40) + struct.pack("<h", 500) + text("", 80) + text("", 80) + text("", 88) + free
    crc = Crc16CcittFalse.calc(head)
    with open(name, "wb") as f:
        f.write(b"ISHNE1.0" + struct.pack("<H", crc) + head + rows.T.tobytes())
    r = Holter(name)
    assert r.is_valid()
    r.load_data()
    expected[name] = {str(lead): [float(v) for v in 1000 * lead.data[[0, 1, 400, 599]]] + [float(1000 * lead.data.sum())] for lead in r.lead}


bdf("plain.bdf", pyedflib.FILETYPE_BDF, False)
bdf("plus.bdf", pyedflib.FILETYPE_BDFPLUS, True)
ishne("each.ecg", False)
ishne("all.ishne", True, b"Diary of Haagse Harry: nothing")
with open("expected.json", "w") as f:
    json.dump(expected, f, indent=1)
