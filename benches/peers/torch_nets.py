"""Training steps of whole networks in PyTorch: backpropagation, and the Scalable Forward-Forward
algorithm block by block with 1×1 heads; prints a line of JSON per case.

    python3 benches/peers/torch_nets.py [--batch 128 512] [--classes 10 1000] [--steps N] [--device cpu]

Every network, method and batch in float32 (TF32 off, channels last) and float16 (autocast), first
eager, then by torch.compile. Needs torchvision for the definitions of the networks, and a GPU that
CUDA knows; `--device cpu` is to try it without one, in float32.
"""

import argparse
import contextlib
import itertools
import json
import time

import torch
import torch.nn.functional as F
import torchvision
from torch import nn


def blocks_of(arch, classes):
    """The network as a list of residual blocks, and its head for backpropagation."""
    if arch == "resnet18":
        net = torchvision.models.resnet18(num_classes=classes)
        net.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
        stem = nn.Sequential(net.conv1, net.bn1, net.relu)
        blocks = [stem, *net.layer1, *net.layer2, *net.layer3, *net.layer4]
        return blocks, nn.Sequential(net.avgpool, nn.Flatten(), net.fc)
    net = torchvision.models.mobilenet_v3_small(num_classes=classes)
    net.features[0][0].stride = (1, 1)  # For images of 32 pixels.
    return list(net.features), nn.Sequential(net.avgpool, nn.Flatten(), net.classifier)


class Local(nn.Module):
    """A block with a goodness head of its own."""

    def __init__(self, block, channels, classes):
        super().__init__()
        self.block = block
        self.aux = nn.Conv2d(channels, classes, 1, bias=False)

    def forward(self, x, y):
        n = self.block(x)
        n = F.layer_norm(n, n.shape[1:], eps=1e-5)
        goodness = self.aux(n).float().square().mean((2, 3))
        return F.cross_entropy(goodness, y), n.detach()


def synchronize(device):
    if device.type == "cuda":
        torch.cuda.synchronize()


def measure(arch, method, batch, classes, half, compiled, options):
    """Images per second, and the most bytes that the allocator gave out (None on a CPU)."""
    torch.manual_seed(0)
    device = torch.device(options.device)
    x = torch.randn(batch, 3, options.side, options.side, device=device)
    x = x.to(memory_format=torch.channels_last)
    y = torch.arange(batch, device=device) % classes
    blocks, head = blocks_of(arch, classes)
    wrap = torch.compile if compiled else lambda module: module
    scaler = torch.amp.GradScaler("cuda") if half else None

    def precision():
        return torch.autocast("cuda", torch.float16) if half else contextlib.nullcontext()

    def adamw(module):
        fused = {"fused": True} if device.type == "cuda" else {}
        return torch.optim.AdamW(module.parameters(), lr=3e-3, weight_decay=1e-2, **fused)

    def update(loss, optimizer):
        optimizer.zero_grad(set_to_none=True)
        if scaler is None:
            loss.backward()
            optimizer.step()
        else:
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()

    if method == "bp":
        net = nn.Sequential(*blocks, head).to(device, memory_format=torch.channels_last)
        run, optimizer = wrap(net), adamw(net)

        def step():
            with precision():
                loss = F.cross_entropy(run(x), y)
            update(loss, optimizer)

    else:
        with torch.no_grad():
            at, widths = torch.zeros(2, 3, options.side, options.side), []
            for block in blocks:
                at = block(at)
                widths.append(at.shape[1])
        locals_ = [Local(block, width, classes) for block, width in zip(blocks, widths)]
        locals_ = [block.to(device, memory_format=torch.channels_last) for block in locals_]
        ways = [(wrap(block), adamw(block)) for block in locals_]

        def step():
            at = x
            for run, optimizer in ways:
                with precision():
                    loss, at = run(at, y)
                update(loss, optimizer)

    for _ in range(5):
        step()
    synchronize(device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    best = float("inf")
    for _ in range(3):
        start = time.perf_counter()
        for _ in range(options.steps):
            step()
        synchronize(device)
        best = min(best, (time.perf_counter() - start) / options.steps)
    peak = torch.cuda.max_memory_allocated() if device.type == "cuda" else None
    return batch / best, peak


def report(arch, method, batch, classes, half, compiled, options):
    row = {
        "peer": f"PyTorch {torch.__version__}" + ", compiled" * compiled,
        "arch": arch,
        "method": method,
        "precision": "f16" if half else "f32",
        "batch": batch,
        "classes": classes,
    }
    try:
        speed, peak = measure(arch, method, batch, classes, half, compiled, options)
        row |= {"images_per_second": speed, "peak_bytes": peak}
    except Exception as error:  # Out of memory, or a compiler's: other cases may do.
        row["error"] = str(error).strip().split("\n")[0][:200]
    if options.device == "cuda":
        row["device"] = torch.cuda.get_device_name()
    print(json.dumps(row), flush=True)


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--batch", type=int, nargs="+", default=[128, 512])
    options.add_argument("--classes", type=int, nargs="+", default=[10])
    options.add_argument("--side", type=int, default=32)
    options.add_argument("--steps", type=int, default=30)
    options.add_argument("--eager-only", action="store_true")
    options.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    options = options.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("this measures a GPU, and PyTorch sees none")
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = True
    # What says most comes first: a machine may not be there for all.
    cases = itertools.product(
        (False,) if options.eager_only else (False, True),
        options.classes,
        options.batch,
        (False,) if options.device == "cpu" else (False, True),
        ("resnet18", "mobilenet-v3-small"),
        ("bp", "sff"),
    )
    for compiled, classes, batch, half, arch, method in cases:
        report(arch, method, batch, classes, half, compiled, options)
        if compiled:
            torch.compiler.reset()


main()
