"""Checks hubert.py against reference values of the original program: `python benches/peers/check_hubert.py GOLDEN/hubert-ecg`."""

import dataclasses
import json
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from peers import hubert, safetensors_file  # noqa: E402
from peers.check_clear import close  # noqa: E402


def case(folder):
    """The network with its weights, and the values."""
    config = json.loads((folder / "config.json").read_text())
    known = [field.name for field in dataclasses.fields(hubert.Config)]
    tensors = lambda name: {k: torch.from_numpy(v) for k, v in safetensors_file.load(folder / name).items()}
    model = hubert.Hubert(hubert.Config(**{k: config[k] for k in known}))
    model.load_state_dict(tensors("weights.safetensors"))
    return model, tensors("io.safetensors")


def encoder(folder):
    model, io = case(folder)
    model.eval()
    with torch.inference_mode():
        signals = io["input_values"]
        weight = model.encoder.pos_conv_embed.conv.weight
        yield "positional kernel", weight, io["effective_pos_conv_weight"], 1e-6
        runs = {"": {}, "masked.": {"hidden": io["mask_time_indices"].bool()}}
        for name in ("right", "leads"):
            runs[f"{name}."] = {"valid": io[f"token_mask.{name}"].bool()}
        for prefix, more in runs.items():
            states = model.hidden_states(signals, **more)
            for i, state in enumerate(states):
                if f"{prefix}hidden_states.{i}" in io:
                    yield f"{prefix}hidden_states.{i}", state, io[f"{prefix}hidden_states.{i}"], 1e-5
            if not prefix:
                for e, logits in enumerate(model.logits(states[-1])):
                    yield f"logits.{e}", logits, io[f"logits.{e}"], 1e-4
            if f"{prefix}last_hidden_state" in io:
                yield f"{prefix}last_hidden_state", states[-1], io[f"{prefix}last_hidden_state"], 1e-5


def pretraining(folder):
    model, io = case(folder)
    model.train()
    found = [io["input_values"], io["labels"], io["mask_time_indices"].bool()]
    for alpha in ("1.0", "0.7"):
        model.zero_grad()
        loss = model.loss(*found, float(alpha))
        loss.backward()
        yield f"loss at alpha {alpha}", loss, io[f"ones.loss.alpha_{alpha}"].reshape(()), 1e-5 * loss.item()
        for name, parameter in model.named_parameters():
            expected = io.get(f"ones.grad.alpha_{alpha}.{name}")
            if expected is not None:
                # The exact gradient of a key bias is zero: what is found there is rounding.
                tolerance = max(1e-4 * expected.abs().max().item(), 1e-7)
                yield f"  grad {name}", parameter.grad, expected, tolerance


def main(root):
    passed = [close(f"encoder-100hz: {what}", *rest) for what, *rest in encoder(root / "encoder-100hz")]
    passed += [close(f"pretrain-forward: {what}", *rest) for what, *rest in pretraining(root / "pretrain-forward")]
    print("all equal" if all(passed) else "DIFFERENT")
    return 0 if all(passed) else 1


if __name__ == "__main__":
    torch.set_num_threads(2)
    sys.exit(main(Path(sys.argv[1])))
