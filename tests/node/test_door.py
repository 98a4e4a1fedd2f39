"""The door: so many at a time and so many a second, by a clock that the test holds."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

import pytest

from setsync import limits
from setsync.errors import Abort, PeerError
from setsync.node.door import Door, Rules, Visit, crowd_of

ANNA, BEN = b"a" * 32, b"b" * 32


@dataclass
class Doorstep:
    """A door and the connections before it, a second apart unless `now` is set."""

    door: Door = field(default_factory=Door)
    now: float = 1_000.0
    dropped: list[str] = field(default_factory=list)

    def arrive(self, address: str, name: str = "") -> Visit:
        self.now += 1
        return self.door.arrive(address, self.now, lambda: self.dropped.append(name or address))

    def enter(self, address: str, key: bytes | None = ANNA) -> Visit:
        visit = self.arrive(address)
        self.door.let_through(visit, key)
        return visit


def _is_busy(doing: Callable[..., object], *arguments: object) -> str:
    with pytest.raises(PeerError) as caught:
        doing(*arguments)
    assert caught.value.abort is Abort.BUSY
    assert caught.value.message.endswith("; try later.")
    return caught.value.message


def _hosts(number: int) -> list[str]:
    return [f"192.0.2.{at}" for at in range(number)]


def test_the_limits_are_the_ones_that_are_written_down() -> None:
    rules = Rules()
    assert (rules.pending, rules.pending_per_address) == (100, 4)
    assert (rules.connections, rules.per_address, rules.per_key) == (125, 8, 2)
    assert (rules.rate, rules.rate_per_address) == (50, 5)
    assert rules.connections == limits.MAX_CONNECTIONS


# --- places -------------------------------------------------------------------------------


def test_when_all_places_are_taken_the_oldest_goes() -> None:
    step = Doorstep()
    hosts = _hosts(104)
    for host in hosts:
        step.arrive(host)
    assert step.dropped == hosts[:4]
    assert step.door.pending == 100


def test_who_comes_within_the_rate_is_not_dropped_however_many_come_at_one_moment() -> None:
    door, dropped = Door(), 0

    def drop() -> None:
        nonlocal dropped
        dropped += 1

    for at in range(int(2 * limits.ACCEPTS_PER_SECOND)):
        door.arrive(f"10.0.{at}.1", 1_000.0, drop)
    assert "a second" in _is_busy(door.arrive, "10.1.0.1", 1_000.0, drop)
    assert dropped == 0


def test_who_is_through_is_not_dropped() -> None:
    step = Doorstep()
    first = step.enter("192.0.2.100")
    for host in _hosts(140):
        step.arrive(host)
    assert not first.was_dropped
    assert (step.door.through, step.door.pending) == (1, 100)


def test_an_address_has_four_places_and_drops_its_own_oldest() -> None:
    step = Doorstep()
    step.arrive("192.0.2.1", "a neighbour")
    for number in range(6):
        step.arrive("192.0.2.2", str(number))
    assert step.dropped == ["0", "1"]
    assert step.door.pending == 5


def test_who_leaves_makes_room() -> None:
    step = Doorstep()
    visits = [step.arrive(host) for host in _hosts(100)]
    step.door.leave(visits[7])
    step.door.leave(visits[7])
    step.arrive("198.51.100.1")
    assert step.dropped == []
    step.arrive("198.51.100.2")
    assert step.dropped == ["192.0.2.0"]
    step.door.leave(visits[0])  # who was dropped leaves too
    assert step.door.pending == 100


def test_more_or_fewer_may_be_through_from_now_on_and_nobody_has_to_leave() -> None:
    step = Doorstep(Door(Rules(connections=2)))
    for at in range(2):
        step.enter(f"10.0.{at}.1", at.to_bytes(32))
    late = step.arrive("10.1.0.1")
    step.door.admit(3)
    step.door.let_through(late, ANNA)
    step.door.admit(1)
    assert step.door.through == 3
    assert "all 1 connections" in _is_busy(step.door.let_through, step.arrive("10.2.0.1"), BEN)


def test_125_are_through_and_the_next_is_told() -> None:
    step = Doorstep()
    visits = [step.enter(f"10.0.{at}.1", at.to_bytes(32)) for at in range(125)]
    late = step.arrive("192.0.2.1")
    assert "all 125 connections" in _is_busy(step.door.let_through, late, ANNA)
    assert step.door.pending == 1  # while it is told why
    step.door.leave(visits[0])
    step.door.let_through(late, ANNA)
    assert step.door.through == 125


def test_8_from_one_address_are_through_and_2_of_one_key() -> None:
    step = Doorstep()
    for at in range(8):
        step.enter("192.0.2.1", bytes([at]) * 32)
    late = step.arrive("192.0.2.1")
    assert "8 connections from one address" in _is_busy(step.door.let_through, late, ANNA)
    step.enter("192.0.2.2", ANNA)
    second = step.enter("192.0.2.3", ANNA)
    third = step.arrive("192.0.2.4")
    assert "2 connections from one key" in _is_busy(step.door.let_through, third, ANNA)
    step.door.let_through(third, BEN)
    step.door.leave(second)
    step.enter("192.0.2.5", ANNA)


def test_loopback_addresses_are_many_programs() -> None:
    """No number per address holds for them; the ones over all and per key do."""
    step = Doorstep()
    for at in range(20):
        step.enter("127.0.0.1", bytes([at]) * 32)
    for number in range(101):
        step.arrive("::1", str(number))
    assert step.dropped == ["0"]
    step.enter("127.0.0.1", ANNA)
    step.enter("127.0.0.2", ANNA)
    _is_busy(step.door.let_through, step.arrive("127.0.0.1"), ANNA)


def test_without_a_key_there_is_no_number_per_key() -> None:
    step = Doorstep()
    for _ in range(10):
        step.enter("127.0.0.1", None)
    assert step.door.through == 10


@pytest.mark.parametrize(
    ("address", "crowd"),
    [
        ("127.0.0.1", ""),
        ("127.8.9.10", ""),
        ("::1", ""),
        ("::ffff:127.0.0.1", ""),
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
    ],
)
def test_who_counts_as_one(address: str, crowd: str) -> None:
    assert crowd_of(address) == crowd


# --- rates --------------------------------------------------------------------------------


def _flood(step: Doorstep, seconds: float, each: int, hosts: list[str]) -> int:
    """So many arrivals a second; how many of them came in."""
    came_in = 0
    for number in range(int(seconds * each)):
        try:
            at = step.now + number / each
            visit = step.door.arrive(hosts[number % len(hosts)], at, lambda: None)
        except PeerError:
            continue
        came_in += 1
        step.door.leave(visit)
    step.now += seconds - 1 / each
    return came_in


def test_an_address_gets_in_5_a_second_and_10_at_once() -> None:
    step = Doorstep()
    assert _flood(step, 10, 1_000, ["192.0.2.1"]) == pytest.approx(10 + 5 * 10, abs=1)
    assert "from this address" in _is_busy(step.door.arrive, "192.0.2.1", step.now, print)


def test_all_together_get_in_50_a_second_and_100_at_once() -> None:
    step = Doorstep()
    hosts = [f"10.{at // 256}.{at % 256}.1" for at in range(1_000)]
    assert _flood(step, 10, 2_000, hosts) == pytest.approx(100 + 50 * 10, abs=1)
    assert "a second came; try" in _is_busy(step.door.arrive, "192.0.2.99", step.now, print)


def test_one_address_that_floods_leaves_the_others_theirs() -> None:
    step = Doorstep()
    _flood(step, 10, 1_000, ["192.0.2.1"])
    step.door.arrive("192.0.2.2", step.now, print)


def test_a_moment_later_there_is_room_again() -> None:
    step = Doorstep()
    _flood(step, 1, 1_000, ["192.0.2.1"])
    _is_busy(step.door.arrive, "192.0.2.1", step.now, print)
    step.door.arrive("192.0.2.1", step.now + 0.25, print)


def test_a_clock_that_goes_back_gives_nothing_and_takes_nothing() -> None:
    step = Doorstep()
    _flood(step, 1, 1_000, ["192.0.2.1"])
    for back in range(50):
        _is_busy(step.door.arrive, "192.0.2.1", step.now - back, print)


def test_the_table_of_addresses_does_not_grow_with_a_flood() -> None:
    door = Door()
    for number in range(50_000):
        try:
            address = f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"
            door.leave(door.arrive(address, number / 1_000, lambda: None))
        except PeerError:
            continue
    assert len(door._by_address) <= 401


def test_the_operator_hears_of_a_flood_once_a_second() -> None:
    door = Door()
    told = sum(door.is_time_to_tell(1_000 + number / 1_000) for number in range(10_000))
    assert 10 <= told <= 12


# --- all together -------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_no_number_is_ever_over_its_limit(seed: int) -> None:
    """Whoever comes, goes and is dropped, in any order; and nobody is counted for ever."""
    chance = Random(seed)
    rules = Rules(pending=5, pending_per_address=2, connections=7, per_address=3, per_key=2)
    door = Door(rules)
    inside: list[Visit] = []
    now = 0.0
    for _ in range(3_000):
        now += chance.random() / 20
        with contextlib.suppress(PeerError):
            if not inside or chance.random() < 0.5:
                address = f"192.0.2.{chance.randrange(6)}"
                inside.append(door.arrive(address, now, lambda: None))
            elif chance.random() < 0.6:
                door.let_through(chance.choice(inside), bytes([chance.randrange(5)]))
            else:
                door.leave(inside.pop(chance.randrange(len(inside))))
        inside = [visit for visit in inside if not visit.was_dropped]
        _check(door, inside, rules)
    for visit in inside:
        door.leave(visit)
    assert (door.pending, door.through) == (0, 0)


def _check(door: Door, inside: list[Visit], rules: Rules) -> None:
    through = [visit for visit in inside if visit.is_through]
    waiting = [visit for visit in inside if not visit.is_through]
    assert (door.through, door.pending) == (len(through), len(waiting))
    assert len(through) <= rules.connections
    assert len(waiting) <= rules.pending
    for address in {visit.address for visit in inside}:
        assert sum(visit.address == address for visit in through) <= rules.per_address
        assert sum(visit.address == address for visit in waiting) <= rules.pending_per_address
    for key in {visit.key for visit in through}:
        assert sum(visit.key == key for visit in through) <= rules.per_key
