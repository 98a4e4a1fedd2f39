"""What a seed means: who is there, what they hold, what happens to them and when.

A plan is data and is made before anything runs, so that what happens in a run cannot change
what was planned for later. Times are virtual seconds.
"""

from __future__ import annotations

import itertools
import math
import random
from dataclasses import dataclass, field

from setsync.limits import DEFAULT_MAX_PAYLOAD
from setsync.model.collection import Pattern
from setsync.node.client import Options
from setsync.node.policy import Policy
from setsync.wire import messages as m
from tests.simulation.material import POOL, TEN_YEARS

# Steps begin within this time; what they began may last longer.
_HORIZON = 20.0

Edge = tuple[int, int]


@dataclass(frozen=True)
class Way:
    """What goes wrong in one direction of a link, by bytes that passed; None: nothing."""

    cut_at: int | None = None
    half_close_at: int | None = None
    stall_at: int | None = None
    stall_seconds: float = 0.0

    @property
    def is_calm(self) -> bool:
        return self.cut_at is self.half_close_at is self.stall_at is None


@dataclass(frozen=True)
class LinkPlan:
    """One connection. `seed` decides delays and the sizes of chunks; a narrow link holds
    nothing, so that a sender waits until the other side reads."""

    seed: int
    delay: float
    narrow: bool = False
    up: Way = Way()
    down: Way = Way()

    @property
    def is_calm(self) -> bool:
        return self.up.is_calm and self.down.is_calm


@dataclass(frozen=True)
class NodePlan:
    on_disk: bool
    skew: int
    max_payload: int
    disk_delay: float
    held: tuple[int, ...]
    policy: Policy = field(default_factory=Policy)


@dataclass(frozen=True)
class Put:
    """Somebody at the node adds entries."""

    at: float
    node: int
    entries: tuple[int, ...]


@dataclass(frozen=True)
class Meet:
    """A session, the first of `edge` its initiator."""

    at: float
    edge: Edge
    options: Options
    link: LinkPlan


@dataclass(frozen=True)
class Fall:
    """A node dies, or (`politely`) is stopped, now or at its next `disk_step`-th use of the
    disk; it comes back after `seconds`."""

    at: float
    node: int
    politely: bool
    disk_step: int
    seconds: float


@dataclass(frozen=True)
class ClockJump:
    """A node's clock is set."""

    at: float
    node: int
    by: int


@dataclass(frozen=True)
class PutBehind:
    """Another process adds entries to the node's store."""

    at: float
    node: int
    entries: tuple[int, ...]


@dataclass(frozen=True)
class Cut:
    """All connections of an edge break."""

    at: float
    edge: Edge


@dataclass(frozen=True)
class HalfClose:
    """One direction of an edge's connections ends, `up` the one from whoever dialled."""

    at: float
    edge: Edge
    way: str


@dataclass(frozen=True)
class Stall:
    """One direction of an edge's connections carries nothing for `seconds`."""

    at: float
    edge: Edge
    way: str
    seconds: float


@dataclass(frozen=True)
class Outage:
    """Nobody can dial over an edge for `seconds`."""

    at: float
    edge: Edge
    seconds: float


Step = Put | Meet | Fall | ClockJump | PutBehind | Cut | HalfClose | Stall | Outage


@dataclass(frozen=True)
class Plan:
    """`tight`: batches, pieces, listings and messages are so small that a few entries need
    many of each. `at_once`: the sweeps after the last fault run all edges together. `pool`: how
    many entries there are to put. `kinds`: what each node refuses, where they differ in that."""

    seed: int
    topology: str
    nodes: tuple[NodePlan, ...]
    edges: tuple[Edge, ...]
    steps: tuple[Step, ...]
    tight: bool
    many: bool
    at_once: bool
    pool: int = POOL
    kinds: tuple[str, ...] = ()
    quiet_delay: float = 0.0
    order: random.Random = field(default_factory=random.Random, compare=False)


def make_plan(seed: int) -> Plan:
    """The plan of a seed."""
    chance = random.Random(f"setsync world {seed}")
    count = chance.choices([2, 3, 4, 5, 6], [40, 30, 15, 10, 5])[0]
    topology, edges = make_topology(chance, count)
    on_disk = chance.random() < 1 / 16
    few = amount(chance)
    nodes = tuple(node(chance, on_disk, few) for _ in range(count))
    steps: list[Step] = []
    for _ in range(chance.randint(1, 2 + count)):
        steps += meetings(chance, edges)
    steps += [put(chance, count) for _ in range(chance.randint(0, 4))]
    steps += [fall(chance, count) for _ in range(chance.choice([0, 0, 1, 1, 2]))]
    if chance.random() < 0.3:
        jump = chance.randint(-TEN_YEARS, TEN_YEARS)
        steps.append(ClockJump(_moment(chance), chance.randrange(count), jump))
    return Plan(
        seed,
        topology,
        nodes,
        edges,
        tuple(sorted(steps, key=lambda step: step.at)),
        tight=chance.random() < 0.5,
        many=chance.random() < 0.3,
        at_once=chance.random() < 0.5,
        quiet_delay=chance.choice([0.0, 0.02, 0.3]),
        order=random.Random(f"setsync sweeps {seed}"),
    )


