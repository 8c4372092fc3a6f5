#!/usr/bin/env bash
# Trains a tiny network for 20,000 steps, and fails if memory or the time per step grow. Prints for each
# tenth of the run the memory of the process, the memory of the device, and the steps per second of the
# fastest epoch. Linux only; two minutes on a software driver.
#
#   scripts/soak.sh [EPOCHS] [DEVICE]
source "$(dirname "$0")/setup.sh"

epochs=${1:-2000}
device=(${2:+--device "$2"})
if command -v cargo >/dev/null; then cargo build --release --quiet; fi
run=$(mktemp -d)
trap 'rm -rf "$run"' EXIT
# 10 steps per epoch.
target/release/sff train --dataset shapes --train-limit 160 --test-limit 16 --batch 16 --widths 4 \
    --epochs "$epochs" --test-every "$epochs" --save-steps 1000 "${device[@]}" \
    --out "$run/soak" 2>/dev/null >"$run/table" &
process=$!
timing=$run/soak/timing.jsonl
lines() { if [ -e "$timing" ]; then wc -l <"$timing"; else echo 0; fi; }
field() { sed -n "s/.*\"$1\":\([0-9.]*\).*/\1/p"; }
first="" kib=0
for tenth in 1 2 3 4 5 6 7 8 9 10; do
    at=$((epochs * tenth / 10))
    while [ "$(lines)" -lt "$at" ] && kill -0 "$process" 2>/dev/null; do
        # Keeps the last value after the process has ended.
        now=$(sed -n 's/^VmRSS:[^0-9]*\([0-9]*\) kB/\1/p' "/proc/$process/status" 2>/dev/null) || true
        kib=${now:-$kib}
        sleep 0.2
    done
    bytes=$(sed -n "${at}p" "$timing" | field allocated_bytes)
    # The fastest epoch of a tenth, because other processes may slow down some epochs.
    seconds=$(sed -n "$((at - epochs / 10 + 1)),${at}p" "$timing" | field train_seconds | sort -g |
        sed -n 1p)
    speed=$(awk -v s="$seconds" 'BEGIN {printf "%.0f", 10 / s}')
    echo "step $((10 * at)): $((kib / 1024)) MiB, device $bytes bytes, $speed steps/s"
    if [ -z "$first" ]; then first="$kib $bytes $speed"; fi
done
wait "$process"
awk -v first="$first" -v last="$kib $bytes $speed" 'BEGIN {
    split(first, a, " "); split(last, b, " ")
    if (b[1] > a[1] + 16384) { print "the process grew by " b[1] - a[1] " KiB"; exit 1 }
    if (b[2] != a[2]) { print "the device memory changed"; exit 1 }
    if (b[3] < 0.5 * a[3]) { print "steps became slower"; exit 1 }
    print "memory and time are flat"
}'
