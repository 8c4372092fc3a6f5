#!/usr/bin/env bash
# Training speed of ResNet18 and MobileNetV3-Small on a GPU, with images of 32 pixels: by SFF in blocks and
# by backpropagation, in float32 and float16, next to PyTorch (eager, and compiled) if there is one that
# sees a GPU. Writes benches/results/NAME/nets.{jsonl,md}. A machine without Rust uses what was built
# elsewhere and copied to target/.
#
#   scripts/nets.sh NAME [DEVICE]
#   BATCHES=2 CLASSES=10 STEPS=2 scripts/nets.sh NAME   to try it on a CPU
source "$(dirname "$0")/setup.sh"

name=${1:?usage: scripts/nets.sh NAME [DEVICE]}
if command -v cargo >/dev/null; then cargo build --release --quiet; fi
mkdir -p "benches/results/$name"
# shellcheck disable=SC2086
python3 scripts/nets.py "benches/results/$name/nets" ${2:+--device "$2"} \
    --batch ${BATCHES:-128 512} --classes ${CLASSES:-10 1000} --steps "${STEPS:-20}"
