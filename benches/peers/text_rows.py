"""Encoders of texts from the transformers library, and exact search by FAISS."""

import csv
import os
from pathlib import Path

import numpy as np
import torch
import transformers

from . import dbeta, safetensors_file
from .clear_rows import SEED, THREADS
from .rows import near

# Reports of the recordings that come with the program.
TABLE = Path(__file__).resolve().parents[2] / "crates/purkinje/demo/ptbxl_database.csv"
PARTS = ["sinus rhythm", "sinus bradycardia", "sinus tachycardia", "atrial fibrillation", "normal ecg", "abnormal ecg",
         "left axis deviation", "right bundle branch block", "possible left atrial enlargement", "anterior infarct",
         "nonspecific t wave abnormality", "prolonged qt interval", "low limb lead voltage", "ventricular premature complex"]


def reports(count, generator):
    """Report-like texts: lists of statements."""
    lengths = generator.integers(1, 9, count)
    return [". ".join(generator.choice(PARTS, length)) + "." for length in lengths]


def of_ptb_xl(count):
    """The first reports of the recordings that come with the program."""
    with open(TABLE, newline="") as table:
        found = (row["report"] for row in csv.DictReader(table))
        return [report.lower() for report in found if report][:count]


class Encode:
    """64 texts of 8 to 64 word pieces, or sixteen reports of PTB-XL, to hidden states, padded to the longest, padding kept from attention."""

    def __init__(self, name, exchange):
        torch.set_num_threads(THREADS)
        torch.manual_seed(SEED)
        if name in ("minilm_encode", "bert_infer_f32"):
            folder = Path(os.environ["PURKINJE_TEXT_MODELS"])
            self.model = transformers.BertModel.from_pretrained(folder, add_pooling_layer=False).eval()
            config = (folder / "config.json").read_text()
        else:
            self.model = dbeta.t5(name.split("_")[1]).eval()
            config = self.model.config.to_json_string()
        generator = np.random.default_rng(SEED)
        lengths = np.sort(generator.integers(8, 65, 64))
        ids = generator.integers(200, 30_000, (64, lengths.max()))
        real = np.arange(lengths.max())[None] < lengths[:, None]
        ids[~real] = 0
        if name == "bert_infer_f32":
            found = transformers.AutoTokenizer.from_pretrained(folder)(of_ptb_xl(16), padding=True)
            ids, real = np.array(found["input_ids"]), np.array(found["attention_mask"]) == 1
        weights = {k: v.numpy() for k, v in self.model.state_dict().items() if v.is_floating_point() and "embed_tokens" not in k}
        safetensors_file.save(exchange / f"{name}.weights.safetensors", weights)
        safetensors_file.save(exchange / f"{name}.batch.safetensors", {"ids": ids, "real": real.astype(np.int64), "size": np.array([len(ids)])})
        (exchange / f"{name}.config.json").write_text(config)
        self.ids, self.real = torch.from_numpy(ids), torch.from_numpy(real.astype(np.int64))

    def run(self):
        with torch.inference_mode():
            return self.model(input_ids=self.ids, attention_mask=self.real).last_hidden_state

    def check(self, ours):
        states = self.run().numpy()
        real = self.real.numpy().astype(bool)
        near("states", ours["states"][real], states[real], 2e-4)


class Corpus:
    """4,096 report-like texts to mean vectors, with MiniLM: sorted by length, or in batches of 128 in their order as D-BETA's program does."""

    def __init__(self, name, exchange):
        torch.set_num_threads(THREADS)
        folder = Path(os.environ["PURKINJE_TEXT_MODELS"])
        self.model = transformers.BertModel.from_pretrained(folder, add_pooling_layer=False).eval()
        self.tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        self.texts = reports(4096, np.random.default_rng(SEED))
        self.in_order = name.endswith("_in_order")
        (exchange / f"{name}.texts.txt").write_text("\n".join(self.texts) + "\n")

    def run(self):
        order = range(len(self.texts)) if self.in_order else np.argsort([len(text) for text in self.texts], kind="stable")
        order, size = list(order), 128 if self.in_order else 64
        vectors = np.empty((len(self.texts), 384), np.float32)
        with torch.inference_mode():
            for first in range(0, len(order), size):
                own = order[first : first + size]
                read = self.tokenizer([self.texts[i] for i in own], padding=True, truncation=True, max_length=256, return_tensors="pt")
                states = self.model(**read).last_hidden_state
                real = read["attention_mask"][..., None].float()
                mean = (states * real).sum(1) / real.sum(1)
                vectors[own] = (mean / (mean.norm(dim=1, keepdim=True) + 1e-10)).numpy()
        return vectors

    def check(self, ours):
        near("vectors", ours["vectors"], self.run(), 1e-4)


class LeastSimilar:
    """The 64 of 100,000 unit rows of 512 numbers nearest to the opposite of each of 1,000 queries."""

    def __init__(self, name, exchange):
        import faiss

        faiss.omp_set_num_threads(THREADS)
        generator = np.random.default_rng(SEED)
        rows = generator.standard_normal((100_000, 512), dtype=np.float32)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        self.queries = rows[:1000].copy()
        self.index = faiss.IndexFlatL2(512)
        self.index.add(rows)
        safetensors_file.save(exchange / f"{name}.batch.safetensors", {"rows": rows, "queries": self.queries})

    def run(self):
        return self.index.search(-self.queries, 64)

    def check(self, ours):
        distances, _ = self.run()
        near("cosines", ours["products"], distances / 2 - 1, 2e-5)


def make(name, exchange):
    if name.startswith("text_embed_corpus"):
        return Corpus(name, exchange)
    if name == "n3s_least_similar":
        return LeastSimilar(name, exchange)
    return Encode(name, exchange)
