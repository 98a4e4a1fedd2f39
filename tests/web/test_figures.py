"""/metrics says what happened, under names as Prometheus wants them; the documents know them."""

from __future__ import annotations

import json
import re
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from docs.reference.metrics import of_guests
from setsync.node.report import Report
from setsync.node.server import Served
from setsync.web.figures import FIGURES
from setsync.web.guests import Figure, Kind, Measure
from tests.web.calling import Node, Page, page_of

DOCS = Path(__file__).parents[2] / "docs"
FORKS = Figure("setsync_forks", "Forks.", labels={"state": ("open", "decided")})
THINGS = Figure("setsync_things_total", "Things.", Kind.COUNTER)


async def _figures(page: Page) -> dict[str, float]:
    text = (await page.get("/metrics")).text
    return {
        sample.name + str(dict(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def _names(page: Page) -> dict[str, str]:
    """Kinds of metrics by name."""
    text = (await page.get("/metrics")).text
    found = re.findall(r"^# TYPE (\w+) (\w+)$", text, re.MULTILINE)
    return dict(found)


async def test_sessions_are_counted_by_role_and_outcome_with_their_bytes(node: Node) -> None:
    async with page_of(node) as page:
        report = Report(in_sync=True, round_trips=3, missing_here=4, missing_there=6)
        report.counters.sent["reconcile"], report.counters.received["entries"] = 70, 900
        page.site.dialled("a", report, "")
        page.site.dialled("a", Report(), "Nobody answers.")
        page.site.served(Served(peer="b", state="done", entries_sent=2, new_entries=1))
        found = await _figures(page)
    assert found["setsync_sessions_total{'outcome': 'done', 'role': 'initiator'}"] == 1
    assert found["setsync_sessions_total{'outcome': 'failed', 'role': 'initiator'}"] == 1
    assert found["setsync_sessions_total{'outcome': 'done', 'role': 'responder'}"] == 1
    assert found["setsync_session_bytes_total{'direction': 'sent', 'phase': 'reconcile'}"] == 70
    assert found["setsync_session_bytes_total{'direction': 'received', 'phase': 'entries'}"] == 900
    assert found["setsync_session_differences_total{}"] == 13
    assert found["setsync_session_round_trips_count{}"] == 1  # a try that failed made none
    assert found["setsync_session_round_trips_bucket{'le': '2.0'}"] == 0
    assert found["setsync_session_round_trips_bucket{'le': '3.0'}"] == 1


async def test_the_store_and_its_batches_are_told(node: Node) -> None:
    node.put("notes", b"one", b"two")
    async with page_of(node) as page:
        page.site.tally.batches.note(5)
        page.site.tally.batches.note(20_000)
        found = await _figures(page)
        assert found["setsync_entries{}"] == 2
        assert found["setsync_store_bytes{}"] == node.store.bytes_on_disk
        assert found["setsync_map_used_bytes{}"] == node.store.map_used
        assert found["setsync_commit_batch_entries_bucket{'le': '4.0'}"] == 0
        assert found["setsync_commit_batch_entries_bucket{'le': '16.0'}"] == 1
        assert found["setsync_commit_batch_entries_bucket{'le': '+Inf'}"] == 2
        assert found["setsync_commit_batch_entries_sum{}"] == 20_005


async def test_names_follow_the_conventions(node: Node) -> None:
    async with page_of(node) as page:
        names = await _names(page)
    assert len(names) > 15
    for name, kind in names.items():
        assert re.fullmatch(r"setsync_[a-z][a-z_]*", name), name
        assert name.endswith("_total") == (kind == "counter"), name
        assert not re.search(r"_(kib|mib|ms|count|sum|bucket)$", name), name


async def test_what_is_told_is_what_is_defined_for_the_documentation(node: Node) -> None:
    defined = {figure.name: figure for figure in FIGURES}
    assert len(defined) == len(FIGURES)
    async with page_of(node) as page:
        page.site.served(Served(peer="b", state="done", entries_sent=2, new_entries=1))
        text = (await page.get("/metrics")).text
    told = dict(re.findall(r"^# HELP (\w+) (.+)$", text, re.MULTILINE))
    assert told == {name: figure.help for name, figure in defined.items()}
    kinds = dict(re.findall(r"^# TYPE (\w+) (\w+)$", text, re.MULTILINE))
    shown = {name: _as_shown(figure.kind) for name, figure in defined.items()}
    assert kinds == shown
    for sample in _samples(text):
        figure = defined[_figure_of(sample.name)]
        labels = {name: value for name, value in sample.labels.items() if name != "le"}
        assert set(labels) == set(figure.labels)
        for name, value in labels.items():
            assert value in figure.labels[name] or not figure.labels[name]


def _as_shown(kind: Kind) -> str:
    """The text format has no word for an info."""
    return Kind.GAUGE if kind is Kind.INFO else kind


def _samples(text: str) -> list[Sample]:
    return [one for family in text_string_to_metric_families(text) for one in family.samples]


def _figure_of(sample: str) -> str:
    """A histogram's samples have names of their own."""
    return re.sub(r"_(bucket|sum|count)$", "", sample)


def test_the_dashboard_asks_for_figures_and_labels_that_there_are() -> None:
    panels = json.loads((DOCS / "grafana-dashboard.json").read_text(encoding="utf-8"))["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    figures = {figure.name: figure for figure in (*FIGURES, *of_guests())}
    for panel in panels:
        for target in panel["targets"]:
            names = re.findall(r"setsync_\w+", target["expr"])
            asked = [figures[_figure_of(name)] for name in names]
            assert asked
            there = {"instance", "le"}.union(*(figure.labels for figure in asked))
            assert _labels_in(target["expr"]) <= there
            assert set(re.findall(r"{{(\w+)}}", target["legendFormat"])) <= there


def _labels_in(expression: str) -> set[str]:
    grouped = re.findall(r"\bby \(([^)]*)\)", expression)
    matched = re.findall(r"{([^}]*)}", expression)
    return {name.strip() for part in grouped for name in part.split(",")} | {
        name for part in matched for name in re.findall(r"(\w+)(?:=|!=)", part)
    }


async def test_guests_add_figures_of_their_own(node: Node) -> None:
    class Guest:
        name = "forks"
        figures = (FORKS, THINGS)

        def pages(self) -> tuple[()]:
            return ()

        def folder(self) -> None:
            return None

        def routes(self, web: object) -> tuple[()]:
            return ()

        def describe(self, entry: object) -> tuple[()]:
            return ()

        async def measures(self, web: object) -> list[Measure]:
            states = {"open": 2.0, "decided": 1.0}
            forks = [Measure(FORKS, n, {"state": state}) for state, n in states.items()]
            return [*forks, Measure(THINGS, 5)]

        async def run(self, web: object) -> None:
            """Nothing."""

    async with page_of(node, [Guest()]) as page:
        found = await _figures(page)
    assert found["setsync_forks{'state': 'open'}"] == 2
    assert found["setsync_forks{'state': 'decided'}"] == 1
    assert found["setsync_things_total{}"] == 5
