"""Moving to another home: stopped anywhere and begun again, it ends the same."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from bamboo_compat.homes import messages, migration
from bamboo_compat.homes.archive import check_archive
from bamboo_compat.homes.errors import (
    BehindHeadError,
    MigrationError,
    NotConfirmedError,
    SameHomeError,
)
from bamboo_compat.homes.joining import join
from bamboo_compat.homes.marriages import Marriage, marriages, open_homes, statements_in
from bamboo_compat.homes.messages import Answer, Logs, Question
from bamboo_compat.homes.migration import STEPS, Step, migrate, preview, state_file
from bamboo_compat.server.documents import next_free_log
from bamboo_compat.set.index import BambooIndex
from bamboo_compat.set.reading import Reader
from bamboo_compat.statements.kinds import Topic
from bamboo_compat.statements.reading import open_statements
from setsync.errors import PeerGoneError, PeerUnreachableError, UsageError
from setsync.model.entry import UnverifiedEntry, verify
from setsync.node.lockedfile import LockedFile
from setsync.store.lmdb_store import Store
from tests.bamboo.histories import member
from tests.bamboo.homes import scenes
from tests.bamboo.homes.scenes import CODE, Person, Road, Server
from tests.bamboo.logs import Author

OLD, NEW = (f"setsync://{byte * 32}@example.org:{port}" for byte, port in (("aa", 1), ("bb", 2)))


class CrashError(BaseException):
    """The process is gone: nobody catches it."""


@dataclass
class World:
    """An author at home at `old`, and a `new` home. `crash_at`: the process is gone at that event
    (a question, a write of a file, a commit), before it."""

    me: Person
    old: Server
    new: Server
    crash_at: int = 0
    events: int = 0
    old_is_dead: bool = False
    may_divorce: bool = False
    told: list[str] = field(default_factory=list)

    def road(self, url: str) -> _Road:
        """See `migration.Ways`."""
        return _Road(self.old if url == OLD else self.new, url, world=self)

    def bring(self, url: str) -> None:
        """What a sync would do."""
        entries = [
            verify(UnverifiedEntry(one.collection, one.header, one.payload))
            for one in self.me.store
        ]
        self.new.store.add_many(entries)

    def divorce(self, home: Marriage, reason: str) -> None:
        """See `migration.Ways`."""
        self.told.append(reason)
        if not self.may_divorce:
            raise NotConfirmedError(reason)

    def happen(self) -> None:
        """Count an event. Raises CrashError before the one that it is time for."""
        self.events += 1
        if self.events == self.crash_at:
            raise CrashError

    def move(self) -> list[Step]:
        """Run the command."""
        return migrate(self.me, self, NEW, CODE, lambda step: None)


@dataclass
class _Road(Road):
    world: World | None = None

    def ask(self, question: Question) -> Answer:
        assert self.world is not None
        if self.server is self.world.old and self.world.old_is_dead:
            raise PeerUnreachableError("Nobody answers.")
        self.world.happen()
        return super().ask(question)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Author 1, five entries, at home at the old one; an invite of the new one."""
    with build(tmp_path) as stack:
        yield made(tmp_path, stack)


def build(path: Path) -> ExitStack:
    """For whatever is opened."""
    path.mkdir(exist_ok=True)
    return ExitStack()


def made(path: Path, stack: ExitStack) -> World:
    """A new world."""
    me = stack.enter_context(scenes.author(path / "me"))
    old = stack.enter_context(scenes.opened(path / "old", 200))
    new = stack.enter_context(scenes.opened(path / "new", 210))
    old.invite()
    new.invite()
    me.store.add_many([member(one) for one in Author().grow(5)])
    join(me, Road(old, OLD), CODE)
    return World(me, old, new)


