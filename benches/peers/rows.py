"""What is measured: the same rows, with the same names, as in benches/src."""

import numpy as np

from . import signals

CLASSES = 5


class ReadWfdb:
    """A 12 x 5000 record of format 16."""

    def __init__(self, data, exchange):
        self.path = first(data / "records500")

    def run(self):
        return signals.read(self.path)

    def check(self, ours):
        samples, rate_hz = self.run()
        same("samples_mv", ours["samples_mv"], samples.T.astype(np.float32))
        same("rate_hz", ours["rate_hz"], np.array([rate_hz], np.float64))


class Xqrs:
    """R-peaks of lead II, 10 s."""

    def __init__(self, data, exchange, rate_hz):
        samples, self.rate_hz = signals.read(first(data / f"records{rate_hz}"))
        self.signal = np.ascontiguousarray(samples[:, 1])

    def run(self):
        return signals.r_peaks(self.signal, self.rate_hz)

    def check(self, ours):
        same("r_peaks", ours["r_peaks"], self.run())


class Tokenise:
    """R-peaks and 180 tokens of a 12 x 1000 record."""

    def __init__(self, data, exchange):
        self.leads = np.ascontiguousarray(signals.read(first(data / "records100"))[0].T)

    def run(self):
        return signals.tokenise(self.leads)

    def check(self, ours):
        for name, expected in self.run().items():
            same(name, ours[name], expected)


def first(folder):
    """The first record of the folder, without extension."""
    return min(folder.glob("*.hea")).with_suffix("")


def same(what, ours, theirs):
    if ours.shape != theirs.shape or not np.array_equal(ours, theirs.astype(ours.dtype)):
        raise AssertionError(f"{what}: the two sides differ (shapes {ours.shape} and {theirs.shape})")


def near(what, ours, theirs, tolerance):
    if ours.shape != theirs.shape:
        raise AssertionError(f"{what}: shapes {ours.shape} and {theirs.shape} differ")
    error = float(np.abs(ours - theirs).max())
    if not error <= tolerance:
        raise AssertionError(f"{what}: the two sides differ by {error:.2e}, more than {tolerance:.0e}")


def make(name, data, exchange):
    """The row of that name."""
    if name.startswith("clear_"):
        from . import clear_rows

        return clear_rows.make(name, data, exchange)
    if name.startswith("hubert_"):
        from . import hubert_rows

        return hubert_rows.make(name, data, exchange)
    if name.startswith("dbeta_"):
        from . import dbeta_rows

        return dbeta_rows.make(name, data, exchange)
    if name.startswith(("deri_", "gpt2_")) or name == "text_scores":
        from . import deri_rows

        return deri_rows.make(name, data, exchange)
    if name.endswith("_encode") or name == "bert_infer_f32" or name.startswith(("text_", "n3s_")):
        from . import text_rows

        return text_rows.make(name, exchange)
    if name.startswith("descriptors"):
        from . import descriptors

        return descriptors.Descriptors(name, data, exchange)
    if name.startswith("kmeans_"):
        from . import kmeans

        return kmeans.Assign(name, data, exchange)
    return {
        "read_wfdb": ReadWfdb,
        "xqrs_100": lambda *a: Xqrs(*a, rate_hz=100),
        "xqrs_500": lambda *a: Xqrs(*a, rate_hz=500),
        "tokenise": Tokenise,
    }[name](data, exchange)
