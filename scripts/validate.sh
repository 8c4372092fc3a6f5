#!/usr/bin/env bash
# Runs a training step of every network under Khronos' validation layer with synchronisation validation, and
# fails if the layer reports anything. First the layer must report a data race in a test that has one on
# purpose. Linux only; half a minute after the build.
source "$(dirname "$0")/setup.sh"

require_rust
layer=VK_LAYER_KHRONOS_validation
has_validation_layer || install_packages vulkan-validationlayers

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
log=$folder/log
cat >"$folder/vk_layer_settings.txt" <<END
khronos_validation.enables = VK_VALIDATION_FEATURE_ENABLE_SYNCHRONIZATION_VALIDATION_EXT
khronos_validation.debug_action = VK_DBG_LAYER_ACTION_LOG_MSG
khronos_validation.report_flags = error,warn,perf,info
khronos_validation.log_filename = $log
END

# Compiles first, because only the tests should run under the layer.
cargo test --release --quiet --no-run --test integration

# under_layer FILTER…: runs some tests, and writes the reports of the layer to $log.
under_layer() {
    VK_INSTANCE_LAYERS=$layer VK_LAYER_SETTINGS_PATH=$folder XDG_CACHE_HOME=$folder \
        cargo test --release --quiet --test integration -- "$@" | tee "$folder/tests"
    if grep -q '^running 0 tests' "$folder/tests"; then
        echo "there is no test $*" >&2
        exit 1
    fi
    if ! grep -q "Current Enables: .*SYNCHRONIZATION_VALIDATION" "$log"; then
        echo "synchronisation validation was not on" >&2
        exit 1
    fi
}

under_layer --ignored gpu::validation
if ! grep -q SYNC-HAZARD-WRITE-AFTER-WRITE "$log"; then
    echo "the validation layer did not report the data race" >&2
    exit 1
fi
under_layer train::networks::a_step_of_every_network
# Messages of other severities are about the layer itself, such as that it has no cache yet.
if grep -E '\((ERROR|WARN|PERF)' "$log"; then
    echo "the validation layer reported the problems above" >&2
    exit 1
fi
echo "the validation layer reported the data race, and nothing about the networks"