def check_moved(world: World) -> None:
    """At home at the new one and nowhere else, with one use of one invite and one sound chain."""
    for store in (world.me.store, world.new.store):
        open_statements(store)
        with store.snapshot() as snapshot:
            reader = statements_in(snapshot)
            homes = open_homes(marriages(reader, world.me.author))
            chain = reader.chain(world.me.author, Topic.HOMES)
        assert [one.server for one in homes] == [world.new.key.public]
        assert chain.is_sound
        assert len(chain.statements) == 3, "hello, goodbye, hello"
    assert [one.uses for one in world.new.homes.invites.all()] == [0]
    assert set(world.new.homes.clients) == {world.me.author}
    assert {one.id for one in world.me.store} <= {one.id for one in world.new.store}
    with (world.me.directory.path / migration.ARCHIVE_FILE).open("rb") as file:
        assert check_archive(file).about.url == OLD
    assert state_file(world.me.directory.path).read() is None


def test_a_move_to_where_one_is_is_none(world: World) -> None:
    """Also by another URL; and it stands in the way of no other."""
    there = World(world.me, world.old, world.old)
    again = b"another invite.."
    world.old.invite(again)
    with pytest.raises(SameHomeError):
        migrate(world.me, there, NEW, again, lambda step: None)
    assert state_file(world.me.directory.path).read() is None
    world.move()
    check_moved(world)


def test_a_move_takes_its_steps_in_order_and_the_old_home_hears_of_it(world: World) -> None:
    assert world.move() == list(STEPS)
    check_moved(world)
    open_statements(world.old.store)
    with world.old.store.snapshot() as snapshot:
        found = marriages(statements_in(snapshot), world.me.author)
    assert [one.goodbye is not None for one in found if one.server == world.old.key.public] == [
        True
    ]


def test_a_move_that_is_stopped_at_any_moment_ends_the_same_when_it_is_begun_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before each question, each write of a file and each commit, and so after each too."""
    current: list[World] = []
    for owner, name in ((LockedFile, "_write"), (Store, "add_many")):
        real = getattr(owner, name)

        def counted(self: object, *args: object, _real: object = real, **named: object) -> object:
            world = current[0] if current else None
            if world is not None:
                world.happen()
            return _real(self, *args, **named)  # type: ignore[operator]

        monkeypatch.setattr(owner, name, counted)
    crashes, ended = 0, False
    while not ended:
        path = tmp_path / str(crashes)
        with build(path) as stack:
            world = made(path, stack)
            world.crash_at = crashes + 1
            current.append(world)
            try:
                world.move()
                ended = True
            except CrashError:
                crashes += 1
            current.clear()
            world.crash_at = 0
            if state_file(world.me.directory.path).read() is not None or _is_at_old(world):
                world.move()
            check_moved(world)
    assert crashes > 20
    print(f"stopped {crashes} times")


def _is_at_old(world: World) -> bool:
    """Not even begun."""
    open_statements(world.me.store)
    with world.me.store.snapshot() as snapshot:
        homes = open_homes(marriages(statements_in(snapshot), world.me.author))
    return [one.server for one in homes] == [world.old.key.public]


def test_the_code_is_in_no_file_of_a_move_that_was_stopped(world: World) -> None:
    def stop(step: Step) -> None:
        if step is Step.HELLO:
            raise CrashError

    with pytest.raises(CrashError):
        migrate(world.me, world, NEW, CODE, stop)
    found = json.loads((world.me.directory.path / migration.STATE_FILE).read_text())
    assert found["move"]["step"] == "hello"
    assert found["move"]["url"] == NEW
    for path in world.me.directory.path.glob("*.json"):
        assert CODE.hex() not in path.read_text()
    with pytest.raises(MigrationError, match="is under way"):
        migrate(world.me, world, OLD, CODE, lambda step: None)
    assert preview(world.me, world, NEW, CODE) == [Step.HELLO, Step.IMPORT, Step.HEADS]
    assert world.move() == [Step.HELLO, Step.IMPORT, Step.HEADS]
    check_moved(world)


def test_a_preview_changes_nothing(world: World) -> None:
    before = {
        path: path.read_bytes()
        for path in world.me.directory.path.glob("*")
        if path.is_file() and path.suffix not in (".lock", ".queue")
    }
    ids = {one.id for one in world.me.store}
    assert preview(world.me, world, NEW, CODE) == list(STEPS)
    assert {one.id for one in world.me.store} == ids
    assert {path: path.read_bytes() for path in before} == before
    assert world.new.homes.clients == {}


def test_a_move_while_the_old_home_has_more_is_refused_before_anything_is_said(
    world: World,
) -> None:
    world.old.store.add_many([member(one) for one in Author().grow(6)])
    ids = {one.id for one in world.me.store}
    with pytest.raises(BehindHeadError, match="The old home has entry 6"):
        world.move()
    assert {one.id for one in world.me.store} == ids


def test_a_move_while_the_old_home_alone_has_a_whole_log_is_refused_until_it_is_here(
    world: World,
) -> None:
    """Or the new home would give the same log, and its numbers, to other entries."""
    other = [member(one) for one in Author(log_id=1025).grow(3)]
    world.old.store.add_many(other)
    ids = {one.id for one in world.me.store}
    for command in (world.move, lambda: preview(world.me, world, NEW, CODE)):
        with pytest.raises(BehindHeadError, match="The old home has entry 3 of log 1025"):
            command()
    assert {one.id for one in world.me.store} == ids
    assert _is_at_old(world)
    world.me.store.add_many(other)
    world.move()
    check_moved(world)
    with world.new.store.snapshot() as snapshot:
        reader = Reader(snapshot.index_tables(BambooIndex()))
        assert next_free_log(reader, world.me.author) == 1026


def test_a_move_while_the_old_home_has_another_branch_is_refused(world: World) -> None:
    """Of no more entries than here: numbers alone do not tell."""
    author = Author()
    author.grow(3)
    world.old.store.add_many([member(one) for one in author.grow(2, "other")])
    with pytest.raises(BehindHeadError, match="The old home has entry 5 of log 1024"):
        world.move()
    assert _is_at_old(world)


def test_an_old_home_that_does_not_know_the_question_is_as_one_that_does_not_answer(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It cannot say what it has; that is not the same as having nothing."""
    monkeypatch.delitem(messages._QUESTIONS, Logs.tag)
    with pytest.raises(NotConfirmedError):
        world.move()
    assert _is_at_old(world)
    world.may_divorce = True
    world.move()
    check_moved(world)
    assert ["no question 0x05" in reason for reason in world.told] == [True] * 2


