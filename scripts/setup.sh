# Sourced by the other scripts: stops on errors, changes to the top of the checkout, and defines functions
# that install Debian or Ubuntu packages.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# Without a desktop session, Mesa's layer that selects a GPU for windows prints errors that do not matter
# here.
export NODEVICE_SELECT=1

install_packages() {
    if ! command -v apt-get >/dev/null; then
        echo "please install the equivalent of: $* (there is no apt-get here)" >&2
        exit 2
    fi
    local sudo=""
    [ "$(id -u)" -eq 0 ] || sudo=sudo
    echo "installing $*"
    $sudo apt-get update -qq
    DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq "$@" >/dev/null
}

require_rust() {
    if ! command -v cargo >/dev/null; then
        echo "Rust is missing: install it from https://rustup.rs, then run this again" >&2
        exit 2
    fi
    # Some crates need the system's C toolchain.
    command -v cc >/dev/null || install_packages gcc libc6-dev
}

# Test modules and benchmarks that scripts/gpu.sh runs besides the program.
gpu_tests=(gpu::golden gpu::gradients train::networks gpu::kernels)
gpu_benches=(rates steps)

# build_gpu_programs FOLDER: builds them, and links them in FOLDER by names without cargo's hashes.
build_gpu_programs() {
    local name path log=$1/build.log
    require_rust
    mkdir -p "$1"
    # Building the tests builds the program, too.
    if ! { cargo --color never test --release --no-run --test=integration &&
        cargo --color never bench --no-run "${gpu_benches[@]/#/--bench=}"; } >"$log" 2>&1; then
        cat "$log" >&2
        exit 2
    fi
    for name in integration "${gpu_benches[@]}"; do
        path=$(sed -n "s/^ *Executable .*(\(.*\/$name-[0-9a-f]*\))$/\1/p" "$log")
        path=$(realpath "${path:?cargo did not say where $name is}")
        ln -sf "$path" "$1/$name"
    done
    ln -sf "$(dirname "$(dirname "$path")")/sff" "$1/sff"
}

# Installs a software driver if there is no device at all.
require_device() {
    target/release/sff devices >/dev/null 2>&1 || install_packages libvulkan1 mesa-vulkan-drivers
    target/release/sff devices
}

# Whether the system's packages have a second software driver, SwiftShader. Debian's is part of Chromium.
offers_swiftshader() {
    command -v apt-get >/dev/null && apt-cache show chromium-common >/dev/null 2>&1
}

# Unpacks that driver, without the rest of the package.
require_swiftshader() {
    local folder=target/swiftshader
    export VK_DRIVER_FILES=$PWD/$folder/usr/lib/chromium/vk_swiftshader_icd.json
    export VK_ICD_FILENAMES=$VK_DRIVER_FILES
    [ ! -e "$VK_DRIVER_FILES" ] || return 0
    if ! offers_swiftshader; then
        echo "please install SwiftShader, and name its JSON file in VK_DRIVER_FILES (no package has it here)" >&2
        exit 2
    fi
    echo "unpacking SwiftShader"
    mkdir -p "$folder"
    (
        cd "$folder"
        apt-get download -qq chromium-common
        dpkg-deb --fsys-tarfile chromium-common_*.deb |
            tar -x --wildcards '*/libvk_swiftshader.so' '*/vk_swiftshader_icd.json'
        rm chromium-common_*.deb
    )
}

# Whether Khronos' validation layer for Vulkan is installed.
has_validation_layer() {
    [ -e /usr/share/vulkan/explicit_layer.d/VkLayer_khronos_validation.json ] || [ -n "${VK_LAYER_PATH:-}" ]
}

require_fashion_mnist() {
    local folder
    for folder in datasets/fashion-mnist /usr/share/datasets/fashion-mnist; do
        [ -e "$folder/train-images-idx3-ubyte.gz" ] && return
        [ -e "$folder/train-images-idx3-ubyte" ] && return
    done
    install_packages dataset-fashion-mnist
}

# Installs Chromium if possible. Tests of pages are skipped without it.
try_browser() {
    local name
    for name in chromium chromium-browser google-chrome; do
        command -v "$name" >/dev/null && return
    done
    command -v apt-get >/dev/null || return 0
    install_packages chromium || echo "no Chromium: tests of pages will be skipped" >&2
}
