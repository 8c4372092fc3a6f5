"""Training steps of whole networks in PyTorch: backpropagation, and the Scalable Forward-Forward
algorithm block by block with 1×1 heads; prints a line of JSON per case. For a GPU.

    python3 benches/peers/torch_nets.py [--batch 128 512] [--classes 10] [--steps N] [--side 32]

Every network, method and batch in float32 (TF32 off, channels last) and float16 (autocast), eager
and by torch.compile. Needs torchvision for the definitions of the networks.
"""

import argparse
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


def measure(arch, method, batch, half, compiled, options):
    torch.manual_seed(0)
    device = torch.device("cuda")
    x = torch.randn(batch, 3, options.side, options.side, device=device)
    x = x.to(memory_format=torch.channels_last)
    y = torch.arange(batch, device=device) % options.classes
    blocks, head = blocks_of(arch, options.classes)
    wrap = torch.compile if compiled else lambda module: module
    scaler = torch.amp.GradScaler("cuda", enabled=half)

    def adamw(module):
        return torch.optim.AdamW(module.parameters(), lr=3e-3, weight_decay=1e-2, fused=True)

    def update(loss, optimizer):
        optimizer.zero_grad(set_to_none=True)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()

    if method == "bp":
        net = nn.Sequential(*blocks, head).to(device, memory_format=torch.channels_last)
        run, optimizer = wrap(net), adamw(net)

        def step():
            with torch.autocast("cuda", torch.float16, enabled=half):
                loss = F.cross_entropy(run(x), y)
            update(loss, optimizer)

    else:
        with torch.no_grad():
            at, widths = torch.zeros(2, 3, options.side, options.side), []
            for block in blocks:
                at = block(at)
                widths.append(at.shape[1])
        locals_ = [Local(block, width, options.classes) for block, width in zip(blocks, widths)]
        locals_ = [block.to(device, memory_format=torch.channels_last) for block in locals_]
        ways = [(wrap(block), adamw(block)) for block in locals_]

        def step():
            at = x
            for run, optimizer in ways:
                with torch.autocast("cuda", torch.float16, enabled=half):
                    loss, at = run(at, y)
                update(loss, optimizer)

    for _ in range(5):
        step()
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    best = float("inf")
    for _ in range(3):
        start = time.perf_counter()
        for _ in range(options.steps):
            step()
        torch.cuda.synchronize()
        best = min(best, (time.perf_counter() - start) / options.steps)
    line = {
        "peer": f"PyTorch {torch.__version__}" + ", compiled" * compiled,
        "arch": arch,
        "method": method,
        "precision": "f16" if half else "f32",
        "batch": batch,
        "classes": options.classes,
        "images_per_second": batch / best,
        "peak_bytes": torch.cuda.max_memory_allocated(),
        "device": torch.cuda.get_device_name(),
    }
    print(json.dumps(line), flush=True)


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--batch", type=int, nargs="+", default=[128, 512])
    options.add_argument("--classes", type=int, default=10)
    options.add_argument("--side", type=int, default=32)
    options.add_argument("--steps", type=int, default=30)
    options.add_argument("--eager-only", action="store_true")
    options = options.parse_args()
    if not torch.cuda.is_available():
        raise SystemExit("this measures a GPU, and PyTorch sees none")
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = True
    for arch in ("resnet18", "mobilenet-v3-small"):
        for method in ("bp", "sff"):
            for batch in options.batch:
                for half in (False, True):
                    for compiled in (False,) if options.eager_only else (False, True):
                        measure(arch, method, batch, half, compiled, options)
                        torch.compiler.reset()


main()
