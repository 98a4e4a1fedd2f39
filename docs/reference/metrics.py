"""metrics.md: the figures of `/metrics`, from where they are defined."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from docs.reference.markdown import prose, table
from setsync.web.figures import FIGURES
from setsync.web.guests import Figure, load_guests

_HEAD = """# Metrics

Written from the program by `python -m docs.reference`. `serve --web` tells these at `/metrics`, to
whom and how: [the page](web.md#figures). Counters begin at 0 when `serve` starts. A histogram
`NAME` has `NAME_bucket`, `NAME_sum` and `NAME_count`.
"""
_DASHBOARD = """
[grafana-dashboard.json](grafana-dashboard.json) is a dashboard of them.
"""


def page() -> str:
    """The whole page."""
    return f"{_HEAD}\n{_table(FIGURES)}\n## Of guests\n\n{_table(of_guests())}{_DASHBOARD}"


def of_guests() -> list[Figure]:
    """What is measured by the guests in this repository. Raises RuntimeError if one is broken."""

    def fail(name: str, reason: str) -> None:
        raise RuntimeError(f"{name}: {reason}")

    return [figure for guest in load_guests(fail) for figure in guest.figures]


def _table(figures: Iterable[Figure]) -> str:
    rows = ((f"`{one.name}`", one.kind, _labels(one.labels), prose(one.help)) for one in figures)
    return table(("name", "kind", "labels", "what"), rows)


def _labels(labels: Mapping[str, Sequence[str]]) -> str:
    return "; ".join(
        f"`{name}`" + (": " if values else "") + ", ".join(f"`{value}`" for value in values)
        for name, values in labels.items()
    )
