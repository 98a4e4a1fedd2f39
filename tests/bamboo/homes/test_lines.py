"""Many questions to a home: few connections, since a node takes few from one address."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
import trio
import trio.testing

from bamboo_compat.cli.home_service import answer_all, answer_for
from bamboo_compat.homes import answering, joining, limits, roads
from bamboo_compat.homes.answering import handle_join
from bamboo_compat.homes.joining import heads_there, logs_there
from bamboo_compat.homes.messages import PROTOCOL, Answer, Logs, Question, Who
from bamboo_compat.homes.roads import Road, Script, road_to, talk_on
from setsync.errors import PeerError, PeerGoneError
from setsync.node import listening
from setsync.node.door import Door, Rules
from setsync.node.identity import Identity
from setsync.node.listening import Visitor, listen
from setsync.node.node import open_local
from tests.bamboo.histories import member
from tests.bamboo.homes import scenes
from tests.bamboo.homes.scenes import Person, Server, key_of
from tests.bamboo.logs import Author

ADDRESS = "198.51.100.7"
LOGS = 300


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Server]:
    """With 300 logs of author 1, on three pages."""
    with scenes.opened(tmp_path / "home") as server:
        records = [Author(log_id=log_id).append() for log_id in range(LOGS)]
        server.store.add_many([member(one) for one in records])
        yield server


@pytest.fixture
def me(tmp_path: Path) -> Iterator[Person]:
    """Author 1, with a directory of its own."""
    with scenes.author(tmp_path / "me") as me:
        yield me


# --- on sockets ---------------------------------------------------------------------------


@contextmanager
def served(home: Server, door: Door, monkeypatch: pytest.MonkeyPatch) -> Iterator[Road]:
    """The way to a home that listens on a port here, and takes us for somebody from elsewhere."""
    monkeypatch.setattr(listening, "_address_of", lambda stream: ADDRESS)
    is_up = threading.Event()
    ports: list[int] = []
    tokens: list[trio.lowlevel.TrioToken] = []
    scope = trio.CancelScope()

    async def main() -> None:
        tokens.append(trio.lowlevel.current_trio_token())
        [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
        ports.append(listener.socket.getsockname()[1])
        guests = {PROTOCOL: answer_for(home.directory)}
        identity = Identity.of(home.key)
        async with open_local(home.store, node_id=home.key.public) as local:
            is_up.set()
            with scope:
                await listen(
                    local, [listener], lambda one: None, identity, door=door, guests=guests
                )

    thread = threading.Thread(target=partial(trio.run, main))
    thread.start()
    try:
        assert is_up.wait(30)
        url = f"setsync://{home.key.public.hex()}@127.0.0.1:{ports[0]}"
        yield road_to(url, Identity.of(key_of(150)), None)
    finally:
        tokens[0].run_sync_soon(scope.cancel)
        thread.join(30)


def test_a_home_is_asked_for_all_logs_and_all_heads_over_one_connection_each(
    home: Server, me: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes one connection from this address, and the next one two seconds later."""

    def logs(road: Road) -> dict[int, bytes]:
        return logs_there(me, road, home.key.public)

    def heads(road: Road) -> dict[int, bytes]:
        return heads_there(me, road, list(range(LOGS)))

    for ask in (logs, heads):
        door = Door(Rules(rate_per_address=0.5))
        with served(home, door, monkeypatch) as road:
            found = ask(road)
            with pytest.raises(PeerGoneError):
                ask(road)  # so it is none of those for whom the door does not count
        assert sorted(found) == list(range(LOGS))
        assert all(found.values())


# --- in a time that jumps -----------------------------------------------------------------


@dataclass
class Line:
    """Connections to a home in this process, through a door; `made` counts them, `refused` those
    that it turned away."""

    home: Server
    nursery: trio.Nursery
    door: Door
    made: int = 0
    refused: int = 0

    async def dial(self) -> trio.abc.Stream:
        """See `talk_on`."""
        try:
            visit = self.door.arrive(ADDRESS, trio.current_time(), lambda: None)
        except PeerError as error:
            self.refused += 1
            raise PeerGoneError("It closed the connection during the handshake.") from error
        self.made += 1
        mine, theirs = trio.testing.memory_stream_pair()
        self.nursery.start_soon(self._answer, theirs)
        self.door.leave(visit)
        return mine

    async def _answer(self, stream: trio.abc.Stream) -> None:
        async def handle(question: bytes) -> bytes:
            return handle_join(question, self.home.context())

        visitor = Visitor(stream, bytes(32), ADDRESS, None)  # type: ignore[arg-type]
        async with stream:
            await answer_all(visitor, handle)


def few_on_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two questions on a connection, and two logs on a page."""
    for module in (limits, roads):
        monkeypatch.setattr(module, "MAX_QUESTIONS", 2)
    monkeypatch.setattr(answering, "MAX_HEADS", 2)


async def test_a_home_that_is_busy_between_two_connections_is_dialled_again(
    home: Server, me: Person, monkeypatch: pytest.MonkeyPatch, autojump_clock: None
) -> None:
    few_on_each(monkeypatch)
    async with trio.open_nursery() as nursery:
        line = Line(home, nursery, Door())
        script = joining._all_logs(me, scenes.Road(home), home.key.public)
        found = await talk_on(line.dial, "there", script)
    assert sorted(found) == list(range(LOGS))
    assert line.made > 75
    assert line.refused > 0


async def test_a_home_that_was_there_and_takes_nobody_any_more_is_given_up(
    home: Server, me: Person, monkeypatch: pytest.MonkeyPatch, autojump_clock: None
) -> None:
    """After five more tries, a second apart; and after none where it never answered."""
    few_on_each(monkeypatch)

    def two(script: Script[None]) -> Script[None]:
        yield Who()
        yield Who()
        line.door = Door(Rules(rate_per_address=0.1))
        yield from script

    def once() -> Script[None]:
        yield Who()

    async with trio.open_nursery() as nursery:
        line = Line(home, nursery, Door())
        begun = trio.current_time()
        with pytest.raises(PeerGoneError):
            await talk_on(line.dial, "there", two(once()))
        assert (line.made, line.refused) == (1, 6)
        assert trio.current_time() - begun == pytest.approx(5.0)
        with pytest.raises(PeerGoneError):
            await talk_on(line.dial, "there", once())
        assert (line.made, line.refused) == (1, 7)


def test_what_is_signed_is_good_however_long_a_home_tells_of_its_logs(
    home: Server, me: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each page takes ten seconds here, and what is signed is good for five minutes."""
    monkeypatch.setattr(answering, "MAX_HEADS", 2)
    asked: list[Question] = []

    class Slow(scenes.Road):
        def ask(self, question: Question) -> Answer:
            asked.append(question)
            self.server.now += 10_000
            return super().ask(question)

    assert len(logs_there(me, Slow(home), home.key.public)) == LOGS
    assert len([one for one in asked if isinstance(one, Logs)]) == LOGS // 2 + 1
