#!/usr/bin/env python3
"""Draws docs/speed.svg from the first row of the table "Other servers" in docs/benchmarks.md."""

import pathlib

DOCS = pathlib.Path(__file__).parent
ROW = "counters, 20 lines per datagram"
WIDTH, LEFT, RIGHT, TOP, BAR, GAP = 720, 90, 110, 66, 26, 12


def table():
    """Returns the names of the servers and the ns of CPU per line that each takes."""
    lines = (DOCS / "benchmarks.md").read_text().split("## Other servers")[1].splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    values = next(row for row in rows if row[0] == ROW)
    return list(zip(rows[0][1:], (int(value.replace(",", "")) for value in values[1:])))


def text(x, y, words, style="", anchor="start"):
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}" {style}>{words}</text>'


def main():
    bars = table()
    most = max(value for _, value in bars)
    height = TOP + len(bars) * (BAR + GAP) + 52
    small = 'font-size="12" fill="#57606a"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
        ' font-family="system-ui, sans-serif" font-size="14" fill="#24292f" role="img"'
        ' aria-label="CPU time per line by server">',
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        text(14, 26, "CPU time per line, in nanoseconds (less is better)", 'font-size="16" font-weight="600"'),
        text(14, 47, "400,000 counter lines per second, 1,000 series, 20 lines per datagram", small),
    ]
    for index, (name, value) in enumerate(bars):
        y = TOP + index * (BAR + GAP)
        length = round(value / most * (WIDTH - LEFT - RIGHT), 1)
        fill = {"tallyd": "#0969da", "null sink": "#8c959f"}.get(name, "#afb8c1")
        weight = 'font-weight="600"' if name == "tallyd" else ""
        parts += [
            text(LEFT - 10, y + 18, name, weight, "end"),
            f'<rect x="{LEFT}" y="{y}" width="{length}" height="{BAR}" rx="3" fill="{fill}"/>',
            text(LEFT + length + 8, y + 18, f"{value} ns", weight),
        ]
    parts += [
        text(14, height - 32, "Machine: virtual machine with two AMD EPYC cores, loopback; median of three rounds.", small),
        text(14, height - 14, "Command: cargo bench --bench end_to_end -- --peers --rounds 3", small),
        "</svg>\n",
    ]
    (DOCS / "speed.svg").write_text("\n".join(parts))


main()
