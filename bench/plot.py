"""SVG plots of latency by percentile, without a library.

The percentiles are spread so that each further nine takes as much room as the one before; latencies are on a logarithmic scale.
"""

import html
import math
import pathlib

WIDTH, HEIGHT = 900, 520
LEFT, RIGHT, TOP, BOTTOM = 70, 220, 50, 50
COLOURS = ["#d1495b", "#00798c", "#edae49", "#30638e", "#6a994e", "#7b2cbf", "#8d6346", "#555555", "#e07be0"]
PERCENTILES = [50, 90, 99, 99.9, 99.99]


def percentiles(buckets: list[list[int]]) -> list[tuple[float, float]]:
    """Points (share of requests not slower, latency in ns) of a histogram of [upper end, count]."""
    total, seen, points = sum(count for _, count in buckets), 0, []
    for end_ns, count in sorted(buckets):
        seen += count
        points.append((seen / total, end_ns))
    return points


def merge(histograms: list[list[list[int]]]) -> list[list[int]]:
    """The sum of histograms with the same bucket ends."""
    sum_of: dict[int, int] = {}
    for histogram in histograms:
        for end_ns, count in histogram:
            sum_of[end_ns] = sum_of.get(end_ns, 0) + count
    return [[end_ns, count] for end_ns, count in sorted(sum_of.items())]


def latency_plot(path: pathlib.Path, title: str, lines: dict[str, list[list[int]]]) -> None:
    """Draws one line for each histogram."""
    curves = {name: percentiles(buckets) for name, buckets in lines.items() if buckets}
    if not curves:
        return
    nines_max = math.log10(1 / (1 - PERCENTILES[-1] / 100))
    all_ns = [ns for points in curves.values() for share, ns in points if share >= 0.01]
    low, high = math.floor(math.log10(min(all_ns))), math.ceil(math.log10(max(all_ns)))

    def x(share: float) -> float:
        nines = min(math.log10(1 / max(1 - share, 1e-9)), nines_max)
        return LEFT + (WIDTH - LEFT - RIGHT) * nines / nines_max

    def y(ns: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (math.log10(ns) - low) / max(high - low, 1)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="13">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        f'<text x="{LEFT}" y="25" font-size="16">{html.escape(title)}</text>',
    ]
    for percent in [0, *PERCENTILES]:
        at = x(percent / 100)
        parts.append(f'<line x1="{at:.1f}" y1="{TOP}" x2="{at:.1f}" y2="{HEIGHT - BOTTOM}" stroke="#dddddd"/>')
        parts.append(f'<text x="{at:.1f}" y="{HEIGHT - BOTTOM + 20}" text-anchor="middle">{percent} %</text>')
    for power in range(low, high + 1):
        at = y(10**power)
        parts.append(f'<line x1="{LEFT}" y1="{at:.1f}" x2="{WIDTH - RIGHT}" y2="{at:.1f}" stroke="#dddddd"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{at + 4:.1f}" text-anchor="end">{duration(10**power)}</text>')
    for index, (name, points) in enumerate(curves.items()):
        colour = COLOURS[index % len(COLOURS)]
        drawn = [(x(share), y(max(ns, 1))) for share, ns in points]
        shown = " ".join(f"{across:.1f},{up:.1f}" for across, up in thinned(drawn))
        parts.append(f'<polyline fill="none" stroke="{colour}" stroke-width="2" points="{shown}"/>')
        at = TOP + 20 * index
        parts.append(f'<rect x="{WIDTH - RIGHT + 15}" y="{at}" width="14" height="4" fill="{colour}"/>')
        parts.append(f'<text x="{WIDTH - RIGHT + 36}" y="{at + 8}">{html.escape(name)}</text>')
    path.write_text("\n".join(parts) + "\n</svg>\n")


def thinned(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Leaves out points that fall onto the one before."""
    kept: list[tuple[float, float]] = []
    for point in points:
        if not kept or abs(point[0] - kept[-1][0]) + abs(point[1] - kept[-1][1]) >= 0.5:
            kept.append(point)
    return kept


def duration(ns: float) -> str:
    """A round duration in the unit that suits it."""
    for unit, size in (("s", 1e9), ("ms", 1e6), ("µs", 1e3)):
        if ns >= size:
            return f"{ns / size:g} {unit}"
    return f"{ns:g} ns"
