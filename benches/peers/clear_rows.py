"""CLEAR base in PyTorch eager mode, with weights and batches that both sides share."""

import os

import numpy as np
import torch

from . import clear, safetensors_file, signals
from .rows import CLASSES, near

SEED = 0
THREADS = int(os.environ.get("OMP_NUM_THREADS", "2"))


def batch(data, size):
    """Tokens of the first recordings."""
    paths = sorted((data / "records100").glob("*.hea"))[:size]
    all_tokens = [signals.tokenise(signals.read(path.with_suffix(""))[0].T) for path in paths]
    return {
        name: np.stack([tokens[name] for tokens in all_tokens])
        for name in ("tokens", "lead_index", "time_index", "padding")
    }


def share(exchange, name, model, tensors):
    weights = {key: value.detach().numpy() for key, value in model.state_dict().items()}
    safetensors_file.save(exchange / f"{name}.weights.safetensors", weights)
    safetensors_file.save(exchange / f"{name}.batch.safetensors", tensors)


class Infer:
    """Logits of eight recordings: encoder and HUG head."""

    def __init__(self, name, data, exchange, bf16):
        torch.set_num_threads(THREADS)
        torch.manual_seed(SEED)
        self.model = clear.Classifier(CLASSES).eval()
        tensors = batch(data, 8)
        share(exchange, name, self.model, tensors)
        self.inputs = [torch.from_numpy(tensors[k]) for k in ("tokens", "lead_index", "time_index")]
        self.bf16 = bf16

    def run(self):
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=self.bf16):
            return self.model(*self.inputs, torch.arange(clear.TOKENS))

    def check(self, ours):
        near("logits", ours["logits"], self.run().float().numpy(), 2e-2 if self.bf16 else 1e-4)


class PretrainStep:
    """Forward, backward, clipping and AdamW on sixteen recordings."""

    def __init__(self, name, data, exchange):
        torch.set_num_threads(THREADS)
        torch.manual_seed(SEED)
        self.model = clear.Clear()
        tensors = batch(data, 16)
        self.noise = torch.rand(clear.TOKENS)
        share(exchange, name, self.model, {**tensors, "noise": self.noise.numpy()})
        self.inputs = [torch.from_numpy(tensors[k]) for k in ("tokens", "lead_index", "time_index")]
        decayed = [p for p in self.model.parameters() if p.ndim > 1]
        others = [p for p in self.model.parameters() if p.ndim <= 1]
        # The fused optimizer is PyTorch's fastest on the CPU; the published program uses the default one.
        self.optimizer = torch.optim.AdamW(
            [{"params": decayed, "weight_decay": 0.05}, {"params": others, "weight_decay": 0.0}],
            lr=5e-4,
            betas=(0.9, 0.98),
            fused=True,
        )

    def run(self):
        self.model.train()
        loss, _ = self.model(*self.inputs, torch.rand(clear.TOKENS))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 3.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return loss.item()

    def check(self, ours):
        """Loss and gradient norm of the shared weights, without dropout."""
        self.model.eval()
        loss, _ = self.model(*self.inputs, self.noise)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), 3.0).item()
        self.optimizer.zero_grad()
        near("loss", ours["loss"], np.array([loss.item()]), 1e-5 * loss.item())
        near("gradient norm", ours["gradient_norm"], np.array([norm]), 1e-3 * norm)


def make(name, data, exchange):
    if name == "clear_pretrain_step":
        return PretrainStep(name, data, exchange)
    return Infer(name, data, exchange, bf16=name.endswith("bf16"))
