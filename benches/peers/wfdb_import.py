"""`wfdb`, also where pandas 3 is installed."""

import warnings

import pandas

if int(pandas.__version__.split(".")[0]) >= 3:
    # wfdb 4.3.0 makes an index from an array of strings, which the string type of pandas 3 refuses.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pandas.set_option("future.infer_string", False)

import wfdb  # noqa: E402
import wfdb.processing  # noqa: E402

__all__ = ["wfdb"]
