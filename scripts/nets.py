"""What scripts/nets.sh measures: python3 scripts/nets.py OUT [--device NAME] [--batch N…] [--classes N…]"""

import argparse
import itertools
import json
import os
import subprocess
import sys

ARCHS = ("resnet18", "mobilenet-v3-small")


def last_line(ran):
    """What a program that failed said at the end."""
    return (ran.stderr.strip().splitlines() or [f"exit status {ran.returncode}"])[-1]


def ours(options):
    """A row for each case of this engine; a case that the device cannot do says why."""
    cases = itertools.product(ARCHS, options.classes, options.batch, ("f32", "f16"), ("bp", "sff"))
    for arch, classes, batch, precision, method in cases:
        command = ["target/release/sff", "profile", "--json", "--tune", "full"]
        command += ["--arch", arch, "--classes", str(classes), "--batch", str(batch)]
        command += ["--method", method, "--precision", precision, "--steps", str(options.steps)]
        command += ["--partition", "block", "--aux-kernel", "1"] if method == "sff" else []
        command += ["--device", options.device] if options.device else []
        ran = subprocess.run(command, capture_output=True, text=True)
        row = dict(peer="sff", arch=arch, classes=classes, batch=batch)
        row |= dict(precision=precision, method=method)
        if ran.returncode == 0:
            profile = json.loads(ran.stdout)
            row["images_per_second"] = 1000 * batch / profile["step_ms"]
            row["host_share"] = profile["host"]["share"]
            row["device"] = profile["device"]
        else:
            row["error"] = last_line(ran)
        yield row


def pytorch(options):
    """PyTorch's rows, if it sees a GPU."""
    for classes in options.classes:
        command = [sys.executable, "benches/peers/torch_nets.py", "--classes", str(classes)]
        command += ["--steps", str(options.steps), "--batch", *map(str, options.batch)]
        ran = subprocess.run(command, capture_output=True, text=True)
        yield from map(json.loads, ran.stdout.splitlines())
        if ran.returncode != 0:
            print("PyTorch:", last_line(ran), file=sys.stderr)


def table(rows):
    """Images per second, a line per case."""
    case = ("arch", "classes", "batch", "precision", "method")
    peers = list(dict.fromkeys(row["peer"] for row in rows))
    eager = next((peer for peer in peers if peer.startswith("PyTorch")), None)
    cells = {(*(row[key] for key in case), row["peer"]): row for row in rows}
    yield "Images per second; the ratio is sff to eager PyTorch. Host: its share of the device's time."
    yield ""
    yield f"| {' | '.join(case)} | {' | '.join(peers)} | ratio | host |"
    yield "|---" * (len(case) + len(peers) + 2) + "|"
    for key in dict.fromkeys(key[:-1] for key in cells):
        found = {peer: cells.get((*key, peer), {}) for peer in peers}
        speeds = {peer: row.get("images_per_second") for peer, row in found.items()}
        texts = [f"{speed:.0f}" if speed else found[peer].get("error", "") for peer, speed in speeds.items()]
        sff, other = speeds.get("sff"), speeds.get(eager)
        ratio = f"{sff / other:.2f}" if sff and other else ""
        share = found["sff"].get("host_share")
        host = f"{share:.1%}" if share is not None else ""
        yield f"| {' | '.join(map(str, key))} | {' | '.join(texts)} | {ratio} | {host} |"
    devices = sorted({row["device"] for row in rows if "device" in row})
    yield from ("", f"On {'; '.join(devices)}.")


def write(path, lines):
    """Writes a whole file or none."""
    with open(path + ".partial", "w") as file:
        file.writelines(line + "\n" for line in lines)
    os.replace(path + ".partial", path)


def main():
    options = argparse.ArgumentParser()
    options.add_argument("out")
    options.add_argument("--device")
    options.add_argument("--batch", type=int, nargs="+", default=[128, 512])
    options.add_argument("--classes", type=int, nargs="+", default=[10, 1000])
    options.add_argument("--steps", type=int, default=20)
    options = options.parse_args()
    rows = []
    for row in itertools.chain(ours(options), pytorch(options)):
        print(json.dumps(row), flush=True)
        rows.append(row)
        # All so far: an hour's work is not lost with its last case.
        write(options.out + ".jsonl", map(json.dumps, rows))
        write(options.out + ".md", table(rows))
    print("\n".join(table(rows)))


main()
