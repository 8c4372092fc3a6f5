#!/usr/bin/env bash
# Runs every check: format, lints, documentation, tests. Works on a minimal Debian or Ubuntu with Rust: it
# installs a software Vulkan driver if there is no GPU, and Chromium if it is missing. Some tests also run
# on a second driver, if available, and a step of every network under Khronos' validation layer.
#
#   scripts/test.sh                       all checks
#   scripts/test.sh --device NAME         only the tests, on the device of that name; `swiftshader`
#                                         is installed if it is missing
#   scripts/test.sh --portable            only the tests, within WebGPU's default limits
#   scripts/test.sh … TEST…               only tests whose names contain one of these, such as gpu::kernels
source "$(dirname "$0")/setup.sh"

tests=()
only_tests=
while [ $# -gt 0 ]; do
    case $1 in
    --device)
        export SFF_TEST_DEVICE=${2:?--device needs a name}
        [ "$SFF_TEST_DEVICE" != swiftshader ] || require_swiftshader
        shift
        only_tests=yes
        ;;
    --portable)
        export SFF_TEST_PORTABLE=1
        only_tests=yes
        ;;
    -*)
        echo "there is no option $1: see the first lines of scripts/test.sh" >&2
        exit 2
        ;;
    *)
        tests+=("$1")
        only_tests=yes
        ;;
    esac
    shift
done

require_rust
# Not `cargo build`: dev-dependencies change the features of some crates, which would be built twice.
cargo test --release --no-run --quiet
require_device
try_browser

step() {
    echo "== $*"
    "$@"
}

status=0
log=$(mktemp)
trap 'rm -f "$log"' EXIT

# run_tests ARGUMENTS…: continues after failures, and prints the totals.
run_tests() {
    echo "== cargo test --release $*"
    cargo test --release --no-fail-fast "$@" 2>&1 | tee "$log" || status=$?
    grep -h '^skipped' "$log" || true
    echo "$(sum passed) passed, $(sum failed) failed, $(sum ignored) ignored"
}
sum() { sed -n "s/^test result: .*[ ;]\([0-9]*\) $1.*/\1/p" "$log" | awk '{n += $1} END {print n + 0}'; }

if [ -n "$only_tests" ]; then
    run_tests --test integration -- "${tests[@]}"
    exit "$status"
fi

# without_cli: fails if the library without `cli` depends on a crate of the command line.
without_cli() {
    local tree
    tree=$(cargo tree --edges normal --no-default-features --prefix none) || return
    ! grep -E '^(clap|clap_[a-z]+|indicatif|signal-hook|tar|toml|ureq) ' <<<"$tree"
}

step cargo fmt --check
step cargo clippy --release --all-targets --quiet -- -D warnings
# The library without the feature `cli`.
step cargo clippy --release --no-default-features --lib --examples --quiet -- -D warnings
without_cli || status=$?
RUSTDOCFLAGS="-D warnings" step cargo doc --release --no-deps --quiet
run_tests
# Every stage, with tiny sizes.
step bash scripts/gpu.sh quick --quick || status=$?
if offers_swiftshader; then
    # All kernels on a second driver.
    step bash scripts/test.sh --device swiftshader gpu::golden gpu::gradients gpu::kernels || status=$?
else
    echo "skipped: tests on a second driver, SwiftShader, which is in no package here"
fi
if has_validation_layer || command -v apt-get >/dev/null; then
    step bash scripts/validate.sh || status=$?
else
    echo "skipped: a step of every network under Khronos' validation layer, which is not installed"
fi
exit "$status"
