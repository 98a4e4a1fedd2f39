"""Moving to another home, step by step. Before each step the state is on the disk; each may run
again, wherever the one before was stopped, by whatever.

    CHECK -> GOODBYE -> EXPORT -> HELLO -> IMPORT -> HEADS -> (done: no state)

The code of the invite is in no file: whoever goes on gives it again.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from bamboo_compat.core.entry import decode
from bamboo_compat.homes.answering import head_header
from bamboo_compat.homes.archive import Contents, export, write_file
from bamboo_compat.homes.errors import BehindHeadError, MigrationError, SameHomeError
from bamboo_compat.homes.joining import (
    Me,
    heads_there,
    join,
    leave,
    logs_there,
    my_home,
    my_marriages,
    tell,
    who_is_there,
)
from bamboo_compat.homes.limits import LOCK_SECONDS, MAX_STATE_FILE
from bamboo_compat.homes.marriages import Marriage, open_homes
from bamboo_compat.homes.roads import Road
from bamboo_compat.set.index import BambooIndex
from bamboo_compat.set.reading import Reader
from setsync.errors import PeerError, PeerGoneError, UsageError
from setsync.model.entry import entry_id
from setsync.node.lockedfile import Format, LockedFile

STATE_FILE = "migration.json"
ARCHIVE_FILE = "migration.archive"
INDEX = BambooIndex()


class Step(enum.StrEnum):
    """In their order."""

    CHECK = "check"
    GOODBYE = "goodbye"
    EXPORT = "export"
    HELLO = "hello"
    IMPORT = "import"
    HEADS = "heads"


STEPS = tuple(Step)
WORDS = {
    Step.CHECK: "ask both homes whether the move can be made",
    Step.GOODBYE: "say goodbye to the old home",
    Step.EXPORT: "write an archive of all that was signed",
    Step.HELLO: "say hello to the new home, and hear its welcome",
    Step.IMPORT: "bring the entries to the new home",
    Step.HEADS: "compare the ends of all logs there with those here",
}


@dataclass(frozen=True, slots=True)
class Move:
    """A move that is under way. `step` has begun, and perhaps not ended. `old`, the node id, is
    empty where there was no home before."""

    author: bytes
    url: str
    step: Step
    old: bytes = b""
    old_url: str = ""


class Ways(Protocol):
    """How a move reaches others."""

    def road(self, url: str) -> Road:
        """The way to a home. Raises UsageError."""

    def bring(self, url: str) -> None:
        """Make the new home have what is here. Raises PeerError and its kinds, UsageError."""

    def divorce(self, home: Marriage, reason: str) -> None:
        """The old home cannot be asked: go on, or raise NotConfirmedError."""


def state_file(directory: Path) -> LockedFile[Move | None]:
    """The state of a data directory's move; None where none is under way."""
    return LockedFile(directory / STATE_FILE, _FORMAT, LOCK_SECONDS)


def under_way(me: Me, url: str) -> Move | None:
    """The move to go on with. Raises MigrationError for one to another home, or of another
    author."""
    move = state_file(me.directory.path).read()
    if move is None:
        return None
    if move.author != me.author:
        raise MigrationError(f"Author {move.author.hex()} is moving from here; finish that first.")
    if move.url != url:
        raise MigrationError(
            f"A move to {move.url} is under way. Finish it, or give it up with --abandon."
        )
    return move


def migrate(
    me: Me, ways: Ways, url: str, code: bytes, on_step: Callable[[Step], None]
) -> list[Step]:
    """Move, or go on moving; the steps that were taken now. `on_step` hears of each as it begins.

    Raises MigrationError, BehindHeadError, NotConfirmedError, PeerError and its kinds, StoreError.
    """
    move = under_way(me, url) or _begin(me, url)
    taken: list[Step] = []
    for step in STEPS[STEPS.index(move.step) :]:
        move = replace(move, step=step)
        _write(me, move)
        on_step(step)
        try:
            _DO[step](me, ways, move, code)
        except SameHomeError:
            _write(me, None)  # so that this is not a move that is under way
            raise
        taken.append(step)
    _write(me, None)
    return taken


def preview(me: Me, ways: Ways, url: str, code: bytes) -> list[Step]:
    """The steps that `migrate` would take now, the first one tried: it changes nothing.

    Raises as `migrate`.
    """
    move = under_way(me, url) or _begin(me, url)
    if move.step is Step.CHECK:
        _check(me, ways, move, code)
    return list(STEPS[STEPS.index(move.step) :])


def abandon(me: Me) -> bool:
    """Forget a move; whether there was one. What was said and brought stays."""
    move = state_file(me.directory.path).read()
    if move is not None:
        _write(me, None)
    return move is not None


def _begin(me: Me, url: str) -> Move:
    homes = open_homes(my_marriages(me))
    old = next((one for one in homes if one.url != url), None)
    if old is None:
        return Move(me.author, url, Step.CHECK)
    noted = my_home(me)
    old_url = noted.url if noted is not None and noted.server == old.server else old.url
    return Move(me.author, url, Step.CHECK, old.server, old_url)


