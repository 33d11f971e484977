#!/usr/bin/env python3
"""Draws docs/speed.svg from the output of the bench, on standard input:

    cargo bench --bench end_to_end -- --peers --stream single-10000 --rounds 3 | python3 docs/speed.py
"""

import pathlib
import sys

WIDTH, LEFT, RIGHT, TOP, BAR, GAP = 720, 150, 110, 66, 26, 12
NAMES = {"null sink": "blocking null sink"}


def measured():
    """Returns the receivers and the ns of CPU per datagram that each takes."""
    rows = [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in sys.stdin if line.startswith("| ")]
    header = next(row for row in rows if "CPU per datagram" in row)
    name, cpu = header.index("receiver"), header.index("CPU per datagram")
    return [(NAMES.get(row[name], row[name]), int(row[cpu].split()[0])) for row in rows if row != header]


def text(x, y, words, style="", anchor="start"):
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}" {style}>{words}</text>'


def main():
    bars = measured()
    most = max(value for _, value in bars)
    height = TOP + len(bars) * (BAR + GAP) + 52
    small = 'font-size="12" fill="#57606a"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
        ' font-family="system-ui, sans-serif" font-size="14" fill="#24292f" role="img"'
        ' aria-label="CPU time per datagram by server">',
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        text(14, 26, "CPU time per datagram, in microseconds (less is better)", 'font-size="16" font-weight="600"'),
        text(14, 47, "10,000 datagrams per second, each with one counter line; 1,000 series", small),
    ]
    for index, (name, value) in enumerate(bars):
        y = TOP + index * (BAR + GAP)
        length = round(value / most * (WIDTH - LEFT - RIGHT), 1)
        fill = "#0969da" if name == "tallyd" else "#8c959f" if "null sink" in name else "#afb8c1"
        weight = 'font-weight="600"' if name == "tallyd" else ""
        parts += [
            text(LEFT - 10, y + 18, name, weight, "end"),
            f'<rect x="{LEFT}" y="{y}" width="{length}" height="{BAR}" rx="3" fill="{fill}"/>',
            text(LEFT + length + 8, y + 18, f"{value / 1000:.1f} µs", weight),
        ]
    parts += [
        text(14, height - 32, "Machine: virtual machine with two AMD EPYC cores, loopback; median of three rounds.", small),
        text(14, height - 14, "Command: cargo bench --bench end_to_end -- --peers --stream single-10000 --rounds 3", small),
        "</svg>\n",
    ]
    (pathlib.Path(__file__).parent / "speed.svg").write_text("\n".join(parts))


main()
