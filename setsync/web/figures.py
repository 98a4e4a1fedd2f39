"""For programs that watch: /metrics for Prometheus, /healthz, /readyz."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
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
from setsync.session.session import Counters
from setsync.store.contract import Snapshot
from setsync.web.guests import Door, Figure, Kind, Measure, Route
from setsync.web.peers import PeerRow
from setsync.web.site import Site
from setsync.web.tally import OUTCOMES, ROLES, Histogram

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


# --- what there is ------------------------------------------------------------------------

_DIRECTIONS = ("sent", "received")
_PHASES = tuple(Counters().sent)

NODE = Figure(
    "setsync_node_info",
    "Which node this is.",
    Kind.INFO,
    {"version": (), "node_id": ()},
)
ENTRIES = Figure("setsync_entries", "Members of all collections.")
COLLECTIONS = Figure("setsync_collections", "Collections that are here.")
MISSING_PAYLOADS = Figure("setsync_missing_payloads", "Payloads that are wanted and not here.")
REFUSALS = Figure("setsync_refusals", "Refusals that are remembered.")
STORE_BYTES = Figure("setsync_store_bytes", "Size of the data file.")
MAP_USED = Figure("setsync_map_used_bytes", "Bytes of the map in use.")
MAP_SIZE = Figure("setsync_map_size_bytes", "Address space reserved for the map.")
BATCHES = Figure(
    "setsync_commit_batch_entries", "Entries that one transaction was given.", Kind.HISTOGRAM
)
SKETCHES = Figure("setsync_sketch_cache_sketches", "Sketches kept in memory.")
SKETCH_BYTES = Figure("setsync_sketch_cache_bytes", "Memory that they take.")
SKETCH_HITS = Figure(
    "setsync_sketch_cache_hits_total", "Sketches that were there when asked for.", Kind.COUNTER
)
SKETCH_MISSES = Figure(
    "setsync_sketch_cache_misses_total", "Sketches that had to be made.", Kind.COUNTER
)
SESSIONS = Figure(
    "setsync_sessions_total",
    "Sessions that are over, by outcome.",
    Kind.COUNTER,
    {"role": ROLES, "outcome": OUTCOMES},
)
SESSION_BYTES = Figure(
    "setsync_session_bytes_total",
    "Bytes of sessions that are over, by direction and phase.",
    Kind.COUNTER,
    {"direction": _DIRECTIONS, "phase": _PHASES},
)
SESSION_ENTRIES = Figure(
    "setsync_session_entries_total",
    "Entries moved by sessions that are over.",
    Kind.COUNTER,
    {"direction": _DIRECTIONS},
)
DIFFERENCES = Figure(
    "setsync_session_differences_total",
    "Entries that one side had and the other lacked, of sessions that are over.",
    Kind.COUNTER,
)
ROUND_TRIPS = Figure(
    "setsync_session_round_trips",
    "Round trips of sessions that this node opened and that went well.",
    Kind.HISTOGRAM,
)
PEERS = Figure("setsync_peers", "Peers, by state.", labels={"state": STATES})
PEERS_IN_SYNC = Figure("setsync_peers_in_sync", "Peers that have the same as this node.")
LISTENERS = Figure("setsync_web_listeners", "Open pages that are kept up to date.")

FIGURES = (
    NODE,
    ENTRIES,
    COLLECTIONS,
    MISSING_PAYLOADS,
    REFUSALS,
    STORE_BYTES,
    MAP_USED,
    MAP_SIZE,
    BATCHES,
    SKETCHES,
    SKETCH_BYTES,
    SKETCH_HITS,
    SKETCH_MISSES,
    SESSIONS,
    SESSION_BYTES,
    SESSION_ENTRIES,
    DIFFERENCES,
    ROUND_TRIPS,
    PEERS,
    PEERS_IN_SYNC,
    LISTENERS,
)
"""What a node tells by itself, in the order in which it tells it."""


# --- what it comes to ---------------------------------------------------------------------


@dataclass(eq=False)
class _Figures(Collector):
    """Everything at one moment."""

    site: Site
    counts: _Counts
    peers: list[PeerRow]
    measures: list[Measure] = field(default_factory=list)

    def collect(self) -> Iterator[Metric]:
        """In the order of the documentation."""
        yield _info(NODE, __version__, self.site.local.node_id.hex())
        yield from self._store()
        yield from self._sessions()
        yield from self._peers()
        yield _one(LISTENERS, len(self.site.events))
        yield from _of_guests(self.measures)

    def _store(self) -> Iterator[Metric]:
        store, counts, cache = self.site.store, self.counts, self.site.store.sketches
        yield _one(ENTRIES, counts.entries)
        yield _one(COLLECTIONS, counts.collections)
        yield _one(MISSING_PAYLOADS, counts.missing)
        yield _one(REFUSALS, counts.refused)
        yield _one(STORE_BYTES, store.bytes_on_disk)
        yield _one(MAP_USED, store.map_used)
        yield _one(MAP_SIZE, store.map_size)
        yield _histogram(BATCHES, self.site.tally.batches)
        yield _one(SKETCHES, cache.kept)
        yield _one(SKETCH_BYTES, cache.size)
        yield _one(SKETCH_HITS, cache.hits)
        yield _one(SKETCH_MISSES, cache.misses)

    def _sessions(self) -> Iterator[Metric]:
        tally = self.site.tally
        yield _many(SESSIONS, tally.sessions.items())
        yield _many(SESSION_BYTES, sorted(tally.bytes_moved.items()))
        moved = (tally.entries_sent, tally.entries_received)
        yield _many(
            SESSION_ENTRIES, (((way,), n) for way, n in zip(_DIRECTIONS, moved, strict=True))
        )
        yield _one(DIFFERENCES, tally.differences)
        yield _histogram(ROUND_TRIPS, tally.round_trips)

    def _peers(self) -> Iterator[Metric]:
        states = Counter(row.state for row in self.peers)
        yield _many(PEERS, (((state,), states[state]) for state in STATES))
        yield _one(PEERS_IN_SYNC, sum(row.in_sync for row in self.peers))


def _one(figure: Figure, value: float) -> Metric:
    return _many(figure, [((), value)])


def _many(figure: Figure, values: Iterable[tuple[Sequence[str], float]]) -> Metric:
    """A gauge or a counter: values by what the labels say, in the order of the figure's labels."""
    make = CounterMetricFamily if figure.kind is Kind.COUNTER else GaugeMetricFamily
    family = make(figure.name, figure.help, labels=list(figure.labels))
    for labels, value in values:
        family.add_metric(list(labels), value)
    return family


def _histogram(figure: Figure, found: Histogram) -> Metric:
    return HistogramMetricFamily(
        figure.name, figure.help, buckets=found.buckets(), sum_value=found.sum
    )


def _info(figure: Figure, *values: str) -> Metric:
    told = dict(zip(figure.labels, values, strict=True))
    return InfoMetricFamily(figure.name.removesuffix("_info"), figure.help, value=told)


def _of_guests(measures: Iterable[Measure]) -> Iterator[Metric]:
    """One family a figure; all measures of one have the same labels."""
    found: dict[str, list[Measure]] = {}
    for one in measures:
        found.setdefault(one.figure.name, []).append(one)
    for same in found.values():
        figure = same[0].figure
        yield _many(
            figure, [([one.labels[name] for name in figure.labels], one.value) for one in same]
        )
