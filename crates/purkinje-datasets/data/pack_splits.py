#!/usr/bin/env python3
"""Packs tables of published splits into published_splits.txt.zst.

    pack_splits.py FOLDER

FOLDER holds one CSV per data set, `record` and then one column per split, with train, val, test or a
blank in each cell: cpsc2018.csv, csn.csv, hubert_<set>.csv. They were gathered from the split tables
released with MERL, CLEAR-HUG, HeartLang, DERI and HuBERT-ECG, and hold record names and parts only.

The packed text has one block per data set: a line `=<set> <split> <split> ...`, then one line a record,
`<record> <parts>`, with one letter a split: t train, v val, e test, - no part.
HuBERT-ECG's folds 0 to 2 of Hefei have record 112601 in training and test; it is a test record here, as in fold 3, so that
the test part is the published one and nobody trains on it. Needs the program `zstd`.
"""
import csv
import pathlib
import subprocess
import sys

SETS = {
    "cpsc2018": "cpsc2018",
    "csn": "csn",
    "hubert_chapman": "chapman",
    "hubert_cpscExtra": "cpsc-extra",
    "hubert_georgia": "georgia",
    "hubert_hefei": "hefei",
    "hubert_ningbo": "ningbo",
    "hubert_ptb": "ptb",
    "hubert_samitrop": "sami-trop",
    "hubert_sph": "sph",
}
BOTH = {("hefei", "112601"): "test"}
PARTS = {"train": "t", "val": "v", "test": "e", "": "-"}


def main(folder):
    lines = []
    for file, name in SETS.items():
        with open(pathlib.Path(folder) / f"{file}.csv", newline="") as table:
            rows = csv.DictReader(table)
            columns = rows.fieldnames[1:]
            splits = [c.replace("fold_", "hubert-").replace("_", "-") for c in columns]
            lines.append("=" + " ".join([name] + splits))
            for row in sorted(rows, key=lambda row: row["record"]):
                lines.append(row["record"] + " " + "".join(PARTS[BOTH.get((name, row["record"]), row[c])] for c in columns))
    out = pathlib.Path(__file__).with_name("published_splits.txt.zst")
    text = "\n".join(lines) + "\n"
    packed = subprocess.run(["zstd", "-19", "--ultra", "-c"], input=text.encode(), capture_output=True, check=True)
    out.write_bytes(packed.stdout)
    print(f"{out}: {len(lines)} lines, {len(text)} bytes, packed {len(packed.stdout)}")


if __name__ == "__main__":
    main(*sys.argv[1:])
