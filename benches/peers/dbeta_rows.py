"""D-BETA base in PyTorch eager mode, with weights and batches that both sides share."""

import numpy as np
import torch

from . import dbeta, safetensors_file, signals
from .clear_rows import SEED, THREADS
from .rows import near

TEXT = 64


def batch(data, size):
    """Twelve leads of 10 s at 500 Hz of the first recordings."""
    paths = sorted((data / "records500").glob("*.hea"))[:size]
    leads = [signals.read(path.with_suffix(""))[0].T[:, :5000] for path in paths]
    return np.stack(leads).astype(np.float32)


def share(exchange, name, model, tensors):
    safetensors_file.save(exchange / f"{name}.weights.safetensors", model.state())
    safetensors_file.save(exchange / f"{name}.batch.safetensors", tensors)


class Infer:
    """Vectors of recordings."""

    def __init__(self, name, data, exchange, size, bf16):
        torch.set_num_threads(THREADS)
        torch.manual_seed(SEED)
        self.model, self.bf16 = dbeta.Dbeta().eval(), bf16
        tensors = {"signals": batch(data, size)}
        share(exchange, name, self.model, tensors)
        self.signals = torch.from_numpy(tensors["signals"])

    def run(self):
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=self.bf16):
            return self.model.vectors(self.signals)

    def check(self, ours):
        near("vectors", ours["vectors"], self.run().float().numpy(), 5e-2 if self.bf16 else 1e-4)


class PretrainStep:
    """Four losses, backward and Adam on four recordings with texts of 64 word pieces; dropout on."""

    def __init__(self, name, data, exchange):
        torch.set_num_threads(THREADS)
        torch.manual_seed(SEED)
        self.model = dbeta.Dbeta(whole=True)
        found = batch(data, 4)
        tokens, kept = 312, 78
        order = torch.stack([torch.randperm(tokens) for _ in found])
        ids = torch.randint(200, dbeta.WORDS, (len(found), TEXT))
        words = torch.where(torch.rand(ids.shape) < 0.25, ids, -1)
        self.batch = {
            "signals": torch.from_numpy(found),
            "ids": ids,
            "words": words,
            "aligned": torch.tensor([1, 0, 1, 0]),
            "order": order,
            "restore": order.argsort(1),
        }
        tensors = {key: value.numpy() for key, value in self.batch.items()}
        self.batch["kept"] = kept
        share(exchange, name, self.model, tensors)
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=5e-5, betas=(0.9, 0.98), eps=1e-6, weight_decay=0.01, fused=True
        )

    def run(self):
        self.model.train()
        loss = self.model.loss(self.batch)
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        return loss.item()

    def check(self, ours):
        """Loss and gradient norm of the shared weights, without dropout."""
        self.model.eval()
        loss = self.model.loss(self.batch)
        loss.backward()
        norm = torch.nn.utils.get_total_norm([p.grad for p in self.model.parameters()]).item()
        self.optimizer.zero_grad()
        near("loss", ours["loss"], np.array([loss.item()]), 1e-4 * loss.item())
        near("gradient norm", ours["gradient_norm"], np.array([norm]), 1e-3 * norm)


def make(name, data, exchange):
    if name == "dbeta_pretrain_step":
        return PretrainStep(name, data, exchange)
    return Infer(name, data, exchange, size=1 if name.endswith("_one") else 8, bf16=name.endswith("bf16"))
