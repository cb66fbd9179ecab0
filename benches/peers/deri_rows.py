"""DERI in PyTorch eager mode, and GPT-2 of Hugging Face's library, with weights and batches that both sides share."""

import json
import time

import numpy as np
import torch

from . import deri, safetensors_file
from .clear_rows import SEED, THREADS
from .dbeta_rows import batch
from .rows import near


def share(exchange, name, state, tensors):
    safetensors_file.save(exchange / f"{name}.weights.safetensors", state)
    safetensors_file.save(exchange / f"{name}.batch.safetensors", tensors)


def recordings(data, size):
    """Recordings, each scaled to its own range as published; the first ones again where there are fewer."""
    found = batch(data, size)
    found = found[np.arange(size) % len(found)]
    low, high = (of(found, axis=(1, 2), keepdims=True) for of in (np.min, np.max))
    return ((found - low) / (high - low)).astype(np.float32)


class Infer:
    """The vector of recordings that zero-shot diagnosis takes."""

    def __init__(self, name, data, exchange):
        torch.set_num_threads(THREADS)
        torch.manual_seed(SEED)
        self.model = deri.Deri().eval()
        tensors = {"signals": recordings(data, 1 if name.endswith("_one") else 8)}
        share(exchange, name, self.model.state(), tensors)
        self.signals = torch.from_numpy(tensors["signals"])

    def run(self):
        with torch.inference_mode():
            return self.model.feature(self.signals)

    def check(self, ours):
        near("vectors", ours["vectors"], self.run().numpy(), 1e-4)


class PretrainStep:
    """Five losses, backward and AdamW on sixteen recordings, hidden states of their texts given; dropout on."""

    def __init__(self, name, data, exchange):
        torch.set_num_threads(THREADS)
        torch.manual_seed(SEED)
        self.model = deri.Deri()
        size = 16
        kept = torch.stack([torch.rand(size, deri.TOKENS).argsort(1)[:, : deri.KEPT].sort(1).values for _ in range(2)])
        self.batch = {
            "signals": torch.from_numpy(recordings(data, size)),
            "pooled": torch.randn(size, deri.TEXT),
            "states": torch.randn(size, deri.WORDS, deri.TEXT),
            "views": kept,
        }
        share(exchange, name, self.model.state(), {key: value.numpy() for key, value in self.batch.items()})
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-4, eps=1e-8, weight_decay=1e-8, fused=True)

    def run(self):
        self.model.train()
        loss = self.model.loss(self.batch)
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        return loss.item()

    def check(self, ours):
        """Loss and gradient norm of the shared weights, without dropout, with the running statistics."""
        self.model.eval()
        loss = self.model.loss(self.batch)
        loss.backward()
        norm = torch.nn.utils.get_total_norm([p.grad for p in self.model.parameters()]).item()
        self.optimizer.zero_grad()
        near("loss", ours["loss"], np.array([loss.item()]), 1e-4 * loss.item())
        near("gradient norm", ours["gradient_norm"], np.array([norm]), 1e-3 * norm)


def language_model():
    """DistilGPT-2 with two new tokens and attention to recordings, random."""
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.set_num_threads(THREADS)
    torch.manual_seed(SEED)
    config = GPT2Config(
        vocab_size=50_259, n_layer=6, add_cross_attention=True, bos_token_id=50_257, eos_token_id=50_256, pad_token_id=50_258
    )
    return GPT2LMHeadModel(config)


def states_of(model):
    """Its parameters, without the table that is there twice."""
    own = model.state_dict().items()
    return {f"decoder.{name}": value.numpy() for name, value in own if not name.startswith("lm_head.")}


