"""Makes a table of the results of `scripts/peers.sh`: python3 scripts/peers.py FILE.jsonl"""

import json
import math
import sys

best, first = {}, {}
for line in open(sys.argv[1]):
    row = json.loads(line)
    key = row["case"], row["what"], row["peer"]
    best[key] = min(best.get(key, math.inf), row["seconds"])
    first.setdefault(key, row["first"])  # Of the first round, with cold caches.

peers = list(dict.fromkeys(peer for _, _, peer in best))
rows = list(dict.fromkeys((case, what) for case, what, _ in best))


def seconds(row, peer):
    return best.get((*row, peer))


def ratio(row):
    """The time of Burn divided by that of sff."""
    ours, theirs = seconds(row, "sff"), seconds(row, "burn")
    return theirs / ours if ours and theirs else None


print("Milliseconds, the best of all runs; ratio: Burn to sff.\n")
print("| | " + " | ".join(peers) + " | ratio |")
print("|---" * (len(peers) + 2) + "|")
for row in rows:
    cells = [f"{1e3 * t:.1f}" if (t := seconds(row, peer)) else "" for peer in peers]
    r = ratio(row)
    print(f"| {row[0]}, {row[1]} | " + " | ".join(cells) + f" | {f'{r:.1f}' if r else ''} |")
print()
for what in ("forward", "forward and backward"):
    ratios = [r for row in rows if row[1] == what and (r := ratio(row))]
    if ratios:
        mean = math.exp(sum(map(math.log, ratios)) / len(ratios))
        print(f"Geometric mean of the ratios, {what}: {mean:.1f}.")
for peer in peers:
    if t := first.get(("cnn", "training step", peer)):
        print(f"First training step of the cnn, {peer}: {t:.1f} s.")