def test_an_old_home_at_no_place_that_can_be_asked_is_as_one_that_does_not_answer(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = World.road

    def road(self: World, url: str) -> _Road:
        if url == OLD:
            raise UsageError(f"{url!r} is no URL of a home.")
        return real(self, url)

    monkeypatch.setattr(World, "road", road)
    with pytest.raises(NotConfirmedError, match="no URL of a home"):
        world.move()
    world.may_divorce = True
    world.move()
    check_moved(world)


def test_an_old_home_that_is_there_and_busy_is_not_divorced(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even by who has confirmed everything: later it will say what it has."""
    world.may_divorce = True
    real = _Road.ask

    def ask(self: _Road, question: Question) -> Answer:
        if self.server is world.old and isinstance(question, Logs):
            raise PeerGoneError("It closed the connection.")
        return real(self, question)

    monkeypatch.setattr(_Road, "ask", ask)
    with pytest.raises(MigrationError, match=r"It closed the connection.*--without-server"):
        world.move()
    assert world.told == []
    assert _is_at_old(world)
    monkeypatch.undo()
    world.move()
    check_moved(world)


def test_an_old_home_that_does_not_take_the_goodbye_holds_up_no_move(world: World) -> None:
    """It has blocked the author since."""
    with world.old.directory.policy.changing() as draft:
        draft.value = draft.value.blocking_author(world.me.author, "anna")
    assert world.move() == list(STEPS)
    check_moved(world)


def test_leaving_a_dead_home_wants_to_be_confirmed(world: World) -> None:
    world.old_is_dead = True
    with pytest.raises(NotConfirmedError):
        world.move()
    assert _is_at_old(world)
    world.may_divorce = True
    world.move()
    check_moved(world)
    assert world.told == ["Nobody answers."] * 2


def test_a_new_home_that_lacks_an_end_is_told_of_and_the_move_is_not_over(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(World, "bring", lambda self, url: None)
    with pytest.raises(MigrationError, match="other ends of 1 logs: 1024"):
        world.move()
    monkeypatch.undo()
    assert world.move() == [Step.IMPORT, Step.HEADS]
    check_moved(world)
