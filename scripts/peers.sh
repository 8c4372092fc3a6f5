#!/usr/bin/env bash
# The same work in this engine, Burn (wgpu, with fusion and autotune) and PyTorch, side by side on the
# same device: rounds of one process of each in turn, the best of all rounds. Writes
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
    # Debian's package is for Debian's own interpreter.
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
    # First steps are with nothing compiled: Mesa would remember.
    export MESA_SHADER_CACHE_DIR=$caches/$round
    cargo bench --bench peers --quiet | tee -a "$lines"
    $burn/target/release/sff-peer-burn | tee -a "$lines"
    $python benches/peers/torch_peer.py --threads 1 | tee -a "$lines"
done
python3 scripts/peers.py "$lines" >"$out/peers.md"
cat "$out/peers.md"
