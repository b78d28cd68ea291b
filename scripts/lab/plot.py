# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The stanch authors
"""Cost against size as an SVG: panels of curves, sizes on a logarithmic axis."""

import math
import sys
from xml.sax.saxutils import escape

COLOURS = ("#1b6ca8", "#c7702e", "#2a9d5c", "#7a4fa3", "#b03a48", "#5f6b6d", "#94811e", "#d05a9d", "#2f8f9d", "#444444")
LEFT, WIDTH, HEIGHT, PANEL, TOP = 75, 520, 300, 400, 60
LEGEND = LEFT + WIDTH + 25


def ticks(least, most, logarithmic):
    if logarithmic:
        return [10 ** e for e in range(math.floor(math.log10(least)), math.ceil(math.log10(most)) + 1)]
    step = 10 ** math.floor(math.log10(most))
    step = next(step / part for part in (5, 2, 1) if most / (step / part) <= 8)
    return [step * i for i in range(math.ceil(most / step) + 1)]


def panel(out, top, title, unit, logarithmic, curves):
    values = [(n, ns) for points in curves.values() for n, ns in points.items() if ns > 0]
    marks = ticks(min(ns for _, ns in values), max(ns for _, ns in values), logarithmic)
    low, high = math.log10(min(n for n, _ in values)), math.log10(max(n for n, _ in values))
    scale = math.log10 if logarithmic else float
    across = lambda n: LEFT + WIDTH * (math.log10(n) - low) / max(high - low, 1e-9)
    down = lambda ns: top + HEIGHT * (1 - (scale(ns) - scale(marks[0])) / (scale(marks[-1]) - scale(marks[0])))
    out.append(f'<text x="{LEFT}" y="{top - 18}" font-size="16">{escape(title)}</text>')
    for exponent in range(math.ceil(low), math.floor(high) + 1):
        text = f"{10 ** exponent // 1000:,}k" if exponent < 6 else f"{10 ** (exponent - 6)}M"
        out.append(f'<path d="M{across(10 ** exponent):.1f} {top}v{HEIGHT}" stroke="#ddd"/><text text-anchor="middle"'
                   f' x="{across(10 ** exponent):.1f}" y="{top + HEIGHT + 20}">{text}</text>')
    for mark in marks:
        out.append(f'<path d="M{LEFT} {down(mark):.1f}h{WIDTH}" stroke="#ddd"/><text text-anchor="end"'
                   f' x="{LEFT - 8}" y="{down(mark) + 4:.1f}">{mark:,g}</text>')
    out.append(f'<rect x="{LEFT}" y="{top}" width="{WIDTH}" height="{HEIGHT}" fill="none" stroke="#888"/>')
    out.append(f'<text x="{LEFT + WIDTH / 2}" y="{top + HEIGHT + 40}" text-anchor="middle">entries of the list</text>')
    out.append(f'<text transform="translate(18 {top + HEIGHT / 2}) rotate(-90)" text-anchor="middle">{escape(unit)}'
               f'{", logarithmic" if logarithmic else ""}</text>')
    # Ours in front and solid; who has worse eyes for colours tells the others by their dashes.
    for i, (name, points) in enumerate(curves.items()):
        colour, dash = COLOURS[i % len(COLOURS)], "" if name.startswith("stanch") else ' stroke-dasharray="6 3"'
        spots = [(across(n), down(ns)) for n, ns in sorted(points.items()) if ns > 0]
        out.append(f'<polyline points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in spots)}" fill="none"'
                   f' stroke="{colour}" stroke-width="2"{dash}/>')
        out += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in spots]
        y = top + 12 + 22 * i
        out.append(f'<path d="M{LEGEND} {y - 4}h26" stroke="{colour}" stroke-width="2"{dash}/>'
                   f'<text x="{LEGEND + 34}" y="{y}">{escape(name)}</text>')


def plot(path, panels):
    """panels: (title, unit, logarithmic, {curve: {entries: ns}}). Those without a point are left out."""
    panels = [words for words in panels if any(words[3].values())]
    if not panels:
        print("nothing to plot", file=sys.stderr)
        return
    height = TOP + PANEL * len(panels)
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1010 {height}" font-family="sans-serif"'
           f' font-size="13" fill="#222"><rect width="1010" height="{height}" fill="white"/>']
    for i, words in enumerate(panels):
        panel(out, TOP + PANEL * i, *words)
    with open(path, "w", encoding="utf-8") as f:
        f.write("\n".join([*out, "</svg>", ""]))
    print(f"plotted in {path}", file=sys.stderr)
