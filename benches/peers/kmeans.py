"""Assignment of rows to the nearest of many centres with scikit-learn."""

import numpy as np
from sklearn.cluster import MiniBatchKMeans

from . import safetensors_file

SEED = 0
# Rows, width, clusters: cepstra in the first iteration's code book, states of BASE in the third's. 62 MB each.
SIZES = {"kmeans_assign_cepstra": (400_000, 39, 100), "kmeans_assign_states": (20_000, 768, 500)}


class Assign:
    """Labels of rows that lie around the centres."""

    def __init__(self, name, data, exchange):
        count, width, clusters = SIZES[name]
        random = np.random.default_rng(SEED)
        self.centers = random.standard_normal((clusters, width), np.float32)
        self.rows = self.centers[random.integers(0, clusters, count)]
        # Twice as far from their centre as centres are from each other: many rows lie between several.
        self.rows += 2 * random.standard_normal((count, width), np.float32)
        tensors = {"rows": self.rows, "centers": self.centers}
        safetensors_file.save(exchange / f"{name}.batch.safetensors", tensors)
        # No fit: the centres are given.
        self.model = MiniBatchKMeans(clusters, init=self.centers, n_init=1, batch_size=clusters, max_iter=1)
        self.model.fit(self.centers)
        self.model.cluster_centers_ = self.centers

    def run(self):
        return self.model.predict(self.rows)

    def check(self, ours):
        """Equal labels, but for rows whose two nearest centres are equally far up to the rounding of float32."""
        ours, theirs = ours["labels"], self.run()
        different = np.flatnonzero(ours != theirs)
        rows = self.rows[different].astype(np.float64)
        found, expected = (((rows - self.centers[labels[different]]) ** 2).sum(1) for labels in (ours, theirs))
        if len(different) > 1e-3 * len(ours) or (np.abs(found - expected) > 1e-5 * expected).any():
            raise AssertionError(f"labels: {len(different)} of {len(ours)} rows differ")
