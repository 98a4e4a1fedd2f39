"""The picture of `benchmarks.growth`: four costs against the number of entries.

Needs matplotlib (optional). Times and bytes are drawn log-log, with a dashed line that doubles with
every decade to hold the inserts against; rows are on a plain scale, where a logarithm is a straight
line.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log10
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.plots import (
    FORMATS,
    LIMIT_COLOUR,
    PlotError,
    Point,
    Series,
    load_pyplot,
    save,
    styles,
)
from benchmarks.results import count

if TYPE_CHECKING:
    from benchmarks.growth import Growth

INCHES = (11.0, 8.2)
DOUBLING = "twice as much each decade"


@dataclass(frozen=True)
class Panel:
    """One part of the picture: its words and lines, and whether its costs are on a log scale."""

    title: str
    unit: str
    series: Series
    is_log: bool = True


def draw(growth: Growth, stem: Path) -> list[Path]:
    """Write STEM.png and STEM.svg, and answer their paths. Raises PlotError."""
    if not growth.asked:
        raise PlotError("no size was measured")
    pyplot = load_pyplot()
    figure, areas = pyplot.subplots(2, 2, figsize=INCHES, layout="constrained")
    try:
        figure.get_layout_engine().set(w_pad=0.12, h_pad=0.12)
        for area, panel in zip(areas.flat, panels(growth), strict=True):
            _draw(area, panel)
        return [save(figure, stem, form) for form in FORMATS]
    finally:
        pyplot.close(figure)


def panels(growth: Growth) -> list[Panel]:
    """The four parts."""
    asked, found = growth.asked, growth.reconciled
    inserts: Series = {name: sorted(costs.items()) for name, costs in growth.inserts().items()}
    inserts[DOUBLING] = doubling(inserts)
    rows: Series = {
        "one more entry: nodes of the trie": [(row.entries, row.insert_read_mean) for row in asked],
        "a split: pages of the database": [(row.entries, row.split_pages) for row in asked],
        "a split: rows": [(row.entries, row.split_rows) for row in asked],
        "the root: rows": [(row.entries, row.root_rows) for row in asked],
    }
    cpu: Series = {
        "sync": [(row.entries, 1e3 * row.cpu) for row in found],
        "dry run": [(row.entries, 1e3 * row.dry_cpu) for row in found],
        "dry run, just started": [(row.entries, 1e3 * row.cold_cpu) for row in found],
    }
    sizes: Series = {
        "sync, everything": [(row.entries, row.all_bytes) for row in found],
        "to know the difference": [(row.entries, row.reconcile_bytes) for row in found],
    }
    different = found[0].different if found else 0
    return [
        Panel("An insert", "CPU time an entry (us)", inserts),
        Panel("What is read", "rows, nodes or pages", rows, is_log=False),
        Panel(f"Reconciling {different} differences", "CPU time of both sides (ms)", cpu),
        Panel(f"Reconciling {different} differences", "bytes on the wire", sizes),
    ]


def doubling(series: Series) -> list[Point]:
    """The line above which an insert would be growing too fast, from the dearest on."""
    first, most = max((points[0] for points in series.values()), key=lambda point: point[1])
    last = max(points[-1][0] for points in series.values())
    return [(first, most), (last, most * 2 ** log10(last / first))]


def _draw(area: Any, panel: Panel) -> None:
    looks = styles(panel.series)
    for name, points in panel.series.items():
        is_limit = name == DOUBLING
        area.plot(
            [x for x, _ in points],
            [y for _, y in points],
            label=name,
            color=LIMIT_COLOUR if is_limit else looks[name].colour,
            marker="" if is_limit else looks[name].marker,
            linestyle="--" if is_limit else looks[name].line,
            linewidth=1.2 if is_limit else 1.8,
            markersize=7,
            markeredgecolor="white",
            markeredgewidth=0.7,
        )
    _scale(area, panel)
    _dress(area, panel)
    area.legend(
        loc="upper center",
        bbox_to_anchor=(0.46, -0.15),
        ncols=2,
        frameon=False,
        fontsize=9,
        handlelength=4,
    )


def _scale(area: Any, panel: Panel) -> None:
    """Ticks at the sizes measured, and at round numbers beside them."""
    sizes = sorted({x for points in panel.series.values() for x, _ in points})
    area.set_xscale("log")
    area.set_xticks(sizes, labels=[count(int(x)) for x in sizes])
    area.set_xticks([], minor=True)
    area.margins(x=0.06)
    if not panel.is_log:
        area.set_ylim(0, 1 + max(y for points in panel.series.values() for _, y in points))
        return
    area.set_yscale("log")
    low, high = area.get_ylim()
    ticks = round_numbers(low, high)
    area.set_yticks(ticks, labels=[f"{y:,}" for y in ticks])
    area.set_yticks([], minor=True)
    area.set_ylim(low / 1.2, high * 1.2)


def _dress(area: Any, panel: Panel) -> None:
    """Words and a faint grid."""
    area.set_title(panel.title, fontsize=13, loc="left", pad=8)
    area.set_xlabel("entries in the store, n", fontsize=10)
    area.set_ylabel(panel.unit, fontsize=10)
    area.tick_params(labelsize=10)
    area.grid(True, which="major", color="#DDDDDD", linewidth=0.8)
    area.set_axisbelow(True)
    for side in ("top", "right"):
        area.spines[side].set_visible(False)


def round_numbers(low: float, high: float) -> list[int]:
    """Those of 1, 2, 5, 10, 20 and so on from below `low` to above `high`, both included."""
    numbers = [step * 10**power for power in range(12) for step in (1, 2, 5)]
    below = max((number for number in numbers if number <= low), default=1)
    above = min(number for number in numbers if number >= high)
    return [number for number in numbers if below <= number <= above]
