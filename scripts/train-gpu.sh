#!/usr/bin/env bash
# Trains what needs a GPU, and keeps curves, speed and memory in benches/results/NAME: CIFAR-10 with
# ResNet18 and MobileNetV3-Small, each by backpropagation, as a whole, and block by block. A machine
# without Rust uses what was built elsewhere and copied to target/. Interrupted, it goes on where it
# was.
source "$(dirname "$0")/setup.sh"

name=${1:?usage: scripts/train-gpu.sh NAME [DEVICE]}
device=(${2:+--device "$2"})
if command -v cargo >/dev/null; then cargo build --release --quiet; fi
out=benches/results/$name
mkdir -p "$out"
date -u +%Y-%m-%d >"$out/date.txt"
target/release/sff devices "${device[@]}" --json >"$out/devices.json"
for recipe in cifar10-resnet18 cifar10-mobilenet-v3; do
    runs=runs/$name-$recipe
    target/release/sff compare --recipe "recipes/$recipe.toml" --out "$runs" "${device[@]}"
    for result in "$runs"/results.*; do
        cp "$result" "$out/$recipe.${result##*.}"
    done
    for run in "$runs"/accuracy/*/; do
        label=$recipe.$(basename "$run")
        cp "$run/metrics.jsonl" "$out/$label.metrics.jsonl"
        cp "$run/timing.jsonl" "$out/$label.timing.jsonl"
    done
done
echo "wrote $out"