def make_topology(chance: random.Random, count: int) -> tuple[str, tuple[Edge, ...]]:
    everybody = range(count)
    full = list(itertools.combinations(everybody, 2))
    name = chance.choice(["line", "ring", "star", "full", "tree", "parted"])
    match name:
        case "line":
            edges = list(itertools.pairwise(everybody))
        case "ring":
            edges = [*itertools.pairwise(everybody), (0, count - 1)]
        case "star":
            edges = [(0, other) for other in everybody[1:]]
        case "full":
            edges = full
        case "tree":
            edges = [(chance.randrange(other), other) for other in everybody[1:]]
        case _:
            half = max(2, count // 2)
            edges = [edge for edge in full if (edge[0] < half) == (edge[1] < half)]
    return name, tuple(dict.fromkeys(edges))


def amount(chance: random.Random) -> int:
    return chance.choice([3, 8, 8, 20, 20, 45])


def node(chance: random.Random, on_disk: bool, few: int) -> NodePlan:
    return NodePlan(
        on_disk=on_disk and chance.random() < 0.7,
        skew=chance.choice([0, 0, 1, -1]) * chance.randint(0, TEN_YEARS),
        max_payload=chance.choice([DEFAULT_MAX_PAYLOAD] * 4 + [1_000]),
        disk_delay=chance.choice([0.0, 0.0, 0.02, 0.5]),
        held=tuple(chance.sample(range(POOL), chance.randint(0, few))),
    )


def _moment(chance: random.Random) -> float:
    """Often at the same moment as others."""
    return float(chance.choice([0.0, 1.0, chance.uniform(0, _HORIZON)]))


def put(chance: random.Random, count: int) -> Put:
    numbers = chance.sample(range(POOL), chance.randint(1, 8))
    return Put(chance.uniform(0, _HORIZON), chance.randrange(count), tuple(numbers))


def fall(chance: random.Random, count: int) -> Fall:
    return Fall(
        _moment(chance),
        chance.randrange(count),
        politely=chance.random() < 0.3,
        disk_step=chance.choice([0, chance.randint(1, 40)]),
        seconds=chance.choice([0.0, 1.0, 30.0]),
    )


def meetings(chance: random.Random, edges: tuple[Edge, ...]) -> list[Meet]:
    """On one edge: mostly one session, sometimes two or three at about the same time."""
    edge = chance.choice(edges)
    at = _moment(chance)
    overlapping = chance.choice([1, 1, 1, 2, 3])
    meetings: list[Meet] = []
    for _ in range(overlapping):
        way = edge if chance.random() < 0.5 else (edge[1], edge[0])
        late = chance.choice([0.0, 0.0, 0.1, 1.0])
        meetings.append(Meet(at + late, way, _options(chance), make_link(chance)))
    return meetings


def _options(chance: random.Random) -> Options:
    if chance.random() < 0.6:
        return Options()
    dry_run = chance.random() < 0.2
    patterns = chance.choice([("**",), ("**",), ("notes/**", "a"), ("system/**",), ("*",)])
    return Options(
        interests=tuple(map(Pattern, patterns)),
        direction=chance.choice([m.BOTH, m.BOTH, m.PUSH, m.PULL]),
        dry_run=dry_run,
        list_ids=dry_run and chance.random() < 0.5,
        sketches=chance.random() < 0.8,
    )


def make_link(chance: random.Random) -> LinkPlan:
    return LinkPlan(
        seed=chance.getrandbits(64),
        delay=chance.choice([0.0, 0.01, 0.05, 0.5]),
        narrow=chance.random() < 0.4,
        up=_way(chance),
        down=_way(chance),
    )


def _way(chance: random.Random) -> Way:
    """Most sessions have some hundred bytes to some ten thousand, most of them early."""
    where = int(10 ** chance.uniform(0, 4.3))
    match chance.choice(["calm"] * 6 + ["cut", "cut", "half", "stall"]):
        case "cut":
            return Way(cut_at=where)
        case "half":
            return Way(half_close_at=where)
        case "stall":
            return Way(stall_at=where, stall_seconds=chance.choice([5.0, 50.0, 200.0, math.inf]))
    return Way()


def calm_link(seed: int, delay: float) -> LinkPlan:
    """A link on which nothing goes wrong, though it delays and divides what it carries."""
    return LinkPlan(seed, delay, narrow=bool(seed % 2))
