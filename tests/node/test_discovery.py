"""Nodes of the local network find each other, and nobody else is believed more than a place."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from setsync import limits
from setsync.cli.discovering import Discovering
from setsync.errors import DiscoveryError, PeerError, PeersFileError
from setsync.node.address import Address
from setsync.node.client import Options
from setsync.node.config import DataDirectory
from setsync.node.dialling import Dialler, Target
from setsync.node.discovery import (
    SERVICE,
    Discovery,
    Event,
    Finds,
    Gone,
    Heard,
    Hinted,
    Multicast,
    Network,
    Reach,
    adapters,
    label_of,
    multicast,
    places_in,
    reach_of,
)
from setsync.node.live import Keeper, Phase
from setsync.node.local import Local, inline
from setsync.node.peers import PeersFile, Rule
from setsync.node.progress import OnProgress, Progress, ignore
from setsync.node.report import Report
from setsync.node.states import States
from tests.helpers import entries, keys
from tests.node.ends import Side, opened, simulate
from tests.node.impostors import ANNA, BEN, MALLORY
from tests.node.processes import PATIENCE, Process, contents, fill, make_node, run
from tests.node.secure import put_on_list, store_of

HERE: tuple[Network, ...] = (
    ipaddress.ip_network("192.0.2.0/24"),
    ipaddress.ip_network("fd00::/64"),
)
PLACE, OTHER_PLACE = "192.0.2.7", "192.0.2.8"


def said_by(
    key: bytes,
    /,
    *hosts: str,
    port: int | None = 7717,
    label: str | None = None,
    **properties: bytes | None,
) -> Heard:
    """What a node announces, unless it is said otherwise."""
    told: dict[bytes, bytes | None] = {b"key": key.hex().encode(), b"v": b"1"}
    told |= {name.encode(): value for name, value in properties.items()}
    return Heard(label or label_of(key), port, hosts or (PLACE,), told)


def address(host: str = PLACE, key: bytes = BEN.public, port: int = 7717) -> Address:
    return Address(host, port, key)


# --- what is heard ------------------------------------------------------------------------


def test_an_announcement_says_where_a_key_is() -> None:
    assert places_in(said_by(BEN.public), BEN.public, HERE) == (address(),)
    several = said_by(BEN.public, PLACE, "fd00::7", PLACE, OTHER_PLACE)
    expected = (address(), address("fd00::7"), address(OTHER_PLACE))
    assert places_in(several, BEN.public, HERE) == expected


NONSENSE: dict[str, Heard] = {
    "another's key": said_by(BEN.public, key=MALLORY.public.hex().encode()),
    "no key": said_by(BEN.public, key=None),
    "half a key": said_by(BEN.public, key=BEN.public.hex()[:32].encode()),
    "a key in capitals": said_by(BEN.public, key=BEN.public.hex().upper().encode()),
    "a key and more": said_by(BEN.public, key=BEN.public.hex().encode() + b"\n"),
    "a key of noise": said_by(BEN.public, key=bytes(range(64))),
    "another version": said_by(BEN.public, v=b"2"),
    "no version": said_by(BEN.public, v=None),
    "another label": said_by(BEN.public, label=label_of(MALLORY.public)),
    "port 0": said_by(BEN.public, port=0),
    "no port": said_by(BEN.public, port=None),
    "a port too many": said_by(BEN.public, port=65_536),
    "a negative port": said_by(BEN.public, port=-1),
    "a far address": said_by(BEN.public, "198.51.100.1"),
    "this machine": said_by(BEN.public, "127.0.0.1"),
    "nowhere": said_by(BEN.public, "0.0.0.0"),
    "a group": said_by(BEN.public, "224.0.0.251"),
    "a name": said_by(BEN.public, "example.org"),
    "an address of a link": said_by(BEN.public, "fe80::7%eth0"),
    "no text at all": said_by(BEN.public, ""),
}


@pytest.mark.parametrize("heard", NONSENSE.values(), ids=NONSENSE)
def test_an_announcement_that_makes_no_sense_says_nothing(heard: Heard) -> None:
    assert places_in(heard, BEN.public, HERE) == ()
    finds = Finds(HERE)
    finds.want({BEN.public})
    finds.hear(said_by(BEN.public))
    finds.hear(heard)
    assert finds.places == {BEN.public: (address(),)}


@given(
    st.builds(
        Heard,
        st.text(max_size=70),
        st.none() | st.integers(),
        st.lists(st.text(max_size=50) | st.ip_addresses().map(str), max_size=20),
        st.dictionaries(st.binary(max_size=9), st.none() | st.binary(max_size=70), max_size=5),
    )
)
def test_whatever_is_announced_is_read_or_passed_over(heard: Heard) -> None:
    assert places_in(heard, BEN.public, HERE) == ()


def test_an_announcement_names_a_bounded_number_of_places() -> None:
    hosts = [f"192.0.2.{number}" for number in range(1, 200)]
    assert len(places_in(said_by(BEN.public, *hosts), BEN.public, HERE)) == limits.MAX_FOUND_PLACES


# --- keeping the books --------------------------------------------------------------------


def test_found_moved_and_vanished() -> None:
    finds = Finds(HERE)
    finds.want({BEN.public})
    finds.hear(said_by(BEN.public))
    finds.hear(said_by(MALLORY.public))
    assert finds.places == {BEN.public: (address(),)}
    finds.hear(said_by(BEN.public, OTHER_PLACE, port=1))
    assert finds.places == {BEN.public: (address(OTHER_PLACE, port=1),)}
    finds.hear(Gone(label_of(MALLORY.public)))
    finds.hear(Gone(label_of(BEN.public)))
    finds.hear(Gone(label_of(BEN.public)))
    assert finds.places == {}


def test_who_is_wanted_later_is_asked_for_and_who_is_not_any_more_is_forgotten() -> None:
    finds = Finds(HERE)
    finds.want({BEN.public})
    assert (finds.next_open(), finds.next_open()) == (label_of(BEN.public), None)
    finds.hear(said_by(BEN.public))
    finds.want({BEN.public, MALLORY.public})
    assert (finds.next_open(), finds.next_open()) == (label_of(MALLORY.public), None)
    finds.hear(Hinted(label_of(MALLORY.public)))
    finds.want({MALLORY.public})
    assert finds.places == {}
    assert finds.labels == {label_of(MALLORY.public)}
    assert (finds.next_open(), finds.next_open()) == (label_of(MALLORY.public), None)


def test_a_flood_of_announcements_leaves_nothing_behind() -> None:
    """Ten thousand strangers, and more listed ones than are kept up with."""
    listed = [key.public for key in keys(limits.MAX_FOUND + 10, seed=31)]
    finds = Finds(HERE)
    finds.want(set(listed))
    finds.hear(said_by(listed[0]))
    for number in range(10_000):
        stranger = number.to_bytes(32, "big")
        finds.hear(said_by(stranger))
        finds.hear(Hinted(label_of(stranger)))
    assert finds.places == {listed[0]: (address(key=listed[0]),)}
    for key in listed:
        finds.hear(said_by(key))
    assert list(finds.places) == listed[: limits.MAX_FOUND]
    finds.hear(said_by(listed[0], OTHER_PLACE))
    assert finds.places[listed[0]] == (address(OTHER_PLACE, listed[0]),)
    finds.hear(Gone(label_of(listed[0])))
    finds.hear(said_by(listed[-1]))
    assert listed[-1] in finds.places
    assert len(finds.places) == limits.MAX_FOUND


POOL = [key.public for key in keys(6, seed=32)]
PEOPLE = st.sampled_from(POOL)


class Books(RuleBasedStateMachine):
    """Against a dictionary that does the same without care for bounds."""

    def __init__(self) -> None:
        super().__init__()
        self.finds = Finds(HERE)
        self.wanted: set[bytes] = set()
        self.there: dict[bytes, str] = {}

    @rule(keys=st.sets(PEOPLE))
    def want(self, keys: set[bytes]) -> None:
        self.finds.want(keys)
        self.wanted = keys
        self.there = {key: host for key, host in self.there.items() if key in keys}

    @rule(key=PEOPLE, host=st.sampled_from([PLACE, OTHER_PLACE]))
    def announced(self, key: bytes, host: str) -> None:
        self.finds.hear(said_by(key, host))
        if key in self.wanted:
            self.there[key] = host

    @rule(key=PEOPLE, event=st.sampled_from([Gone, Hinted]))
    def said(self, key: bytes, event: Callable[[str], Event]) -> None:
        self.finds.hear(event(label_of(key)))
        if event is Gone:
            self.there.pop(key, None)

    @rule()
    def missed(self) -> None:
        self.finds.missed()
        asked = []
        while (label := self.finds.next_open()) is not None:
            asked.append(label)
        assert len(asked) == len(set(asked))
        assert {label_of(key) for key in self.wanted - self.there.keys()} <= set(asked)

    @invariant()
    def is_as_expected(self) -> None:
        expected = {key: (address(host, key),) for key, host in self.there.items()}
        assert self.finds.places == expected
        assert self.finds.labels == {label_of(key) for key in self.wanted}


TestBooks = Books.TestCase


# --- keeping up with them -----------------------------------------------------------------


class FakeFeed:
    """What a network would say, said by a test."""

    def __init__(self) -> None:
        self.say, self.events = trio.open_memory_channel[Event](limits.FOUND_EVENTS)
        self.labels: frozenset[str] = frozenset()
        self.has_missed = False
        self.answers: dict[str, Heard] = {}
        self.asked: list[str] = []

    def listen_for(self, labels: frozenset[str]) -> None:
        self.labels = labels

    def ask(self, label: str) -> Heard | None:
        self.asked.append(label)
        return self.answers.get(label)


class Calls(Dialler):
    """A dialler that notes whom it is asked to dial; a session lasts as long as its place says."""

    def __init__(self, folder: Path) -> None:
        super().__init__(ANNA, PeersFile(folder / "peers.json"))
        self.dialled: list[tuple[str, float]] = []
        self.seconds: dict[str, float] = {}
        self.live: set[str] = set()

    async def session(
        self,
        target: Target,
        local: Local,
        options: Options,
        on_progress: OnProgress = ignore,
        report: Report | None = None,
    ) -> Report:
        """Refused at once, or live for so long and then cut."""
        host = target.address.host
        self.dialled.append((host, trio.current_time()))
        if host in self.seconds:
            on_progress(Progress("live", 0, 0, "entries"))
            self.live.add(host)
            try:
                await trio.sleep(self.seconds[host])
            finally:
                self.live.discard(host)
        raise PeerError("Nobody is there.")


@dataclass
class Stage:
    """A discovery that runs, and what it hears and does."""

    feed: FakeFeed
    calls: Calls
    wanted: set[bytes]
    discovery: Discovery
    ended: list[bytes] = field(default_factory=list)
    begun: list[bytes] = field(default_factory=list)
    list_is_broken: bool = False

    async def hears(self, *events: Event) -> None:
        for event in events:
            await self.feed.say.send(event)
        await trio.testing.wait_all_tasks_blocked()


@contextlib.asynccontextmanager
async def stage(folder: Path, *wanted: bytes) -> AsyncIterator[Stage]:
    async with opened(Side(store_of(1)), ANNA.public) as local, trio.open_nursery() as nursery:
        calls, feed, keys = Calls(folder), FakeFeed(), set(wanted)
        stage: Stage

        def want() -> set[bytes]:
            if stage.list_is_broken:
                raise PeersFileError("It cannot be read.")
            return set(keys)

        def begin(address: Address) -> Keeper:
            assert address.key is not None
            stage.begun.append(address.key)
            return Keeper(calls, Target(address), local, Options())

        def ended(keeper: Keeper) -> None:
            assert keeper.target.address.key is not None
            stage.ended.append(keeper.target.address.key)

        discovery = Discovery(feed, Finds(HERE), want, begin, ended, inline)
        stage = Stage(feed, calls, keys, discovery)
        nursery.start_soon(discovery.run)
        await trio.testing.wait_all_tasks_blocked()
        yield stage
        nursery.cancel_scope.cancel()


def test_a_listed_node_that_is_found_is_dialled_once_however_often_it_is_announced(
    tmp_path: Path,
) -> None:
    async def main() -> None:
        async with stage(tmp_path, BEN.public) as now:
            now.calls.seconds[PLACE] = 1e6
            await now.hears(*[said_by(BEN.public)] * 100, said_by(MALLORY.public))
            assert [host for host, _ in now.calls.dialled] == [PLACE]
            assert now.begun == [BEN.public]
            assert now.feed.labels == {label_of(BEN.public)}
            # It moves: the session stays, and the next one is at the new place.
            await now.hears(said_by(BEN.public, OTHER_PLACE))
            assert now.calls.live == {PLACE}
            assert now.discovery.kept[BEN.public].keeper.target == Target(address(OTHER_PLACE))

    simulate(main)


def test_who_is_said_to_have_vanished_is_let_go_only_once_it_is_not_connected(
    tmp_path: Path,
) -> None:
    """A forged goodbye cuts no session."""

    async def main() -> None:
        async with stage(tmp_path, BEN.public) as now:
            now.calls.seconds[PLACE] = 500
            await now.hears(said_by(BEN.public), Gone(label_of(BEN.public)))
            await trio.sleep(499)
            assert now.calls.live == {PLACE}
            assert now.ended == []
            now.calls.seconds.clear()  # it is cut, and nobody answers any more
            await trio.sleep(1 + 2 * limits.FOUND_LOOK_SECONDS)
            assert now.ended == [BEN.public]
            assert now.discovery.kept == {}
            now.feed.has_missed = True
            dialled = len(now.calls.dialled)
            await trio.sleep(3_600)
            assert len(now.calls.dialled) == dialled
            await now.hears(said_by(BEN.public))
            assert now.begun == [BEN.public, BEN.public]

    simulate(main)


def test_coming_and_going_as_fast_as_one_can_is_no_reason_to_dial_more_often(
    tmp_path: Path,
) -> None:
    """An hour of it costs a few dials every half minute."""

    async def main() -> None:
        async with stage(tmp_path, BEN.public) as now:
            for number in range(180_000 // 100):
                host = (PLACE, OTHER_PLACE)[number % 2]
                await now.hears(said_by(BEN.public, host), Gone(label_of(BEN.public)))
                await trio.sleep(2)
            assert 1 < len(now.begun) <= 3_600 / limits.FOUND_REST_SECONDS
            assert len(now.calls.dialled) <= 6 * len(now.begun)

    simulate(main)


def test_a_node_in_several_networks_is_tried_at_each_of_its_places(tmp_path: Path) -> None:
    async def main() -> None:
        async with stage(tmp_path, BEN.public) as now:
            now.calls.seconds["fd00::7"] = 1e6
            await now.hears(said_by(BEN.public, PLACE, OTHER_PLACE, "fd00::7"))
            await trio.sleep(60)
            assert [host for host, _ in now.calls.dialled] == [PLACE, OTHER_PLACE, "fd00::7"]
            keeper = now.discovery.kept[BEN.public].keeper
            assert keeper.state.phase is Phase.LIVE
            assert keeper.state.address == str(address("fd00::7"))

    simulate(main)


def test_who_is_blocked_is_let_go_and_who_is_listed_later_is_asked_for(tmp_path: Path) -> None:
    async def main() -> None:
        async with stage(tmp_path, BEN.public) as now:
            now.calls.seconds = {PLACE: 1e6, OTHER_PLACE: 1e6}
            await now.hears(said_by(BEN.public))
            now.list_is_broken = True
            now.wanted.clear()
            await trio.sleep(10 * limits.FOUND_LOOK_SECONDS)
            assert now.calls.live == {PLACE}
            now.list_is_broken = False
            now.feed.answers[label_of(MALLORY.public)] = said_by(MALLORY.public, OTHER_PLACE)
            now.wanted.add(MALLORY.public)
            await trio.sleep(2 * limits.FOUND_LOOK_SECONDS)
            assert now.calls.live == {OTHER_PLACE}
            assert now.ended == [BEN.public]
            assert now.begun == [BEN.public, MALLORY.public]

    simulate(main)


def test_what_was_missed_is_asked_for(tmp_path: Path) -> None:
    async def main() -> None:
        async with stage(tmp_path, BEN.public) as now:
            assert now.feed.asked == [label_of(BEN.public)]
            now.feed.answers[label_of(BEN.public)] = said_by(BEN.public)
            now.feed.has_missed = True
            await trio.sleep(2 * limits.FOUND_LOOK_SECONDS)
            assert now.begun == [BEN.public]
            assert now.feed.asked == 2 * [label_of(BEN.public)]
            assert not now.feed.has_missed

    simulate(main)


# --- where we are -------------------------------------------------------------------------


def _adapters(*machine: Sequence[str]) -> list[list[ipaddress.IPv4Interface]]:
    return [[ipaddress.ip_interface(each) for each in one] for one in machine]  # type: ignore[misc]


MACHINE = _adapters(
    ["127.0.0.1/8", "::1/128"],
    ["192.0.2.2/24", "fd00::2/64", "fe80::2/64"],
    ["198.51.100.9/25"],
    ["fd01::2/64"],
)


@pytest.mark.parametrize(
    ("hosts", "addresses", "interfaces", "networks"),
    [
        (["127.0.0.1"], ["127.0.0.1"], ["127.0.0.1"], ["127.0.0.0/8", "::1/128"]),
        (["127.0.0.5"], ["127.0.0.5"], ["127.0.0.1"], ["127.0.0.0/8", "::1/128"]),
        (["192.0.2.2"], ["192.0.2.2"], ["192.0.2.2"], ["192.0.2.0/24", "fd00::/64"]),
        (
            ["0.0.0.0"],
            ["192.0.2.2", "198.51.100.9"],
            ["192.0.2.2", "198.51.100.9"],
            ["192.0.2.0/24", "fd00::/64", "198.51.100.0/25"],
        ),
        (
            ["0.0.0.0", "::"],
            ["192.0.2.2", "fd00::2", "198.51.100.9", "fd01::2"],
            ["192.0.2.2", "198.51.100.9"],
            ["192.0.2.0/24", "fd00::/64", "198.51.100.0/25", "fd01::/64"],
        ),
    ],
    ids=str,
)
def test_a_node_announces_where_it_listens_and_looks_in_those_networks(
    hosts: list[str], addresses: list[str], interfaces: list[str], networks: list[str]
) -> None:
    reach = reach_of([Address(host, 7717) for host in hosts], MACHINE)
    assert reach.port == 7717
    assert list(reach.addresses) == addresses
    assert list(reach.interfaces) == interfaces
    assert [str(network) for network in reach.networks] == networks


def test_where_no_network_is_nothing_is_announced() -> None:
    only_loopback = MACHINE[:1]
    for host, machine in (
        ("0.0.0.0", only_loopback),
        ("203.0.113.1", MACHINE),
        ("::", MACHINE[3:]),
    ):
        with pytest.raises(DiscoveryError, match="reaches"):
            reach_of([Address(host, 7717)], machine)


# --- the real thing, on this machine ------------------------------------------------------


def _loopback(port: int) -> Reach:
    return reach_of([Address("127.0.0.1", port)], adapters())


def test_two_services_hear_of_each_other_and_of_the_others_end() -> None:
    async def main() -> None:
        async with multicast(ANNA.public, _loopback(7001)) as annas:
            annas.listen_for(frozenset({label_of(BEN.public)}))
            with trio.fail_after(PATIENCE):
                async with multicast(BEN.public, _loopback(7002)) as bens:
                    heard = await annas.events.receive()
                    if isinstance(heard, Hinted):
                        heard = await annas.events.receive()
                    assert isinstance(heard, Heard)
                    expected = (Address("127.0.0.1", 7002, BEN.public),)
                    assert places_in(heard, BEN.public, _loopback(1).networks) == expected
                    # And the other way round, for one that was not listened for at first.
                    asked = await trio.to_thread.run_sync(bens.ask, label_of(ANNA.public))
                    assert asked is not None
                    assert asked.port == 7001
                    assert await trio.to_thread.run_sync(bens.ask, label_of(MALLORY.public)) is None
                while not isinstance(await annas.events.receive(), Gone):
                    pass

    trio.run(main)


def test_an_announcement_tells_of_nobody_but_a_key() -> None:
    """Neither this machine's name nor anybody's."""
    import socket

    from setsync.node.discovery import _announcement

    info = _announcement(ANNA.public, _loopback(7001))
    assert info.name == f"{ANNA.public.hex()[:32]}.{SERVICE}"
    assert info.server == f"{ANNA.public.hex()[:32]}.local."
    assert info.properties == {b"key": ANNA.public.hex().encode(), b"v": b"1"}
    assert info.parsed_addresses() == ["127.0.0.1"]
    assert socket.gethostname() not in (info.name, info.server)


def test_strangers_stay_in_zeroconfs_thread_and_a_full_channel_is_noticed() -> None:
    """Ten thousand names that nobody asked for, and more news than anybody reads."""

    async def main() -> None:
        async with multicast(ANNA.public, _loopback(7001)) as feed:
            feed.listen_for(frozenset({label_of(BEN.public)}))
            await trio.to_thread.run_sync(_shout, feed, _names(10_000))
            assert feed.events.statistics().current_buffer_used == 0
            assert not feed.has_missed
            ours = [f"{label_of(BEN.public)}.{SERVICE}"] * (limits.FOUND_EVENTS + 5)
            await trio.to_thread.run_sync(_shout, feed, ours)
            assert feed.events.statistics().current_buffer_used == limits.FOUND_EVENTS
            assert feed.has_missed

    trio.run(main)


def _names(count: int) -> Iterator[str]:
    for number in range(count):
        yield f"{number:032x}.{SERVICE}"
        yield "\x1b[2J" * (number % 15) + f".{SERVICE}"


def _shout(feed: Multicast, names: Iterator[str] | list[str]) -> None:
    import zeroconf

    assert feed._zeroconf is not None
    for name in names:
        feed._changed(feed._zeroconf, SERVICE, name, zeroconf.ServiceStateChange.Added)


def test_what_cannot_be_opened_is_a_sentence() -> None:
    async def main() -> None:
        nowhere = Reach(7001, ("203.0.113.1",), ("203.0.113.1",), ())
        with pytest.raises(DiscoveryError, match="cannot be looked for"):
            async with multicast(ANNA.public, nowhere):
                raise AssertionError("it cannot be opened")

    trio.run(main)


# --- processes ----------------------------------------------------------------------------


def _key(node: Path) -> str:
    return DataDirectory.open(node).node_key().public.hex()


class Serving(Process):
    """A `setsync serve` that looks for others on this machine."""

    def __init__(self, data: Path, *words: str) -> None:
        super().__init__("serve", "--data", data, "--listen", "127.0.0.1:0", "--discover", *words)
        try:
            self.wait_for_event("announced")
            self.address = str(self.wait_for_event("listening")["address"])
        except BaseException:
            self.__exit__()
            raise


def test_two_nodes_that_list_each_other_find_each_other_and_sync(tmp_path: Path) -> None:
    """A third one that is not listed finds them, and is neither dialled nor let in."""
    # Keys of this run: another one on this machine would be heard, too.
    anna, ben, carl = (
        make_node(tmp_path / name, seed=3 * os.getpid() + number)
        for number, name in enumerate(("anna", "ben", "carl"))
    )
    for number, node in enumerate((anna, ben, carl)):
        fill(node, entries(5, seed=number))
    for node, others in ((anna, [ben]), (ben, [anna]), (carl, [anna, ben])):
        for other in others:
            assert run("peers", "add", _key(other), "--data", node).code == 0
    with Serving(anna) as annas, Serving(carl) as carls, Serving(ben) as bens:
        found = annas.wait_for_event("peer_found", peer=_key(ben))
        assert found["address"] == bens.address.partition("@")[2]
        annas.wait_for_event("peer_state", peer=_key(ben), state="live")
        bens.wait_for_event("peer_state", peer=_key(anna), state="live")
        refused = carls.wait_for_event("peer_state", state="waiting")
        assert "does not list you" in refused["reason"]
        _until_equal(anna, ben)

        bens.kill(signal.SIGTERM)
        assert bens.end().code == 0
        annas.wait_for_event("peer_vanished", peer=_key(ben))
        carls.kill(signal.SIGTERM)
        annas.kill(signal.SIGTERM)
        for process in (annas, carls):
            ended = process.end()
            assert ended.code == 0, ended.stderr
        assert _key(carl) not in "".join(
            line for line in annas.heard if "peer_found" in line or "peer_state" in line
        )
    assert len(contents(anna)) == 10


def _until_equal(one: Path, other: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while contents(one) != contents(other):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_only_listed_nodes_are_wanted_that_peer_does_not_name_and_that_are_not_blocked(
    tmp_path: Path,
) -> None:
    """Nor the node itself, listed or not; a change of the list holds at once."""
    peers, carl = PeersFile(tmp_path / "peers.json"), keys(1, seed=44)[0]
    dialler = Dialler(ANNA, peers)
    named = [Target(address())]
    discovering = Discovering(dialler, named, States(tmp_path / "states"), _no_keeper)
    assert discovering.wanted() == set()
    for secret in (ANNA, BEN, MALLORY, carl):
        put_on_list(peers, secret)
    assert discovering.wanted() == {MALLORY.public, carl.public}
    put_on_list(peers, MALLORY, Rule.BLOCKED)
    assert discovering.wanted() == {carl.public}


def _no_keeper(target: Target, _: Local) -> Keeper:
    raise AssertionError(f"{target} was to be kept up with")


def test_without_the_library_serve_says_what_to_install(tmp_path: Path) -> None:
    node = make_node(tmp_path / "node")
    words = ["serve", "--data", str(node), "--listen", "127.0.0.1:0", "--discover", "--json"]
    script = (
        "import sys; sys.modules['zeroconf'] = None\n"
        f"from setsync.cli.main import main; sys.exit(main({words!r}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert '"code": "library_missing"' in done.stdout
    assert "pip install 'setsync[lan]'" in done.stderr


def test_plain_nodes_are_not_announced(tmp_path: Path) -> None:
    node = make_node(tmp_path / "node")
    outcome = run("serve", "--data", node, "--discover", "--plain", "--json")
    assert (outcome.code, outcome.json["error"]["code"]) == (2, "usage")
