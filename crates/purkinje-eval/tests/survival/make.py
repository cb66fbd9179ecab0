"""Writes reference.json: concordance by NumPy over every pair, and by lifelines (pip install numpy lifelines)."""
import json
import pathlib

import lifelines
import numpy as np
from lifelines.utils import concordance_index

cases = []
generator = np.random.default_rng(7)
# Records, distinct scores, distinct times, share of records with an event.
for records, levels, moments, share in [(40, 1000, 1000, 1.0), (60, 1000, 1000, 0.4), (80, 6, 1000, 0.5), (80, 1000, 9, 0.5), (80, 4, 5, 0.2)]:
    scores = (generator.integers(0, levels, records) / levels).astype(np.float32)
    times = (generator.integers(1, moments + 1, records) / 8).astype(np.float32)
    events = generator.random(records) < share
    # [first, second]
    before = (times[:, None] < times[None]) | ((times[:, None] == times[None]) & ~events[None])
    pairs = before & events[:, None] & ~np.eye(records, dtype=bool)
    higher, equal = scores[:, None] > scores[None], scores[:, None] == scores[None]
    index = float((higher[pairs].sum() + 0.5 * equal[pairs].sum()) / pairs.sum())
    other = float(concordance_index(times, -scores, events))
    assert abs(index - other) < 1e-12, (index, other)
    cases.append({"scores": scores.tolist(), "times": times.tolist(), "events": events.tolist(), "comparable": int(pairs.sum()), "index": index})
text = json.dumps({"numpy": np.__version__, "lifelines": lifelines.__version__, "cases": cases})
pathlib.Path(__file__).with_name("reference.json").write_text(text)
