#!/usr/bin/env python3
"""Writes tests/train/parity.json: logits of torchvision's networks for a few images.

Weights and images are computed from their names and positions by a formula that tests/train/parity.rs
repeats, so that neither has to be stored. Run in an environment with torch and torchvision:

    python scripts/parity.py
"""

import json
from pathlib import Path

import numpy as np
import torch
import torchvision

CLASSES = 10
IMAGES = 2
SPREAD = 4.5
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
OUT = Path(__file__).parent.parent / "tests" / "train" / "parity.json"


def mix(z):
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def hashed(a, b, c, d):
    """The `hash` of src/base/random.rs, also for arrays."""
    gamma = np.uint64(0x9E3779B97F4A7C15)
    h = np.uint64(0)
    for word in (a, b, c, d):
        h = mix((h ^ np.asarray(word, dtype=np.uint64)) + gamma)
    return h


def values(name, shape):
    """Parameters of batch norm away from 0 and 1; elsewhere a variance that keeps the activations of
    every network moderate, so that rounding errors stay small, and smaller biases."""
    key = np.uint64(0)
    for byte in name.encode():
        key = hashed(key, byte, 0, 0)
    bits = hashed(key, np.arange(int(np.prod(shape)), dtype=np.uint64), 0, 0)
    uniform = (bits >> np.uint64(11)).astype(np.float64) / 2.0**53
    signed = 2.0 * uniform - 1.0
    if name.endswith("running_var") or (name.endswith("weight") and len(shape) == 1):
        out = 0.5 + uniform
    elif len(shape) == 1:
        out = 0.2 * signed
    else:
        out = signed * np.sqrt(SPREAD / np.prod(shape[1:]))
    return torch.from_numpy(out.astype(np.float32).reshape(shape))


def images(side):
    count = side * side * 3
    at = np.arange(count, dtype=np.uint64)
    # The second image is darker.
    pixels = [(hashed(i, at, side, 7) & np.uint64(255)) >> np.uint64(2 * i) for i in range(IMAGES)]
    pixels = np.stack(pixels)
    pixels = pixels.astype(np.float64).reshape(IMAGES, side, side, 3) / 255.0
    pixels = (pixels - np.array(MEAN)) / np.array(STD)
    return torch.from_numpy(pixels.transpose(0, 3, 1, 2).copy())


def network(arch, stem):
    net = getattr(torchvision.models, arch.replace("-", "_"))(num_classes=CLASSES)
    if stem == "cifar" and arch == "resnet18":
        net.conv1 = torch.nn.Conv2d(3, 64, 3, stride=1, padding=1, bias=False)
        net.maxpool = torch.nn.Identity()
    elif stem == "cifar":
        net.features[0][0].stride = (1, 1)
    state = net.state_dict()
    for name, tensor in state.items():
        if not name.endswith("num_batches_tracked"):
            state[name] = values(name, tuple(tensor.shape))
    net.load_state_dict(state)
    tensors = {k: list(v.shape) for k, v in state.items()}
    return net.double().eval(), tensors


def main():
    cases = []
    with torch.no_grad(), np.errstate(over="ignore"):
        for arch in ("resnet18", "mobilenet-v3-small", "mobilenet-v3-large"):
            for stem, sides in (("imagenet", (64, 96)), ("cifar", (32,))):
                net, tensors = network(arch, stem)
                results = {side: net(images(side)) for side in sides}
                single = {side: net.float()(images(side).float()) for side in sides}
                for side, exact in results.items():
                    rounding = (single[side] - exact).abs().amax() / exact.abs().amax()
                    print(f"{arch}, {stem} stem, {side} px: float32 is off by {rounding:.1e}")
                    assert rounding < 1e-5, "the rounding errors are too large for a comparison"
                results = {side: logits.tolist() for side, logits in results.items()}
                case = {"arch": arch, "stem": stem, "logits": results, "tensors": tensors}
                cases.append(case)
    versions = {"torch": torch.__version__, "torchvision": torchvision.__version__}
    # A line for each network.
    lines = ",\n".join(json.dumps(case) for case in cases)
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(f'{{"versions": {json.dumps(versions)}, "cases": [\n{lines}\n]}}\n')


if __name__ == "__main__":
    main()
