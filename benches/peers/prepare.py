"""The preparation of recordings with wfdb, NumPy and SciPy, record by record as CLEAR-HUG's program does it."""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import scipy.signal

from . import safetensors_file
from .rows import same
from .signals import r_peaks, read

RATE_HZ = 100


def repair(leads, half_window=6):
    """Missing samples become the mean of what is known nearby; repaired ones count."""
    for row in np.flatnonzero(np.isnan(leads).any(axis=1)):
        lead = leads[row]
        for place in np.flatnonzero(np.isnan(lead)):
            near = lead[max(place - half_window, 0) : place + half_window + 1]
            known = near[~np.isnan(near)]
            lead[place] = known.mean() if len(known) else 0.0
    return leads


BAND = scipy.signal.butter(5, [0.67, 40.0], btype="bandpass", fs=RATE_HZ)


def prepare_one(path, steps):
    """Samples `[lead, time]` in mV at 100 Hz, and the R-peaks of lead II."""
    samples, rate_hz = read(path)
    leads = repair(samples.T.copy())
    if steps == "raw":
        return leads, r_peaks(leads[1], RATE_HZ)
    length = int(leads.shape[1] * (RATE_HZ / rate_hz))
    leads = scipy.signal.resample(leads, length, axis=1)
    leads = scipy.signal.filtfilt(*BAND, leads, axis=1)
    return leads, r_peaks(leads[1], RATE_HZ)


def prepare(paths, out, steps):
    """Prepares every record and stores the lot as `.npy` files."""
    signals, peaks = [], []
    for path in paths:
        leads, found = prepare_one(path, steps)
        signals.append(leads)
        peaks.append(found)
    np.save(f"{out}/signals.npy", np.stack(signals))
    np.save(f"{out}/r_peaks.npy", np.concatenate(peaks))
    np.save(f"{out}/r_peak_counts.npy", np.array([len(found) for found in peaks]))


def check(out, ours):
    """Fails unless the store, shown in the file `ours`, holds what `prepare` left in `out`."""
    shown = safetensors_file.load(ours)
    same("R-peaks", shown["r_peaks"], np.load(f"{out}/r_peaks.npy"))
    same("R-peak counts", shown["r_peak_counts"], np.load(f"{out}/r_peak_counts.npy"))
    # Stored samples are rounded to the step of their record.
    error = np.abs(shown["signals_mv"] - np.load(f"{out}/signals.npy")).max(axis=(1, 2))
    worst = (error / shown["step_mv"]).max()
    if not worst <= 0.501:
        raise SystemExit(f"signals: the two sides differ by {worst:.3f} steps, more than rounding explains")


def main():
    """Prepares every record of a folder and prints the seconds, imports not counted."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("out")
    parser.add_argument("ours", nargs="?", help="the store of the same records, to compare with")
    parser.add_argument("--steps", choices=["mimic", "raw"], default="mimic", help="raw: neither resampling nor filter")
    given = parser.parse_args()
    paths = sorted(path.with_suffix("") for path in given.folder.rglob("*.hea"))
    prepare_one(paths[0], given.steps)
    start = time.perf_counter()
    prepare(paths, given.out, given.steps)
    print(json.dumps({"records": len(paths), "seconds": time.perf_counter() - start}))
    if given.ours:
        check(given.out, given.ours)


if __name__ == "__main__":
    main()
