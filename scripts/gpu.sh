#!/usr/bin/env bash
# Measures a GPU in one command: its properties, correctness of the kernels, its peak, the tuner, rates of
# kernels, steps of whole networks next to PyTorch, training. The most informative stages come first. Each
# stage has a share of the time, is ended when that is over, and writes its result to benches/results/NAME
# before the next one begins; summary.md there is a readable summary. Runs on Linux, in a checkout or in a
# pack of scripts/gpu-pack.sh, which needs neither Rust nor a network. Exits with 1 if a result is wrong or
# a stage fails.
#
#   scripts/gpu.sh NAME [--minutes M] [--device D] [--data FOLDER] [--quick]
#
# The default is 10 minutes, 2 with --quick. --data is the folder of CIFAR-10 or Fashion-MNIST, if `sff data
# list` does not find them. --quick tries every stage with tiny sizes, also on a software device.
source "$(dirname "$0")/setup.sh"

fail() {
    echo "$*" >&2
    exit 2
}

usage="usage: scripts/gpu.sh NAME [--minutes M] [--device D] [--data FOLDER] [--quick]"
command_line="scripts/gpu.sh $*"
name= minutes= quick= device=() data=()
while [ $# -gt 0 ]; do
    case $1 in
    --minutes | --device | --data)
        [ -n "${2:-}" ] || fail "$1 needs a value; $usage"
        case $1 in
        --minutes) minutes=$2 ;;
        --device) SFF_TEST_DEVICE=$2 ;;
        # setup.sh changed to the top of the checkout.
        --data) data=(--data "$(cd "$OLDPWD" && realpath -m "$2")") ;;
        esac
        shift
        ;;
    --quick) quick=yes ;;
    -*) fail "there is no option $1; $usage" ;;
    *)
        [ -z "$name" ] || fail "there is one NAME only, not also $1; $usage"
        name=$1
        ;;
    esac
    shift
done
[ -n "$name" ] || fail "$usage"
[[ "$name" =~ ^[A-Za-z0-9][A-Za-z0-9._-]*$ ]] ||
    fail "NAME becomes a folder: letters, digits and ._- only, not '$name'"
[ -n "$minutes" ] || minutes=$([ -n "$quick" ] && echo 2 || echo 10)
[[ "$minutes" =~ ^[1-9][0-9]{0,3}$ ]] || fail "--minutes must be a whole number, not '$minutes'"
[ -z "${data[*]}" ] || [ -d "${data[1]}" ] || fail "--data ${data[1]} is not a folder"
if [ -n "${SFF_TEST_DEVICE:-}" ]; then
    export SFF_TEST_DEVICE
    device=(--device "$SFF_TEST_DEVICE")
fi

out=benches/results/$name
# Does not overwrite earlier results, except those of --quick.
[ ! -e "$out" ] || grep -q '^\*\*Tiny sizes' "$out/summary.md" 2>/dev/null ||
    fail "$out exists already: choose another NAME, or remove it"
if [ -x bin/sff ]; then
    bin=$PWD/bin
else
    bin=$PWD/target/gpu
    build_gpu_programs "$bin"
fi
"$bin/sff" devices "${device[@]}" >/dev/null
# A cache folder of its own, so that no earlier result of the tuner is used, and none is left behind.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
export SFF_CACHE_DIR=$work/cache SFF_GOLDEN=$PWD/tests/golden
rm -rf "$out"
mkdir -p "$out"
summary=$out/summary.md
deadline=$((SECONDS + 60 * minutes))

# say TEXT…: adds a line to the summary.
say() { echo "$*" >>"$summary"; }

# quote FILE: adds a file to the summary, in a code block.
quote() {
    say '```'
    cat "$1" >>"$summary"
    say '```'
}

# stage TITLE SHARE FUNCTION: runs FUNCTION with a share of the remaining time; `limited` enforces it.
shares_left=100 failures=0
stage() {
    local title=$1 share=$2 start=$SECONDS left=$((deadline - SECONDS))
    stage_end=$((SECONDS + left * share / shares_left))
    shares_left=$((shares_left - share))
    echo "== $title ($((stage_end - SECONDS)) s)"
    say "" && say "## $title" && say ""
    if [ "$left" -le 0 ]; then
        say "No time was left."
    else
        "$3" || say "This stage is incomplete."
        echo "   $((SECONDS - start)) s"
    fi
}

# limited LOG COMMAND…: runs a command until the stage's time is over. Its standard error goes to LOG, and
# the reason of a failure to the summary.
limited() {
    local log=$1 start=$SECONDS left=$((stage_end - SECONDS)) status=0
    shift
    [ "$left" -ge 1 ] || left=1
    # In the foreground, so that Ctrl-C ends it, too.
    timeout --foreground --kill-after=10 "$left" "$@" 2>>"$log" || status=$?
    if [ "$status" -ne 0 ] && [ $((SECONDS - start)) -ge "$left" ]; then
        say "\`$(basename "$1")\` was ended when its time was over, after $left s."
        # Running out of time is normal, but not with tiny sizes.
        [ -z "$quick" ] || failures=$((failures + 1))
    elif [ "$status" -ne 0 ]; then
        say "\`$(basename "$1")\` failed ($status): $(tail -n 1 "$log")"
        failures=$((failures + 1))
    fi
    return "$status"
}

