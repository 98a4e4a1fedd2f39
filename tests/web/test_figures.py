"""/metrics says what happened, under names as Prometheus wants them; the documents know them."""

from __future__ import annotations

import json
import re
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from setsync.node.report import Report
from setsync.node.server import Served
from setsync.web.guests import Measure
from tests.web.calling import Node, Page, page_of

DOCS = Path(__file__).parents[2] / "docs"
# Brought by guests.
GUESTS = {"setsync_forks"}


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


async def test_the_page_of_documentation_names_every_figure_and_no_other(node: Node) -> None:
    text = (DOCS / "web.md").read_text(encoding="utf-8")
    part = text[text.index("## Figures") :]
    told = set(re.findall(r"`(setsync_\w+)", part))
    told |= {f"setsync_sketch_cache{end}" for end in re.findall(r"`(_\w+)`", part)}
    async with page_of(node) as page:
        assert told == set(await _names(page))


async def test_the_dashboard_asks_for_figures_that_there_are(node: Node) -> None:
    panels = json.loads((DOCS / "grafana-dashboard.json").read_text(encoding="utf-8"))["panels"]
    asked = {
        re.sub(r"_(bucket|sum|count)$", "", name)
        for panel in panels
        for target in panel["targets"]
        for name in re.findall(r"setsync_\w+", target["expr"])
    }
    async with page_of(node) as page:
        assert asked <= set(await _names(page)) | GUESTS
    assert len({panel["id"] for panel in panels}) == len(panels)


async def test_guests_add_figures_of_their_own(node: Node) -> None:
    class Guest:
        name = "forks"

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
            forks = [Measure("setsync_forks", "Forks.", n, {"state": s}) for s, n in states.items()]
            return [*forks, Measure("setsync_things_total", "Things.", 5, only_grows=True)]

        async def run(self, web: object) -> None:
            """Nothing."""

    async with page_of(node, [Guest()]) as page:
        found = await _figures(page)
    assert found["setsync_forks{'state': 'open'}"] == 2
    assert found["setsync_forks{'state': 'decided'}"] == 1
    assert found["setsync_things_total{}"] == 5
