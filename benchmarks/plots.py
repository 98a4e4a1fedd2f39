"""Pictures from result records: bytes per difference against d, CPU against n, bytes on logs.

    python -m benchmarks.plots results.json --out docs/benchmarks

Needs matplotlib (optional). Each system keeps its colour, marker and line style in both pictures;
the colours are Okabe and Ito's, told apart without colour vision, and the markers and line styles
say the same once more. Records that lack a value are left out, and a line joins the rest.
"""

from __future__ import annotations

import argparse
import importlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from benchmarks.results import Result, count, read

SHORT_ID_BYTES = 8
# Seven, eight and five: no two of the first 280 systems look the same.
# Okabe and Ito, "Color Universal Design" (2008), the dark ones first; yellow is too pale on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
LINES = ("-", "--", "-.", (0, (1, 1.2)), (0, (8, 2)))
LIMIT_COLOUR = "#555555"
INCHES = (8.0, 5.2)
FORMATS = ("png", "svg")
DOTS_PER_INCH = 160

Point = tuple[float, float]
Series = dict[str, list[Point]]


class PlotError(Exception):
    """There is nothing to draw, or nothing to draw it with."""


@dataclass(frozen=True)
class Style:
    """How one system is drawn."""

    colour: str
    marker: str
    line: Any


def load_pyplot() -> Any:
    """matplotlib.pyplot without a display."""
    try:
        matplotlib = importlib.import_module("matplotlib")
    except ImportError as error:
        raise PlotError("matplotlib is not installed: pip install matplotlib") from error
    matplotlib.use("Agg")
    # Text stays text in SVG, and the same records give the same file.
    matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "benchmarks"})
    return importlib.import_module("matplotlib.pyplot")


# --- from records to points ----------------------------------------------------------------------


def label(result: Result) -> str:
    """What the legend calls a record: its system, and its variant unless that says nothing."""
    return f"{result.system}, {result.variant}" if result.variant else result.system


def bytes_against_d(results: Iterable[Result], n: int) -> Series:
    """Per label the points (d, reconciling bytes per difference) at n common entries."""
    chosen = (result for result in results if result.n == n and result.d > 0)
    return _series(chosen, lambda r: (r.d, r.bytes_per_difference))


def cpu_against_n(results: Iterable[Result], d: int) -> Series:
    """Per label the points (n, CPU seconds of both sides) at a difference of d."""
    chosen = (result for result in results if result.d == d and result.n > 0)
    return _series(chosen, lambda r: (r.n, r.cpu))


def besides_against_d(results: Iterable[Result]) -> Series:
    """Per label the points (d, all bytes but those of entries)."""
    chosen = (result for result in results if result.d > 0)
    return _series(chosen, lambda r: (r.d, r.besides_entries))


def _series(
    results: Iterable[Result], point: Callable[[Result], tuple[float, float | None]]
) -> Series:
    """Points in order of x; several records of one x (seeds, repetitions) become their mean."""
    found: defaultdict[str, defaultdict[float, list[float]]] = defaultdict(
        lambda: defaultdict(list)
    )
    for result in results:
        x, y = point(result)
        if y is not None and y > 0:
            found[label(result)][x].append(y)
    return {
        name: [(x, sum(ys) / len(ys)) for x, ys in sorted(columns.items())]
        for name, columns in found.items()
    }


def busiest(values: Iterable[int]) -> int:
    """The value that most records share, the larger of two. Raises PlotError if there are none."""
    tally = Counter(values)
    if not tally:
        raise PlotError("no record to draw")
    return max(tally, key=lambda value: (tally[value], value))


def styles(labels: Iterable[str]) -> dict[str, Style]:
    """A style for each label, in the order of first appearance."""
    names = list(dict.fromkeys(labels))
    looks = islice(zip(cycle(COLOURS), cycle(MARKERS), cycle(LINES), strict=False), len(names))
    return {name: Style(*look) for name, look in zip(names, looks, strict=True)}


# --- drawing -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Axes:
    """The words of one picture."""

    title: str
    x: str
    y: str


def draw_bytes(
    results: Sequence[Result],
    stem: Path,
    *,
    n: int | None = None,
    looks: Mapping[str, Style] | None = None,
) -> list[Path]:
    """Bytes per difference against d, log-log, with the limit of one short id per difference.

    `n` defaults to the one most records have. Writes STEM.png and STEM.svg, answers their paths.
    """
    common = busiest(r.n for r in results if r.bytes_per_difference) if n is None else n
    axes = Axes(
        f"Reconciling {count(common)} common entries",
        "differing entries d, both sides together",
        "bytes on the wire per differing entry",
    )
    limit = (SHORT_ID_BYTES, "limit: one 8-byte short id per difference")
    looks = looks or styles(map(label, results))
    return _draw(bytes_against_d(results, common), axes, looks, stem, limit)


