"""What a seed means for nodes that keep up with each other, as `serve --peer` does.

Who dials whom, what is put where and when, and what breaks meanwhile. Steps are planned around a
few moments, so that entries, cuts and falls meet.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass

from setsync import limits
from tests.simulation.material import POOL, TEN_YEARS
from tests.simulation.plan import (
    ClockJump,
    Cut,
    Edge,
    Fall,
    HalfClose,
    LinkPlan,
    Outage,
    Plan,
    Put,
    PutBehind,
    Stall,
    Step,
    amount,
    calm_link,
    fall,
    make_link,
    make_topology,
    node,
)

# Steps begin within so many intervals between two reconciliations.
_HORIZONS = (0.1, 0.5, 1.5, 3.0)
BRISK_SECONDS = 180.0


@dataclass(frozen=True)
class LivePlan(Plan):
    """`keepers`: who dials whom, mostly one for each edge. `secure`: over the secure channel.
    `brisk`: sessions begin anew five times as often. `notices`: nodes look for what other
    processes put into their stores. `shaky`: the share of connections that have a fault of their
    own, until the last step."""

    keepers: tuple[Edge, ...] = ()
    secure: bool = False
    brisk: bool = False
    notices: bool = False
    shaky: float = 0.0
    news: Put | None = None

    @property
    def interval(self) -> float:
        """Seconds between two reconciliations with the same peer, about."""
        return BRISK_SECONDS if self.brisk else limits.LIVE_SECONDS

    def link(self, edge: Edge, number: int, is_calm: bool) -> LinkPlan:
        """The `number`-th connection of a keeper."""
        chance = random.Random(f"setsync live link {self.seed} {edge} {number}")
        if not is_calm and chance.random() < self.shaky:
            return make_link(chance)
        return calm_link(chance.getrandbits(64), self.quiet_delay)


def make_live_plan(seed: int) -> LivePlan:
    """The plan of a seed."""
    chance = random.Random(f"setsync live world {seed}")
    count = chance.choices([2, 3, 4, 5, 6], [35, 30, 20, 10, 5])[0]
    topology, edges = make_topology(chance, count)
    on_disk = chance.random() < 1 / 16
    few = amount(chance)
    nodes = tuple(node(chance, on_disk, few) for _ in range(count))
    brisk = chance.random() < 0.7
    interval = BRISK_SECONDS if brisk else limits.LIVE_SECONDS
    return LivePlan(
        seed,
        topology,
        nodes,
        edges,
        _steps(chance, count, edges, interval * chance.choice(_HORIZONS)),
        tight=chance.random() < 0.5,
        many=chance.random() < 0.3,
        at_once=False,
        quiet_delay=chance.choice([0.0, 0.02, 0.3]),
        keepers=_keepers(chance, edges),
        secure=chance.random() < 0.25,
        brisk=brisk,
        notices=brisk and chance.random() < 0.3,
        shaky=chance.choice([0.0, 0.3, 0.8]),
        news=_put(chance, 0.0, count),
    )


def _keepers(chance: random.Random, edges: tuple[Edge, ...]) -> tuple[Edge, ...]:
    """On some edges each side dials the other."""
    found: list[Edge] = []
    for one, two in edges:
        ways = [(one, two), (two, one)]
        found += ways if chance.random() < 0.2 else [chance.choice(ways)]
    return tuple(found)


def _steps(
    chance: random.Random, count: int, edges: tuple[Edge, ...], horizon: float
) -> tuple[Step, ...]:
    moments = [chance.uniform(0, horizon) for _ in range(chance.randint(1, 5))]

    def moment() -> float:
        return chance.choice(moments) + chance.choice([0.0, 0.0, 0.01, 0.3, 5.0])

    makers: list[tuple[Callable[[random.Random, float], Step], int]] = [
        (lambda chance, at: _put(chance, at, count), chance.randint(1, 8)),
        (lambda chance, at: _put_behind(chance, at, count), chance.choice([0, 0, 1, 2])),
        (lambda chance, at: _fault(chance, at, edges), chance.randint(0, 5)),
        (lambda chance, at: _fall(chance, at, count), chance.choice([0, 0, 1, 1, 2, 3])),
        (lambda chance, at: _jump(chance, at, count), chance.choice([0, 0, 1])),
    ]
    steps = [make(chance, moment()) for make, how_many in makers for _ in range(how_many)]
    return tuple(sorted(steps, key=lambda step: step.at))


def _numbers(chance: random.Random) -> tuple[int, ...]:
    return tuple(chance.sample(range(POOL), chance.randint(1, 8)))


def _put(chance: random.Random, at: float, count: int) -> Put:
    return Put(at, chance.randrange(count), _numbers(chance))


def _put_behind(chance: random.Random, at: float, count: int) -> PutBehind:
    return PutBehind(at, chance.randrange(count), _numbers(chance))


def _fall(chance: random.Random, at: float, count: int) -> Fall:
    drawn = fall(chance, count)
    seconds = chance.choice([0.0, 1.0, 30.0, 600.0])
    return Fall(at, drawn.node, drawn.politely, drawn.disk_step, seconds)


def _jump(chance: random.Random, at: float, count: int) -> ClockJump:
    return ClockJump(at, chance.randrange(count), chance.randint(-TEN_YEARS, TEN_YEARS))


def _fault(chance: random.Random, at: float, edges: tuple[Edge, ...]) -> Step:
    edge, way = chance.choice(edges), chance.choice(["up", "down"])
    match chance.choice(["cut", "cut", "half", "stall", "outage"]):
        case "cut":
            return Cut(at, edge)
        case "half":
            return HalfClose(at, edge, way)
        case "stall":
            return Stall(at, edge, way, chance.choice([5.0, 50.0, 200.0, math.inf]))
        case _:
            return Outage(at, edge, chance.choice([1.0, 60.0, 600.0]))
