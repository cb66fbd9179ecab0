#!/usr/bin/env python3
"""Packs a small part of PTB-XL for the demonstration.

Usage: pack.py PTB_XL_FOLDER        (needs numpy and zstandard; writes beside this script)

Chooses records of the published folds 1-8 / 9 / 10, evenly spaced over those present, and writes their signals as one zstd stream: 16-bit
residuals, all low bytes first, then all high bytes, ordered [lead, record, time]: leads I, II and V1-V6 are first differences in time,
III, aVR, aVL and aVF what remains of Einthoven's and Goldberger's relations. `ptbxl_database.csv`
holds their rows in the same order, `scp_statements.csv` is the published table.
"""
import csv, pathlib, shutil, sys
import numpy as np
import zstandard

WANTED = {"train": 320, "validation": 90, "test": 170}


def main():
    source, here = pathlib.Path(sys.argv[1]), pathlib.Path(__file__).resolve().parent
    with open(source / "ptbxl_database.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    parts = {"train": [], "validation": [], "test": []}
    for row in rows:
        fold = int(row["strat_fold"])
        part = "train" if fold <= 8 else "validation" if fold == 9 else "test"
        if (source / f"{row['filename_lr']}.dat").exists():
            parts[part].append(row)
    chosen = []
    for part, wanted in WANTED.items():
        have = parts[part]
        take = sorted({round(i * (len(have) - 1) / (wanted - 1)) for i in range(wanted)})
        chosen += [have[i] for i in take]
    chosen.sort(key=lambda row: int(row["ecg_id"]))
    signals = []
    for row in chosen:
        x = np.fromfile(source / f"{row['filename_lr']}.dat", "<i2").reshape(1000, 12).T
        one, two, three = x[0].astype(int), x[1].astype(int), x[2].astype(int)
        r = np.diff(x.astype(int), axis=1, prepend=0)
        r[2] = three - (two - one)
        r[3] = x[3] + (one + two) // 2
        r[4] = x[4] - (one - three) // 2
        r[5] = x[5] - (two + three) // 2
        signals.append(r.astype("<i2"))
    planes = np.stack(signals, axis=1).reshape(-1).view(np.uint8).reshape(-1, 2).T
    packed = zstandard.ZstdCompressor(level=22).compress(planes.tobytes())
    (here / "signals.zst").write_bytes(packed)
    with open(here / "ptbxl_database.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(chosen)
    shutil.copy(source / "scp_statements.csv", here / "scp_statements.csv")
    print(len(chosen), "records,", len(packed), "bytes")


main()
