#!/usr/bin/env python3
"""Draws predictions as one SVG: each picture, and the goodness of every class in every block. Needs only
Python.

    sff data export --dataset fashion-mnist --count 6 --out runs/pictures
    sff predict --run runs/quickstart --json runs/pictures/*.png > runs/predictions.json
    scripts/picture.py runs/predictions.json docs/quickstart.svg
"""

import base64
import json
import os
import sys
from html import escape

CELL, PICTURE, BAR, GAP, TOP = 158, 112, 9, 2, 64


def panel(prediction, x, classes):
    """One picture with its bars; returns SVG elements and the height used."""
    data = base64.b64encode(open(prediction["file"], "rb").read()).decode()
    out = [
        f'<image x="{x + 8}" y="{TOP}" width="{PICTURE}" height="{PICTURE}" '
        f'style="image-rendering:pixelated" href="data:image/png;base64,{data}"/>'
    ]
    y = TOP + PICTURE + 18
    verdict = f'{prediction["label"]}, {100 * prediction["probability"]:.0f}%'
    out.append(f'<text x="{x + 8}" y="{y}" class="verdict">{escape(verdict)}</text>')
    for number, block in enumerate(prediction["goodness"], 1):
        y += 20
        out.append(f'<text x="{x + 8}" y="{y}" class="small">block {number}</text>')
        y += 5
        best = max(range(len(block)), key=block.__getitem__)
        for k in range(classes):
            length = PICTURE * block[k] / max(block)
            kind = "best" if k == best else "bar"
            out.append(
                f'<rect x="{x + 8}" y="{y}" width="{length:.1f}" height="{BAR - GAP}" class="{kind}"/>'
            )
            y += BAR
    return out, y


def main(source, target):
    predictions = json.load(open(source))
    classes = len(predictions[0]["logits"])
    body, height = [], 0
    for index, prediction in enumerate(predictions):
        elements, bottom = panel(prediction, index * CELL + 12, classes)
        body += elements
        height = max(height, bottom)
    width = len(predictions) * CELL + 12
    svg = f"""<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height + 16}" viewBox="0 0 {width} {height + 16}" font-family="sans-serif">
<style>.verdict{{font-size:14px;font-weight:bold;fill:#1a1a1a}}.small{{font-size:11px;fill:#555}}.bar{{fill:#b8c4ce}}.best{{fill:#c2410c}}</style>
<rect width="100%" height="100%" fill="#ffffff"/>
<text x="20" y="28" font-size="17" font-weight="bold" fill="#1a1a1a">What each block sees in images it was never trained on</text>
<text x="20" y="48" class="small">Bars: goodness of the {classes} classes, in order; the largest decides. Every block learned alone, from its own goodness.</text>
{os.linesep.join(body)}
</svg>
"""
    partial = target + ".partial"
    with open(partial, "w") as file:
        file.write(svg)
    os.replace(partial, target)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
