"""HuBERT-ECG BASE in PyTorch eager mode, with weights and batches that both sides share."""

import dataclasses

import numpy as np
import torch

from . import hubert, signals
from .clear_rows import SEED, THREADS, share
from .rows import near

SAMPLES = 500


def batch(data, size):
    """Twelve leads of 5 s at 100 Hz end to end, of the first recordings."""
    paths = sorted((data / "records100").glob("*.hea"))[:size]
    leads = [signals.read(path.with_suffix(""))[0].T[:, :SAMPLES] for path in paths]
    return np.stack([each.reshape(-1) for each in leads]).astype(np.float32)


class Infer:
    """Token vectors of recordings."""

    def __init__(self, name, data, exchange, size):
        torch.set_num_threads(THREADS)
        torch.manual_seed(SEED)
        self.model = hubert.Hubert().eval()
        tensors = {"signals": batch(data, size)}
        share(exchange, name, self.model, tensors)
        self.signals = torch.from_numpy(tensors["signals"])

    def run(self):
        with torch.inference_mode():
            return self.model(self.signals)

    def check(self, ours):
        near("states", ours["states"], self.run().numpy(), 1e-4)


class PretrainStep:
    """Forward, backward and AdamW on eight recordings; no layer is left out."""

    def __init__(self, name, data, exchange):
        torch.set_num_threads(THREADS)
        torch.manual_seed(SEED)
        self.model = hubert.Hubert(dataclasses.replace(hubert.Config(), layerdrop=0.0))
        found = batch(data, 8)
        size, self.tokens = len(found), self.model.config.tokens(found.shape[1])
        self.codes = torch.randint(0, self.model.config.vocab_sizes[0], (size, 1, self.tokens))
        self.hidden = hubert.draw_hidden(self.model.config, size, self.tokens)
        tensors = {"signals": found, "codes": self.codes.numpy(), "hidden": self.hidden.long().numpy()}
        share(exchange, name, self.model, tensors)
        self.signals = torch.from_numpy(found)
        # The fused optimizer is PyTorch's fastest on the CPU.
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=5e-5, betas=(0.9, 0.98), eps=1e-9, weight_decay=0.01, fused=True
        )

    def run(self):
        self.model.train()
        hidden = hubert.draw_hidden(self.model.config, len(self.signals), self.tokens)
        loss = self.model.loss(self.signals, self.codes, hidden)
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        return loss.item()

    def check(self, ours):
        """Loss and gradient norm of the shared weights, without dropout."""
        self.model.eval()
        loss = self.model.loss(self.signals, self.codes, self.hidden)
        loss.backward()
        norm = torch.nn.utils.get_total_norm([p.grad for p in self.model.parameters()]).item()
        self.optimizer.zero_grad()
        near("loss", ours["loss"], np.array([loss.item()]), 1e-5 * loss.item())
        near("gradient norm", ours["gradient_norm"], np.array([norm]), 1e-3 * norm)


def make(name, data, exchange):
    if name == "hubert_pretrain_step":
        return PretrainStep(name, data, exchange)
    return Infer(name, data, exchange, size=1 if name.endswith("_one") else 8)
