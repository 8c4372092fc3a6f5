#!/usr/bin/env bash
# Builds sff, trains a small network on Fashion-MNIST by Scalable Forward-Forward (about a minute
# on two CPU cores), and classifies a few test images with it.
source "$(dirname "$0")/setup.sh"

require_rust
cargo build --release --quiet
require_device
require_fashion_mnist

# With --resume a second start continues an interrupted first one.
target/release/sff train --dataset fashion-mnist --partition block \
    --train-limit 10000 --epochs 2 --out runs/quickstart --resume

echo
echo "some test images, named after their class, and the predictions:"
target/release/sff data export --dataset fashion-mnist --count 8 --out runs/pictures >/dev/null
target/release/sff predict --run runs/quickstart runs/pictures/*.png