def draw_cpu(
    results: Sequence[Result],
    stem: Path,
    *,
    d: int | None = None,
    looks: Mapping[str, Style] | None = None,
) -> list[Path]:
    """CPU seconds of both sides together against n, log-log.

    `d` defaults to the one most records have. Writes STEM.png and STEM.svg, answers their paths.
    """
    differing = busiest(r.d for r in results if r.cpu is not None and r.d) if d is None else d
    axes = Axes(
        f"CPU time to find and move {count(differing)} differing entries",
        "common entries n",
        "CPU time of both sides together (s)",
    )
    looks = looks or styles(map(label, results))
    return _draw(cpu_against_n(results, differing), axes, looks, stem, None)


def draw_logs(results: Sequence[Result], stem: Path) -> list[Path]:
    """All bytes but those of entries against new entries, on sets made of logs, log-log."""
    common = busiest(r.n for r in results if r.besides_entries)
    axes = Axes(
        f"New entries at the ends of logs with {count(common)} common entries",
        "new entries, all on one side",
        "bytes on the wire besides the entries",
    )
    looks = styles(map(label, results))
    return _draw(besides_against_d(results), axes, looks, stem, None)


def _draw(
    series: Series,
    axes: Axes,
    looks: Mapping[str, Style],
    stem: Path,
    limit: tuple[float, str] | None,
) -> list[Path]:
    if not any(series.values()):
        raise PlotError(f"no record has what is needed for '{axes.title}'")
    pyplot = load_pyplot()
    figure, area = pyplot.subplots(figsize=INCHES, layout="constrained")
    try:
        # The upper line first: the legend reads in the order of the lines' right ends.
        for name, points in sorted(series.items(), key=lambda item: -item[1][-1][1]):
            _line(area, name, points, looks[name])
        if limit is not None:
            area.axhline(limit[0], color=LIMIT_COLOUR, linewidth=1.4, label=limit[1], zorder=1)
        _dress(area, axes, sorted({x for points in series.values() for x, _ in points}))
        figure.legend(
            loc="outside lower center", ncols=2, frameon=False, fontsize=10, handlelength=4
        )
        return [save(figure, stem, form) for form in FORMATS]
    finally:
        pyplot.close(figure)


def _line(area: Any, name: str, points: Sequence[Point], look: Style) -> None:
    area.plot(
        [x for x, _ in points],
        [y for _, y in points],
        label=name,
        color=look.colour,
        marker=look.marker,
        linestyle=look.line,
        linewidth=1.8,
        markersize=7,
        markeredgecolor="white",
        markeredgewidth=0.7,
        zorder=3,
    )


def _dress(area: Any, axes: Axes, xs: Sequence[float]) -> None:
    """Scales, ticks at the very values measured, words and a faint grid."""
    area.set_xscale("log")
    area.set_yscale("log")
    area.set_xticks(xs, labels=[count(int(x)) for x in xs])
    area.set_xticks([], minor=True)
    area.margins(x=0.08, y=0.12)
    area.yaxis.set_major_formatter(lambda value, _position: f"{value:,.10g}")
    area.set_title(axes.title, fontsize=13, loc="left", pad=10)
    area.set_xlabel(axes.x, fontsize=11)
    area.set_ylabel(axes.y, fontsize=11)
    area.tick_params(labelsize=10)
    area.grid(True, which="major", color="#DDDDDD", linewidth=0.8)
    area.set_axisbelow(True)
    for side in ("top", "right"):
        area.spines[side].set_visible(False)


def save(figure: Any, stem: Path, form: str) -> Path:
    path = stem.with_name(f"{stem.name}.{form}")
    path.parent.mkdir(parents=True, exist_ok=True)
    metadata = {"Date": None} if form == "svg" else {"Software": None}
    figure.savefig(path, dpi=DOTS_PER_INCH, metadata=metadata, facecolor="white")
    return path


def draw_all(results: Sequence[Result], folder: Path) -> list[Path]:
    """Both pictures, as bytes.png/svg and cpu.png/svg in a folder."""
    return [*draw_bytes(results, folder / "bytes"), *draw_cpu(results, folder / "cpu")]


def main(argv: list[str] | None = None) -> int:
    """Draw the records of the files named."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.plots")
    parser.add_argument("file", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, default=Path(), help="folder of the pictures")
    parser.add_argument("--n", type=int, default=None, help="common entries of the bytes picture")
    parser.add_argument("--d", type=int, default=None, help="differing entries of the CPU picture")
    parser.add_argument("--only", default="", help="only records whose variant contains this")
    options = parser.parse_args(argv)
    results = [result for result in read(options.file) if options.only in result.variant]
    paths = draw_bytes(results, options.out / "bytes", n=options.n)
    paths += draw_cpu(results, options.out / "cpu", d=options.d)
    for path in paths:
        print(path)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
