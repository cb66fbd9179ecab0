"""Descriptors of HuBERT-ECG's first iteration in SciPy, NumPy and torchaudio, piece by piece."""

import numpy as np
import scipy.signal
import scipy.stats
import torch
import torchaudio.compliance.kaldi as kaldi

from . import safetensors_file, signals
from .rows import near

CROP, FACTOR, TRIM, PIECE, COEFFICIENTS = 2500, 5, 2, 64, 13
RATE_HZ = 500 / FACTOR


def pieces(leads):
    """93 pieces of 64 samples of `[12, 2500]` at 500 Hz: decimated lead by lead, trimmed, end to end."""
    decimated = [scipy.signal.decimate(lead, FACTOR)[TRIM:-TRIM] for lead in leads]
    return np.concatenate(decimated).reshape(-1, PIECE)


def time_frequency(x):
    """Sixteen numbers of a piece."""
    rms = np.sqrt(np.mean(x**2))
    peak = np.abs(x).max()
    spectrum = np.abs(np.fft.fft(x) ** 2) / len(x)
    return [
        x.min(),
        x.max(),
        x.mean(),
        rms,
        x.var(),
        x.std(),
        np.mean(x**2),
        peak,
        np.ptp(x),
        peak / rms,
        scipy.stats.skew(x),
        scipy.stats.kurtosis(x),
        spectrum.max(),
        spectrum.sum(),
        spectrum.mean(),
        spectrum.var(),
    ]


def cepstra(x):
    """Thirteen Kaldi cepstra of a piece as one frame."""
    found = kaldi.mfcc(
        torch.from_numpy(x)[None],
        sample_frequency=RATE_HZ,
        frame_length=1000 * PIECE / RATE_HZ,
        frame_shift=100,
        dither=0.0,
        num_ceps=COEFFICIENTS,
        num_mel_bins=23,
    )
    return found[0].numpy()


def describe(leads):
    """`[93, 29]` of `[12, 2500]`."""
    return np.stack([np.concatenate([time_frequency(x), cepstra(x)]) for x in pieces(leads)]).astype(np.float32)


def describe_at_once(leads):
    """The same with all pieces in each call, as nobody published it: what NumPy can do."""
    x = scipy.signal.sosfiltfilt(LOW_PASS, leads)[:, ::FACTOR][:, TRIM:-TRIM].reshape(-1, PIECE)
    square = (x**2).mean(1)
    rms, peak = np.sqrt(square), np.abs(x).max(1)
    spectrum = np.abs(np.fft.fft(x) ** 2) / PIECE
    numbers = [
        x.min(1),
        x.max(1),
        x.mean(1),
        rms,
        x.var(1),
        x.std(1),
        square,
        peak,
        np.ptp(x, 1),
        peak / rms,
        scipy.stats.skew(x, 1),
        scipy.stats.kurtosis(x, 1),
        spectrum.max(1),
        spectrum.sum(1),
        spectrum.mean(1),
        spectrum.var(1),
    ]
    frames = x - x.mean(1, keepdims=True)
    frames -= 0.97 * np.concatenate([frames[:, :1], frames[:, :-1]], 1)
    power = np.abs(np.fft.rfft(frames * WINDOW)) ** 2
    logs = np.log(np.maximum(power @ BANK.T, np.finfo(np.float32).eps))
    return np.concatenate([np.stack(numbers, 1), logs @ TRANSFORM], 1).astype(np.float32)


LOW_PASS = scipy.signal.cheby1(8, 0.05, 0.8 / FACTOR, output="sos")
WINDOW = np.hanning(PIECE) ** 0.85
BANK = torch.nn.functional.pad(kaldi.get_mel_banks(23, PIECE, RATE_HZ, 20.0, 0.0, 100.0, -500.0, 1.0)[0], (0, 1)).double().numpy()
# Constants in single precision, as torchaudio has them.
TRANSFORM = (kaldi._get_dct_matrix(COEFFICIENTS, 23) * kaldi._get_lifter_coeffs(COEFFICIENTS, 22.0)).double().numpy()


class Descriptors:
    """One crop of 12 x 2500 samples; all recordings are compared first."""

    def __init__(self, name, data, exchange):
        torch.set_num_threads(1)
        paths = sorted((data / "records500").glob("*.hea"))
        self.crops = [signals.read(path.with_suffix(""))[0][:CROP].T.astype(np.float32) for path in paths]
        safetensors_file.save(exchange / f"{name}.batch.safetensors", {"crops": np.stack(self.crops)})
        self.describe = describe_at_once if name.endswith("_at_once") else describe

    def run(self):
        return self.describe(self.crops[0].astype(np.float64))

    def check(self, ours):
        theirs = np.stack([self.describe(crop.astype(np.float64)) for crop in self.crops])
        numbers = ours["rows"][..., :16], theirs[..., :16]
        # Relative, to the largest of its kind in the recording where a number is near zero.
        size = np.maximum(np.abs(numbers[1]), 1e-3 * np.abs(numbers[1]).max(1, keepdims=True))
        near("time-frequency descriptors", numbers[0] / size, numbers[1] / size, 1e-5)
        near("cepstra", ours["rows"][..., 16:], theirs[..., 16:], 3e-4)
