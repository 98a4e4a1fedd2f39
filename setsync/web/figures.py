"""For programs that watch: /metrics for Prometheus, /healthz, /readyz."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from setsync import __version__
from setsync.store.contract import Snapshot
from setsync.web.guests import Door, Measure, Route
from setsync.web.peers import PeerRow
from setsync.web.site import Site
from setsync.web.tally import Histogram

STATES = ("live", "catching up", "connecting", "waiting", "quiet", "blocked")


def routes(site: Site) -> list[Route]:
    """Their addresses. Who asks whether the node lives needs no token, and hears nothing else."""
    return [
        Route("/metrics", partial(_metrics, site)),
        Route("/healthz", _is_alive, door=Door.OPEN),
        Route("/readyz", partial(_is_ready, site), door=Door.OPEN),
    ]


async def _is_alive(request: Request) -> Response:
    return PlainTextResponse("ok\n")


async def _is_ready(site: Site, request: Request) -> Response:
    """Whether the store answers, and all that was asked for has begun."""
    if not site.is_ready:
        return PlainTextResponse("not yet\n", 503)
    await site.read(_look)
    return PlainTextResponse("ok\n")


async def _metrics(site: Site, request: Request) -> Response:
    figures = _Figures(site, await site.read(_counts), await site.peers(), await _measures(site))
    registry = CollectorRegistry(auto_describe=False)
    registry.register(figures)
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)


async def _measures(site: Site) -> list[Measure]:
    return [measure for guest in site.guests for measure in await guest.measures(site)]


def _look(snapshot: Snapshot) -> int:
    return snapshot.last_arrival


@dataclass(frozen=True, slots=True)
class _Counts:
    entries: int
    collections: int
    missing: int
    refused: int


def _counts(snapshot: Snapshot) -> _Counts:
    return _Counts(
        snapshot.entry_count,
        len(snapshot.collections()),
        snapshot.withheld_count,
        snapshot.refused_count,
    )


@dataclass(eq=False)
class _Figures(Collector):
    """Everything at one moment."""

    site: Site
    counts: _Counts
    peers: list[PeerRow]
    measures: list[Measure] = field(default_factory=list)

    def collect(self) -> Iterator[Metric]:
        """In the order of the documentation."""
        node = {"version": __version__, "node_id": self.site.local.node_id.hex()}
        yield InfoMetricFamily("setsync_node", "Which node this is.", value=node)
        yield from self._store()
        yield from self._sessions()
        yield from self._peers()
        yield _gauge(
            "setsync_web_listeners", "Open pages that are kept up to date.", len(self.site.events)
        )
        yield from _of_guests(self.measures)

    def _store(self) -> Iterator[Metric]:
        store, counts = self.site.store, self.counts
        yield _gauge("setsync_entries", "Members of all collections.", counts.entries)
        yield _gauge("setsync_collections", "Collections that are here.", counts.collections)
        yield _gauge(
            "setsync_missing_payloads", "Payloads that are wanted and not here.", counts.missing
        )
        yield _gauge("setsync_refusals", "Refusals that are remembered.", counts.refused)
        yield _gauge("setsync_store_bytes", "Size of the data file.", store.bytes_on_disk)
        yield _gauge("setsync_map_used_bytes", "Bytes of the map in use.", store.map_used)
        yield _gauge(
            "setsync_map_size_bytes", "Address space reserved for the map.", store.map_size
        )
        yield _histogram(
            "setsync_commit_batch_entries",
            "Entries that one transaction was given.",
            self.site.tally.batches,
        )
        cache = store.sketches
        yield _gauge("setsync_sketch_cache_sketches", "Sketches kept in memory.", cache.kept)
        yield _gauge("setsync_sketch_cache_bytes", "Memory that they take.", cache.size)
        yield _counter("setsync_sketch_cache_hits", "Sketches that were there.", cache.hits)
        yield _counter("setsync_sketch_cache_misses", "Sketches that were made.", cache.misses)

    def _sessions(self) -> Iterator[Metric]:
        tally = self.site.tally
        sessions = CounterMetricFamily(
            "setsync_sessions", "Sessions that are over, by outcome.", labels=["role", "outcome"]
        )
        for labels, count in tally.sessions.items():
            sessions.add_metric(labels, count)
        yield sessions
        moved = CounterMetricFamily(
            "setsync_session_bytes",
            "Bytes of sessions that are over, by direction and phase.",
            labels=["direction", "phase"],
        )
        for labels, count in sorted(tally.bytes_moved.items()):
            moved.add_metric(labels, count)
        yield moved
        entries = CounterMetricFamily(
            "setsync_session_entries", "Entries moved by sessions.", labels=["direction"]
        )
        entries.add_metric(["sent"], tally.entries_sent)
        entries.add_metric(["received"], tally.entries_received)
        yield entries
        yield _counter(
            "setsync_session_differences",
            "Entries that one side had and the other lacked, of sessions that are over.",
            tally.differences,
        )
        yield _histogram(
            "setsync_session_round_trips",
            "Round trips of sessions that this node opened.",
            tally.round_trips,
        )

    def _peers(self) -> Iterator[Metric]:
        peers = GaugeMetricFamily("setsync_peers", "Peers, by state.", labels=["state"])
        for state in STATES:
            peers.add_metric([state], sum(row.state == state for row in self.peers))
        yield peers
        equal = sum(row.in_sync for row in self.peers)
        yield _gauge("setsync_peers_in_sync", "Peers that have the same as this node.", equal)


def _gauge(name: str, words: str, value: float) -> Metric:
    return GaugeMetricFamily(name, words, value=value)


def _counter(name: str, words: str, value: float) -> Metric:
    return CounterMetricFamily(name, words, value=value)


def _histogram(name: str, words: str, found: Histogram) -> Metric:
    return HistogramMetricFamily(name, words, buckets=found.buckets(), sum_value=found.sum)


def _of_guests(measures: Iterable[Measure]) -> Iterator[Metric]:
    """One family a name; all measures of a name have the same labels."""
    families: dict[str, Metric] = {}
    for one in measures:
        make = CounterMetricFamily if one.only_grows else GaugeMetricFamily
        family = families.setdefault(one.name, make(one.name, one.help, labels=list(one.labels)))
        family.add_metric(list(one.labels.values()), one.value)  # type: ignore[attr-defined]
    yield from families.values()
