"""Writes reference.json: probes and metrics as scikit-learn computes them. Run once; commit the result."""

import json
from pathlib import Path

import numpy as np
import sklearn
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, brier_score_loss, log_loss, roc_auc_score
from sklearn.preprocessing import StandardScaler

RECORDS, WIDTH, CLASSES = 150, 7, 4

rng = np.random.default_rng(0)
mixing = rng.normal(size=(WIDTH, WIDTH)) * np.array([9, 3, 1, 1, 0.3, 0.1, 0])[:, None]
features = (rng.normal(size=(RECORDS, WIDTH)) @ mixing + rng.normal(size=WIDTH) * 5).astype(np.float32)
features[:, 3] = 0.7  # a constant column
scaled = StandardScaler().fit_transform(features.astype(np.float64))
truth = scaled @ rng.normal(size=(WIDTH, CLASSES)) + np.array([0.5, -1, -2.5, -4])
labels = rng.random((RECORDS, CLASSES)) < 1 / (1 + np.exp(-truth))
assert 2 <= labels.sum(0).min() and labels.sum(0).max() < RECORDS

fits = []
for c, standardize in [(1.0, True), (0.01, True), (1000.0, True), (0.1, False)]:
    x = scaled if standardize else features.astype(np.float64)
    models = [
        LogisticRegression(C=c, tol=1e-13, max_iter=1_000_000, solver="newton-cholesky").fit(x, labels[:, k])
        for k in range(CLASSES)
    ]
    fits.append({
        "c": c,
        "standardize": standardize,
        "probabilities": np.stack([m.predict_proba(x)[:, 1] for m in models], 1).ravel().tolist(),
    })

rounded = np.round(np.array(fits[0]["probabilities"]).reshape(RECORDS, CLASSES), 2).astype(np.float32)  # with ties
columns = [(labels[:, k], rounded[:, k]) for k in range(CLASSES)]
reference = {
    "made_with": f"scikit-learn {sklearn.__version__}, NumPy {np.__version__}",
    "width": WIDTH,
    "classes": CLASSES,
    "features": [float(v) for v in features.ravel()],
    "labels": labels.astype(int).ravel().tolist(),
    "fits": fits,
    "scores_with_ties": [float(v) for v in rounded.ravel()],
    "auroc": [roc_auc_score(y, s) for y, s in columns],
    "average_precision": [average_precision_score(y, s) for y, s in columns],
    "brier": [brier_score_loss(y, s) for y, s in columns],
    "log_loss": [log_loss(y, s) for y, s in columns],
}
Path(__file__).with_name("reference.json").write_text(json.dumps(reference) + "\n")
