#!/usr/bin/env bash
# Runs every check: format, lints, documentation, tests. Works on a bare Debian or Ubuntu with
# Rust; a software Vulkan driver is installed if there is no GPU, and Chromium if there is none.
source "$(dirname "$0")/setup.sh"

require_rust
cargo build --release --quiet
require_device
wish_browser

step() {
    echo "== $*"
    "$@"
}
step cargo fmt --check
step cargo clippy --release --all-targets --quiet -- -D warnings
RUSTDOCFLAGS="-D warnings" step cargo doc --release --no-deps --quiet

log=$(mktemp)
trap 'rm -f "$log"' EXIT
status=0
echo "== cargo test --release"
cargo test --release --no-fail-fast 2>&1 | tee "$log" || status=$?
sum() { sed -n "s/^test result: .*[ ;]\([0-9]*\) $1.*/\1/p" "$log" | awk '{n += $1} END {print n + 0}'; }
grep -h '^skipped' "$log" || true
echo "$(sum passed) passed, $(sum failed) failed, $(sum ignored) ignored"
exit "$status"
