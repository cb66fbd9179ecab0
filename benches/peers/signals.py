"""Reading, R-peaks and heartbeat tokens with wfdb and NumPy."""

import numpy as np

from .wfdb_import import wfdb

BEATS, WIDTH, HALF, BLOCK = 15, 96, 48, 100


def read(path):
    """One record: samples `[time, lead]` in mV, and the rate in Hz."""
    record = wfdb.rdrecord(str(path))
    return record.p_signal, record.fs


def r_peaks(signal, rate_hz):
    """XQRS with its default configuration."""
    detector = wfdb.processing.XQRS(sig=signal, fs=rate_hz)
    detector.detect(verbose=False)
    return np.asarray(detector.qrs_inds, dtype=np.int64)


def shared_r_peaks(leads):
    """The R-peaks all leads of `[lead, time]` share: lead II, else the first lead with any, else even spacing."""
    for row in (1, *range(len(leads))):
        found = r_peaks(leads[row], 100)
        if len(found):
            return found
    return np.linspace(0, leads.shape[1] - 1, BEATS).astype(np.int64)


def span(beat, peaks, length):
    """Samples of one beat and the place of the first of them in its token."""
    count, peak = len(peaks), int(peaks[beat])
    if beat == 0:
        start = max(peak - HALF, 0)
        end = (peak + int(peaks[1])) // 2 if count > 1 else min(start + WIDTH, length)
    elif beat == count - 1:
        start = (int(peaks[beat - 1]) + peak) // 2
        end = min(peak + HALF, length)
    else:
        start = (int(peaks[beat - 1]) + peak) // 2
        end = (peak + int(peaks[beat + 1])) // 2
    start, end = max(start, 0), min(end, length)
    if end - start > WIDTH:
        start = max(peak - HALF, 0)
        end = min(start + WIDTH, length)
    place = max(HALF - (peak - start), 0)
    return start, min(end, start + WIDTH - place), place


def tokenise(leads):
    """R-peaks and 15 tokens of each lead of `[lead, time]` at 100 Hz, with the tokens' lead, time and padding."""
    if leads.max() == 0:
        return None
    peaks = shared_r_peaks(leads)
    # All leads share the peaks, so a span is found once and cut from every lead at once.
    tokens = np.zeros((len(leads), BEATS, WIDTH), np.float32)
    times = np.zeros((len(leads), BEATS), np.int64)
    padding = np.ones((len(leads), BEATS), np.int64)
    for beat in range(min(len(peaks), BEATS)):
        start, end, place = span(beat, peaks, leads.shape[1])
        tokens[:, beat, place : place + end - start] = leads[:, start:end]
        times[:, beat] = peaks[beat] // BLOCK + 1 if peaks[beat] else 0
        padding[:, beat] = 0
    lead_index = np.repeat(np.arange(1, len(leads) + 1), BEATS)
    return {
        "r_peaks": peaks,
        "tokens": tokens.reshape(-1, WIDTH),
        "lead_index": lead_index,
        "time_index": times.reshape(-1),
        "padding": padding.reshape(-1),
    }
