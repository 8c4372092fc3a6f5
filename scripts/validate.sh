#!/usr/bin/env bash
# Runs a training step of every network under Khronos' validation layer, with synchronisation
# validation on, and fails if the layer has anything to say. First it must notice a data race that a
# test makes on purpose. Linux only; half a minute once it is built.
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

# Compiled first: only the tests are to be under the layer.
cargo test --release --quiet --no-run --test integration

# under_layer FILTER…: runs some tests, and leaves what the layer said in $log.
under_layer() {
    VK_INSTANCE_LAYERS=$layer VK_LAYER_SETTINGS_PATH=$folder XDG_CACHE_HOME=$folder \
        cargo test --release --quiet --test integration -- "$@"
    if ! grep -q "Current Enables: .*SYNCHRONIZATION_VALIDATION" "$log"; then
        echo "synchronisation validation was not on" >&2
        exit 1
    fi
}

under_layer --ignored gpu::validation
if ! grep -q SYNC-HAZARD-WRITE-AFTER-WRITE "$log"; then
    echo "the layer did not notice a data race" >&2
    exit 1
fi
under_layer train::networks::a_step_of_every_network
# The layer tells of itself, too: that it is there, and that it has no cache yet.
if grep -E '\((ERROR|WARN|PERF)' "$log"; then
    echo "the validation layer has something to say" >&2
    exit 1
fi
echo "the validation layer noticed the data race, and has nothing to say of the networks"
