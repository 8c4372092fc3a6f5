#!/usr/bin/env bash
# Compares this engine with Burn (wgpu, with fusion and autotune) and PyTorch on the same cases and the same
# device. Their processes take turns, and the best of all rounds counts. Writes
# benches/results/NAME/peers.{jsonl,md}. The first run compiles Burn: half an hour on two cores.
#
#   scripts/peers.sh NAME [ROUNDS]
source "$(dirname "$0")/setup.sh"

name=${1:?usage: scripts/peers.sh NAME [ROUNDS]}
rounds=${2:-2}
require_rust
cargo build --release --quiet
require_device
cargo bench --bench peers --no-run --quiet
burn=benches/peers/burn
cargo build --release --quiet --manifest-path $burn/Cargo.toml
python=python3
if ! $python -c 'import torch' 2>/dev/null; then
    # Debian's package works with Debian's interpreter only.
    install_packages python3-torch
    python=/usr/bin/python3
fi

out=benches/results/$name
mkdir -p "$out"
lines=$out/peers.jsonl
: >"$lines"
caches=$(mktemp -d)
trap 'rm -rf "$caches"' EXIT
for round in $(seq "$rounds"); do
    # An empty shader cache, so that the first step includes compiling.
    export MESA_SHADER_CACHE_DIR=$caches/$round
    cargo bench --bench peers --quiet | tee -a "$lines"
    $burn/target/release/sff-peer-burn | tee -a "$lines"
    $python benches/peers/torch_peer.py --threads 1 | tee -a "$lines"
done
python3 scripts/peers.py "$lines" >"$out/peers.md"
cat "$out/peers.md"
