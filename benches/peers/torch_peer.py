"""The work of cases.json in PyTorch; prints a line of JSON per case.

    python3 benches/peers/torch_peer.py [--device cpu|cuda] [--threads N] [--compile] [--runs N] [--steps N]

float32 throughout, TF32 off, channels last. `--amp`: autocast to float16 on a
GPU, to bfloat16 on a CPU.
"""

import argparse
import json
import pathlib
import time

import torch
import torch.nn.functional as F
from torch import nn


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options.add_argument("--threads", type=int)
    options.add_argument("--compile", action="store_true")
    options.add_argument("--amp", action="store_true")
    options.add_argument("--runs", type=int, default=5)
    options.add_argument("--steps", type=int, default=10)
    options = options.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = True
    device = torch.device(options.device)
    where = "GPU" if device.type == "cuda" else f"CPU, {torch.get_num_threads()} thread(s)"
    half = torch.float16 if device.type == "cuda" else torch.bfloat16
    peer = f"PyTorch {torch.__version__}, {where}"
    peer += ", compiled" * options.compile + f", {half}".replace("torch.", "") * options.amp
    compiled = torch.compile if options.compile else lambda f: f

    def sync():
        if device.type == "cuda":
            torch.cuda.synchronize()

    def report(case, what, runs, work):
        seconds = []
        for _ in range(runs + 1):
            sync()
            start = time.perf_counter()
            with torch.autocast(device.type, half, enabled=options.amp):
                work()
            sync()
            seconds.append(time.perf_counter() - start)
        line = {"peer": peer, "case": case, "what": what, "seconds": min(seconds[1:]), "first": seconds[0]}
        print(json.dumps(line, ensure_ascii=False), flush=True)

    cases = json.loads((pathlib.Path(__file__).parent / "cases.json").read_text())
    n = cases["convolution_batch"]
    for case in cases["convolutions"]:
        k, groups, side = case["kernel"], case["groups"], case["side"]
        x = torch.randn(n, case["in"], side, side, device=device).to(memory_format=torch.channels_last)
        w = torch.randn(case["out"], case["in"] // groups, k, k, device=device)
        dy = torch.randn(n, case["out"], side, side, device=device).to(memory_format=torch.channels_last)
        convolve = compiled(lambda x, w, k=k, g=groups: F.conv2d(x, w, padding=k // 2, groups=g))
        with torch.no_grad():
            report(case["name"], "forward", options.runs, lambda: convolve(x, w))
        x.requires_grad_()
        w.requires_grad_()

        def both():
            x.grad = w.grad = None
            convolve(x, w).backward(dy)

        report(case["name"], "forward and backward", options.runs, both)

    case = cases["cnn"]
    layers, channels = [], 1
    for index, width in enumerate(case["widths"]):
        layers += [nn.Conv2d(channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
        layers += [nn.MaxPool2d(2)] if index < 2 else []
        channels = width
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, case["classes"])]
    model = nn.Sequential(*layers).to(device).to(memory_format=torch.channels_last)
    run = compiled(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=1e-2)
    x = torch.randn(case["batch"], 1, case["side"], case["side"], device=device)
    y = torch.arange(case["batch"], device=device) % case["classes"]

    def step():
        optimizer.zero_grad(set_to_none=True)
        F.cross_entropy(run(x), y).backward()
        optimizer.step()

    report("cnn", "training step", options.steps, step)


main()
