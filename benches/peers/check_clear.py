"""Checks clear.py against reference values of the original program: `python benches/peers/check_clear.py GOLDEN/clear-hug`."""

import json
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from peers import clear, safetensors_file  # noqa: E402

SIZES = ("embed_dim", "depth", "heads", "mlp_dim", "decoder_embed_dim", "decoder_depth", "decoder_heads", "dropout", "mask_ratio")


def case(folder):
    config = json.loads((folder / "config.json").read_text())
    tensors = lambda name: {k: torch.from_numpy(v) for k, v in safetensors_file.load(folder / name).items()}
    sizes = clear.Config(**{k: config[k] for k in SIZES})
    return config, sizes, tensors("weights.safetensors"), tensors("io.safetensors")


def close(what, found, expected, tolerance):
    error = (found - expected).abs().max().item()
    print(f"{what:<40} {error:.2e} (<= {tolerance:.0e})")
    return error <= tolerance


def main(root):
    passed = []
    _, sizes, weights, io = case(root / "pretrain-forward")
    model = clear.Clear(sizes)
    model.load_state_dict(weights)
    loss, predicted = model(io["signals"], io["in_chans"], io["in_times"], io["noise"][0])
    loss.backward()
    passed.append(close("pretrain-forward: predictions", predicted, io["pred"], 2e-5))
    passed.append(close("pretrain-forward: loss", loss, io["loss"].reshape(()), 1e-5 * io["loss"].abs().item()))
    for name, parameter in model.named_parameters():
        passed.append(close(f"  grad {name}", parameter.grad, io[f"grad.{name}"], 1e-5))
    for name, hug in (("finetune-clear", False), ("finetune-clear-hug", True)):
        config, sizes, weights, io = case(root / name)
        model = clear.Classifier(config["num_classes"], sizes, hug)
        model.load_state_dict(weights)
        with torch.inference_mode():
            logits = model(io["signals"], io["in_chans"], io["in_times"], torch.argsort(io["noise"][0]))
        passed.append(close(f"{name}: logits", logits, io["logits"], 2e-5))
    print("all equal" if all(passed) else "DIFFERENT")
    return 0 if all(passed) else 1


if __name__ == "__main__":
    torch.set_num_threads(2)
    sys.exit(main(Path(sys.argv[1])))
