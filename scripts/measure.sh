#!/usr/bin/env bash
# Measures this machine: its peak, kernel rates, whole steps, a profile, and the reference table of the
# README (Fashion-MNIST, CNN 24/48/96/96, 20,000 images, 3 epochs; on a CPU ten minutes or more).
# Writes raw results to benches/results/NAME. A machine without Rust uses what was built elsewhere and copied to target/.
#
#   scripts/measure.sh NAME [DEVICE]
source "$(dirname "$0")/setup.sh"

name=${1:?usage: scripts/measure.sh NAME [DEVICE]}
device=(${2:+--device "$2"})
export SFF_TEST_DEVICE=${2:-}
[ -n "$SFF_TEST_DEVICE" ] || unset SFF_TEST_DEVICE
if command -v cargo >/dev/null; then
    cargo build --release --quiet
    cargo bench --bench rates --bench steps --no-run --quiet
fi
out=benches/results/$name
mkdir -p "$out"
date -u +%Y-%m-%d >"$out/date.txt"
target/release/sff devices "${device[@]}" --json >"$out/devices.json"
# cargo names programs after a hash.
bench() {
    find target/release/deps -name "$1-*" -executable -type f -printf '%T@ %p\n' | sort -n | tail -1 | cut -d' ' -f2
}
target/release/sff bench peak "${device[@]}" --json >"$out/peak.json"
"$(bench rates)" --json >"$out/rates.json"
"$(bench steps)" --json >"$out/steps.jsonl"
target/release/sff profile --batch 64 "${device[@]}" --html "$out/profile.html" >"$out/profile.txt"
runs=$(mktemp -d)
trap 'rm -rf "$runs"' EXIT
for way in "sff --partition layer" "sff --partition block" "bp"; do
    label=$(echo "$way" | tr -d ' ')
    # shellcheck disable=SC2086
    target/release/sff train --dataset fashion-mnist --widths 24,48,96,96 --train-limit 20000 \
        --epochs 3 --method $way "${device[@]}" --out "$runs/$label"
    for file in metrics timing; do
        cp "$runs/$label/$file.jsonl" "$out/${label/--partition/-}.$file.jsonl"
    done
done
echo "wrote $out"