correctness() {
    local test file status=0 passed failed start all=$stage_end tests=("${gpu_tests[@]}")
    # One representative test each.
    [ -z "$quick" ] || tests=(
        gpu::golden::golden_vectors_match_in_the_reference
        gpu::gradients::no_gradient_flows_between_blocks
        train::networks::every_op_of_a_narrow_cnn_matches_on_the_device
        gpu::kernels::pool
    )
    for test in "${tests[@]}"; do
        start=$SECONDS
        # Each gets half of the remaining time, the last one all of it.
        stage_end=$((SECONDS + (all - SECONDS) / 2))
        [ "$test" != "${tests[-1]}" ] || stage_end=$all
        file=$out/test-${test//::/-}
        limited "$file.err" "$bin/integration" "$test" >"$file.txt" || status=1
        passed=$(grep -c '^test .* ok$' "$file.txt") || true
        failed=$(sed -n 's/^test \(.*\) \.\.\. FAILED$/\1/p' "$file.txt" | paste -sd' ')
        [ "$passed" -gt 0 ] || status=1
        say "- $test: $passed passed, failed: ${failed:-none}, $((SECONDS - start)) s"
    done
    return "$status"
}

peaks() {
    limited "$out/peak.err" "$bin/sff" bench peak "${device[@]}" --seconds "$([ -n "$quick" ] && echo 0.05 || echo 2)" \
        >"$out/peak.txt" || return
    quote "$out/peak.txt"
    say "The rate of copying includes the cost of bounds checks: drivers add them to every buffer access."
}

tuner() {
    local arch batch=128 seconds
    [ -z "$quick" ] || batch=1
    for arch in resnet18 mobilenet-v3-small; do
        # Half of the time each, minus a margin to start and to end.
        seconds=$(((stage_end - SECONDS) * 2 / 5))
        [ "$arch" = resnet18 ] || seconds=$(((stage_end - SECONDS) * 4 / 5))
        say "$arch, sff by block, batch $batch:"
        limited "$out/tune-$arch.err" "$bin/sff" bench tune "${device[@]}" --arch "$arch" \
            --batch "$batch" --seconds "$seconds" >"$out/tune-$arch.txt" || continue
        # The ops that take most time, and a summary of each variant.
        {
            head -n 13 "$out/tune-$arch.txt"
            echo "… (all: tune-$arch.txt)"
            sed -n '/^variant/,$p' "$out/tune-$arch.txt"
        } >"$work/tune.txt"
        quote "$work/tune.txt"
        # Variants whose results differ.
        if [ -s "$out/tune-$arch.err" ]; then quote "$out/tune-$arch.err"; fi
    done
    cp "$SFF_CACHE_DIR"/*.json "$out/choices.json"
}

rates() {
    # Entries are printed one by one: if the time ends, only the rest is lost.
    limited "$out/rates.err" "$bin/rates" ${quick:+adamw} >"$out/rates.txt" || true
    quote "$out/rates.txt"
}

steps() {
    local sizes=(--arch "resnet18,mobilenet-v3-small" --batch 128,512 --classes 10,1000)
    sizes+=(--precision f32,f16 --steps 20)
    [ -z "$quick" ] || sizes=(--arch mobilenet-v3-small --batch 2 --steps 1)
    limited "$out/steps.err" "$bin/steps" "${sizes[@]}" --json --pages "$out" >"$out/steps.jsonl" || true
    steps_table "$out/steps.jsonl"
}

# steps_table FILE…: adds a table of the results so far.
steps_table() {
    timeout 10 "$bin/steps" --table "$@" >"$out/steps.md" || return
    cat "$out/steps.md" >>"$summary"
}

pytorch() {
    local options=(--batch 128 512 --classes 10 1000 --steps 20)
    [ -z "$quick" ] || options=(--device cpu --batch 2 --steps 1 --eager-only)
    if ! python3 -c 'import torch, torchvision' 2>/dev/null; then
        say "Skipped: there is no python3 with torch and torchvision."
        return
    fi
    limited "$out/pytorch.err" python3 benches/peers/torch_nets.py "${options[@]}" >"$out/pytorch.jsonl" ||
        true
    steps_table "$out/steps.jsonl" "$out/pytorch.jsonl"
}

# The first of these data sets whose files are found; the last one is generated.
dataset() {
    local name
    for name in cifar10 fashion-mnist; do
        if "$bin/sff" data verify "$name" "${data[@]}" >/dev/null 2>&1; then
            echo "$name"
            return
        fi
    done
    echo shapes32
}

# rate METHOD: images per second of a step of ResNet18, as measured above.
rate() {
    sed -n "/\"resnet18\",\"classes\":10,\"batch\":128,\"precision\":\"f32\",\"method\":\"$1\"/p" \
        "$out/steps.jsonl" | sed -n 's/.*"images_per_second":\([0-9.]*\).*/\1/p' | head -n 1
}

training() {
    local set epochs=5 sff bp options ways way label left=$((stage_end - SECONDS))
    set=$(dataset)
    # The cosine schedule needs the number of epochs in advance. A window costs about a third more than
    # blocks alone; evaluation and compiling also take time.
    sff=$(rate sff) bp=$(rate bp)
    if [ -n "$sff" ] && [ -n "$bp" ]; then
        epochs=$(awk -v left="$left" -v sff="$sff" -v bp="$bp" 'BEGIN {
            if (sff <= 0 || bp <= 0) { print 1; exit }
            epoch = 60000 * (2.4 / sff + 1 / bp)
            epochs = int(0.7 * (left - 30) / epoch)
            print epochs < 1 ? 1 : epochs > 30 ? 30 : epochs
        }')
    fi
    options=(--dataset "$set" --arch resnet18 --batch 128 --epochs "$epochs")
    [ "$set" = shapes32 ] || options+=("${data[@]}")
    [ "$set" != cifar10 ] || options+=(--flip --crop 4)
    [ -z "$quick" ] ||
        options=(--dataset shapes32 --widths 8,8 --batch 8 --train-limit 32 --test-limit 32 --epochs 2)
    say "\`sff train ${options[*]}\`:"
    say ""
    say "| | epochs | vote of all, % | of the later half | images/s | device memory, MiB |"
    say "|---|---|---|---|---|---|"
    ways=("--method sff --partition block" "--method sff --partition block --window 1" "--method bp")
    local all=$stage_end count=${#ways[@]}
    for way in "${ways[@]}"; do
        stage_end=$((SECONDS + (all - SECONDS) / count))
        count=$((count - 1))
        label=$(echo "$way" | sed 's/--\(method\|partition\) //g; s/--window 1/window1/; s/ /-/g')
        run=$work/$label
        # shellcheck disable=SC2086
        limited "$out/train-$label.log" "$bin/sff" train "${options[@]}" $way "${device[@]}" --out "$run" \
            >"$out/train-$label.txt" || true
        [ -e "$run/metrics.jsonl" ] || continue
        cp "$run/metrics.jsonl" "$out/train-$label.metrics.jsonl"
        cp "$run/timing.jsonl" "$out/train-$label.timing.jsonl"
        cp "$run/report.html" "$out/train-$label.html"
        say "| ${way//--/} | $(wc -l <"$run/metrics.jsonl") | $(accuracy all) | $(accuracy late) | \
$(last images_per_second 1 timing) | $(last allocated_bytes 1048576 timing) |"
    done
}

# last FIELD UNIT FILE: a number in the last line of FILE.jsonl of the run, in UNITs.
last() {
    sed -n '$p' "$run/$3.jsonl" | sed -n "s/.*\"$1\":\([0-9.]*\).*/\1/p" |
        awk -v unit="$2" '{printf "%.0f", $1 / unit}'
}

# accuracy VOTE: accuracy in the last evaluation of the run, in percent.
accuracy() {
    sed -n 's/.*"test":{"accuracy":{\([^}]*\)}.*/\1/p' "$run/metrics.jsonl" | sed -n '$p' |
        sed -n "s/.*\"$1\":\([0-9.]*\).*/\1/p" | awk '{printf "%.1f", 100 * $1}'
}

"$bin/sff" devices "${device[@]}" --json >"$out/devices.json"
"$bin/sff" devices "${device[@]}" >"$out/devices.txt"
commit=$(cat COMMIT 2>/dev/null || git rev-parse --short HEAD 2>/dev/null || echo unknown)
processor=$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo 2>/dev/null | head -n 1)
date -u +%Y-%m-%d >"$out/date.txt"
say "# $name"
say ""
say "\`$command_line\`, $(cat "$out/date.txt"), commit $commit; host: $(nproc) cores, ${processor:-unknown}."
[ -z "$quick" ] || say "**Tiny sizes: this shows whether it works, not how fast.**"
say ""
quote "$out/devices.txt"
stage "Correctness" 18 correctness
stage "Peak" 5 peaks
stage "Tuner" 12 tuner
stage "Rates of kernels" 8 rates
stage "Steps" 22 steps
stage "Steps next to PyTorch" 13 pytorch
stage "Training" 22 training
find "$out" -name '*.err' -empty -delete
echo "wrote $summary"
if [ "$failures" -gt 0 ]; then
    echo "$failures failures: see $summary" >&2
    exit 1
fi
