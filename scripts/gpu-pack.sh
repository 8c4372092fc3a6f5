#!/usr/bin/env bash
# Packs scripts/gpu.sh and all that it needs to measure a GPU on a machine without Rust, a network or this
# repository: the program, tests and benchmarks, stripped. OUT is a .tar.gz of at most 40 MiB. On the other
# machine, unpack it and run sff-gpu/scripts/gpu.sh. Its glibc must not be older than the one here.
#
#   scripts/gpu-pack.sh OUT.tar.gz
source "$(dirname "$0")/setup.sh"

# setup.sh changed to the top of the checkout.
out=$(cd "$OLDPWD" && realpath -m "${1:?usage: scripts/gpu-pack.sh OUT.tar.gz}")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
pack=$folder/sff-gpu
mkdir -p "$pack/bin"
build_gpu_programs target/gpu
for name in sff integration "${gpu_benches[@]}"; do
    strip -o "$pack/bin/$name" "target/gpu/$name"
done
commit=$(git rev-parse --short HEAD 2>/dev/null || echo unknown)
[ -z "$(git status --porcelain 2>/dev/null)" ] || commit="$commit and changes"
echo "$commit" >"$pack/COMMIT"
cp --parents -r scripts/setup.sh scripts/gpu.sh recipes tests/golden benches/peers/torch_nets.py "$pack"
tar -C "$folder" -c sff-gpu | gzip -9 >"$out.partial"
mv "$out.partial" "$out"
bytes=$(stat -c %s "$out")
echo "$out: $((bytes >> 10)) KiB"
if [ "$bytes" -gt $((40 << 20)) ]; then
    echo "the pack is larger than 40 MiB" >&2
    exit 1
fi