class Generate:
    """64 new tokens for each of eight recordings, one token of memory each. The peer is the faster of the library's own search and a plain
    loop with its cache, where there is such a loop."""

    def __init__(self, name, data, exchange):
        self.model = language_model().eval()
        self.beams = 3 if name.endswith("beam3") else 1
        width = self.model.config.n_embd
        self.memory = 3 * torch.randn(8, 1, width)
        # The map from vectors to the width of the decoder is the identity.
        head = {"head.weight": np.eye(width, dtype=np.float32), "head.bias": np.zeros(width, np.float32)}
        share(exchange, name, {**head, **states_of(self.model)}, {"memory": self.memory.numpy()})
        self.run = self.searched
        if self.beams == 1:
            times = []
            for way in (self.searched, self.looped):
                way()
                start = time.perf_counter()
                way()
                times.append((time.perf_counter() - start, way))
            self.run = min(times, key=lambda own: own[0])[1]

    def searched(self):
        with torch.inference_mode():
            return self.model.generate(
                torch.full((8, 1), 50_257), encoder_hidden_states=self.memory, max_new_tokens=64,
                num_beams=self.beams, do_sample=False, early_stopping=False,
            )

    def looped(self):
        with torch.inference_mode():
            tokens, cache = [torch.full((8, 1), 50_257)], None
            for _ in range(64):
                found = self.model(tokens[-1], encoder_hidden_states=self.memory, past_key_values=cache, use_cache=True)
                cache = found.past_key_values
                tokens.append(found.logits[:, -1].argmax(1, keepdim=True))
            return torch.cat(tokens, 1)

    def check(self, ours):
        if not np.array_equal(self.run().numpy(), ours["tokens"]):
            raise ValueError("other tokens")


class TrainStep:
    """Eight reports of 64 tokens: forward, backward and AdamW; dropout on."""

    def __init__(self, name, data, exchange):
        self.model = language_model()
        width = self.model.config.n_embd
        self.memory, self.ids = torch.randn(8, 1, width), torch.randint(0, 50_256, (8, 64))
        head = {"head.weight": np.eye(width, dtype=np.float32), "head.bias": np.zeros(width, np.float32)}
        tensors = {"memory": self.memory.numpy(), "ids": self.ids.numpy()}
        share(exchange, name, {**head, **states_of(self.model)}, tensors)
        self.head = torch.nn.Linear(width, width)
        with torch.no_grad():
            self.head.weight.copy_(torch.eye(width))
            self.head.bias.zero_()
        self.learned = [*self.head.parameters(), *self.model.parameters()]
        self.optimizer = torch.optim.AdamW(self.learned, lr=1e-5, weight_decay=1e-8, fused=True)

    def loss(self):
        return self.model(self.ids, encoder_hidden_states=self.head(self.memory), labels=self.ids).loss

    def run(self):
        self.model.train()
        loss = self.loss()
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        return loss.item()

    def check(self, ours):
        self.model.eval()
        loss = self.loss()
        loss.backward()
        norm = torch.nn.utils.get_total_norm([p.grad for p in self.learned]).item()
        self.optimizer.zero_grad()
        near("loss", ours["loss"], np.array([loss.item()]), 1e-4 * loss.item())
        near("gradient norm", ours["gradient_norm"], np.array([norm]), 1e-3 * norm)


# Words of ECG reports, of which texts to score are made.
REPORT = (
    "sinus rhythm normal ecg atrial fibrillation left axis deviation right bundle branch block anterior infarct probably old st depression"
    " in lateral leads t wave inversion sinusrhythmus linkstyp qrs normal unbestätigter bericht nicht ausgeschlossen"
).split()


class Scores:
    """BLEU-1 to BLEU-4 and ROUGE-L of 15,424 pairs, by NLTK and rouge-score."""

    def __init__(self, name, data, exchange):
        draw = np.random.default_rng(SEED)
        text = lambda: " ".join(draw.choice(REPORT, draw.integers(3, 25)))
        self.pairs = [(text(), text()) for _ in range(15_424)]
        (exchange / f"{name}.pairs.json").write_text(json.dumps(self.pairs))

    def run(self):
        from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu
        from rouge_score import rouge_scorer

        smooth = SmoothingFunction().method1
        weights = [(1.0,), (0.5, 0.5), (0.33, 0.33, 0.33), (0.25, 0.25, 0.25, 0.25)]
        scorer = rouge_scorer.RougeScorer(["rougeL"], use_stemmer=True)
        sums = np.zeros(5)
        for reference, generated in self.pairs:
            one, other = [reference.split()], generated.split()
            each = [sentence_bleu(one, other, own, smoothing_function=smooth) for own in weights]
            sums += [*each, scorer.score(reference, generated)["rougeL"].fmeasure]
        return sums / len(self.pairs)

    def check(self, ours):
        near("scores", ours["scores"], self.run(), 1e-6)


MADE = {
    "deri_pretrain_step": PretrainStep,
    "gpt2_generate_greedy": Generate,
    "gpt2_generate_beam3": Generate,
    "gpt2_train_step": TrainStep,
    "text_scores": Scores,
}


def make(name, data, exchange):
    return MADE.get(name, Infer)(name, data, exchange)