def _write(me: Me, move: Move | None) -> None:
    with state_file(me.directory.path).changing() as draft:
        draft.value = move


# --- steps --------------------------------------------------------------------------------


def _check(me: Me, ways: Ways, move: Move, code: bytes) -> None:
    there = who_is_there(me, ways.road(move.url), code)
    if there.node == move.old:
        raise SameHomeError("That is the home where you are.")
    for home in _old_homes(me, move):
        try:
            heads = logs_there(me, ways.road(move.old_url or home.url), home.server)
        except PeerGoneError as error:
            # Somebody is there, and may only be busy: no reason to do without its answer.
            raise MigrationError(
                f"{home.place} did not say what it has ({error.message}). Try again later; if it "
                "never will, 'setsync home leave --without-server' comes first."
            ) from error
        except (PeerError, UsageError) as error:
            ways.divorce(home, error.message)
        else:
            _check_all_here(me, heads)


def _check_all_here(me: Me, heads: dict[int, bytes]) -> None:
    """Also of logs that only the old home has: the new one would give their ids and numbers to
    other entries. Raises BehindHeadError."""
    me.store.open_index(INDEX)
    with me.store.snapshot() as snapshot:
        reader = Reader(snapshot.index_tables(INDEX))
        for log_id, header in heads.items():
            if reader.by_id(entry_id(header)) is None:
                raise BehindHeadError(
                    f"The old home has entry {decode(header).seq_num} of log {log_id}, and it is "
                    "not here."
                )


def _goodbye(me: Me, ways: Ways, move: Move, code: bytes) -> None:
    """The goodbye counts once it is here; the old home hears of it now, or by a sync."""
    for home in _old_homes(me, move):
        leave(me, None, f"Moved to {move.url}"[:120], home.server)
    if move.old_url:
        try:
            road = ways.road(move.old_url)
            who_is_there(me, road, server=move.old)
            tell(me, road)
        except (PeerError, UsageError):
            return


def _export(me: Me, ways: Ways, move: Move, code: bytes) -> None:
    """Written anew each time: an older one may lack what was signed since."""
    path = me.directory.path / ARCHIVE_FILE
    path.unlink(missing_ok=True)
    home = (move.old, move.old_url) if move.old else None

    def write(file: BinaryIO) -> Contents:
        return export(me.store, me.directory.path, me.author, file, me.clock(), home=home)

    write_file(path, write)


def _hello(me: Me, ways: Ways, move: Move, code: bytes) -> None:
    join(me, ways.road(move.url), code)


def _import(me: Me, ways: Ways, move: Move, code: bytes) -> None:
    ways.bring(move.url)


def _compare(me: Me, ways: Ways, move: Move, code: bytes) -> None:
    logs = _logs(me)
    there = heads_there(me, ways.road(move.url), logs)
    with me.store.snapshot() as snapshot:
        reader = Reader(snapshot.index_tables(INDEX))
        here = {log_id: head_header(reader, me.author, log_id) for log_id in logs}
    differing = sorted(log_id for log_id in logs if here[log_id] != there[log_id])
    if differing:
        # Whoever goes on brings the entries once more.
        _write(me, replace(move, step=Step.IMPORT))
        shown = ", ".join(map(str, differing[:10]))
        raise MigrationError(f"The new home has other ends of {len(differing)} logs: {shown}.")


def _old_homes(me: Me, move: Move) -> list[Marriage]:
    return [one for one in open_homes(my_marriages(me)) if one.server == move.old]


def _logs(me: Me) -> list[int]:
    me.store.open_index(INDEX)
    with me.store.snapshot() as snapshot:
        reader = Reader(snapshot.index_tables(INDEX))
        return [log_id for _, log_id, _ in reader.logs(me.author)]


_DO: dict[Step, Callable[[Me, Ways, Move, bytes], None]] = {
    Step.CHECK: _check,
    Step.GOODBYE: _goodbye,
    Step.EXPORT: _export,
    Step.HELLO: _hello,
    Step.IMPORT: _import,
    Step.HEADS: _compare,
}


# --- the file -----------------------------------------------------------------------------


def _dump(move: Move | None) -> dict[str, Any]:
    if move is None:
        return {"move": None}
    return {
        "move": {
            "author": move.author.hex(),
            "url": move.url,
            "step": move.step.value,
            "old": move.old.hex(),
            "old_url": move.old_url,
        }
    }


def _parse(found: dict[str, Any]) -> Move | None:
    about = found["move"]
    if about is None:
        return None
    author, old = bytes.fromhex(about["author"]), bytes.fromhex(about["old"])
    if len(author) != 32 or len(old) not in (0, 32):
        raise ValueError("a key in it is none")
    return Move(author, str(about["url"]), Step(about["step"]), old, str(about["old_url"]))


def _nothing() -> Move | None:
    return None


_FORMAT: Format[Move | None] = Format(
    mark="setsync_migration",
    version=1,
    what="the state of a move",
    limit=MAX_STATE_FILE,
    error=MigrationError,
    empty=_nothing,
    parse=_parse,
    dump=_dump,
)
