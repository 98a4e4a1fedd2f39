"""What may be wrong with a node, looked for from outside: nothing is changed by any of it.

Each check says what it found in a sentence, and what to do about it where that is not well. What
cannot be known is said to be unknown.
"""

from __future__ import annotations

import enum
import fcntl
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import trio

import setsync
from setsync import limits
from setsync.errors import (
    ListenError,
    NoRoomError,
    PeerTimeoutError,
    PlaceFileError,
    SetsyncError,
)
from setsync.node.address import Address, join_address, split_address
from setsync.node.client import Options
from setsync.node.config import DataDirectory
from setsync.node.dialling import Dialler, Target
from setsync.node.files import files_needed, most_files
from setsync.node.local import Local
from setsync.node.node import open_listeners
from setsync.node.peers import Rule
from setsync.node.place import Place, recorded_place
from setsync.node.room import check_own_room, check_room
from setsync.node.settings import PREFIX, Setting, suggestion
from setsync.node.states import read_states
from setsync.store.contract import EntryStore
from setsync.store.environment import DATA_FILE
from setsync.store.lmdb_store import Store
from setsync.store.presence import look
from setsync.store.turns import is_stopped

ENTRY_POINT_GROUP = "setsync.doctor"
# Variables that are no settings.
_OTHERS = ("SETSYNC_DATA", "SETSYNC_DEBUG", "SETSYNC_PASSPHRASE")
_SECRETS = ("web.token", "peers.json", "homes.json", f"store/{DATA_FILE}")


class State(enum.StrEnum):
    """What a check came to."""

    FINE = "fine"
    FINDING = "finding"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Check:
    """One look at one thing. `advice` says what to do about a finding."""

    name: str
    state: State
    what: str
    advice: str = ""


@dataclass(frozen=True, slots=True)
class Examined:
    """What a guest's checks may look at: the directory, and its store where it could be opened."""

    directory: DataDirectory
    store: EntryStore | None


Examination = Callable[[Examined], Iterable[Check]]
"""What an entry point of `setsync.doctor` names. It may raise errors of ours."""


def fine(name: str, what: str) -> Check:
    """All is well."""
    return Check(name, State.FINE, what)


def finding(name: str, what: str, advice: str) -> Check:
    """Something is not."""
    return Check(name, State.FINDING, what, advice)


def unknown(name: str, what: str) -> Check:
    """It cannot be said."""
    return Check(name, State.UNKNOWN, what)


def of_error(name: str, error: SetsyncError) -> Check:
    """An error in its own words."""
    return finding(name, error.message, " ".join(error.advice.split()))


# --- files --------------------------------------------------------------------------------


def check_environment(table: Sequence[Setting], environment: Mapping[str, str]) -> Iterator[Check]:
    """Variables that look like settings and are none."""
    names = {setting.name for setting in table}
    known = {setting.variable for setting in table} | set(_OTHERS)
    for variable in sorted(environment.keys() - known):
        if variable.startswith(PREFIX) and (
            likely := suggestion(variable.removeprefix(PREFIX), names)
        ):
            yield finding(
                "settings",
                f"{variable} is set and means nothing{likely}.",
                "docs/settings.md lists the variables; unset it, or correct its name.",
            )


def check_permissions(directory: DataDirectory) -> Iterator[Check]:
    """Secret files are there, good, and for their owner only."""
    found: list[Check] = []
    for read in (directory.node_key, directory.author_key, directory.network_key):
        try:
            read()
        except SetsyncError as error:
            found.append(of_error("permissions", error))
    found += [
        finding(
            "permissions",
            f"{path} can be read by others (mode {mode:04o}).",
            f"chmod 600 '{path}', and think of what it holds as known to who could read it.",
        )
        for path, mode in _modes(directory.path / name for name in _SECRETS)
        if mode & 0o077
    ]
    found += [
        finding(
            "permissions",
            f"Others can write into {path} (mode {mode:04o}), and put keys of theirs there.",
            f"chmod 700 '{path}'",
        )
        for path, mode in _modes([directory.path, directory.store_path])
        if mode & 0o022
    ]
    yield from found or [fine("permissions", "What is secret can be read by its owner only.")]


def _modes(paths: Iterable[Path]) -> Iterator[tuple[Path, int]]:
    """Of those that are there."""
    for path in paths:
        try:
            yield path, stat.S_IMODE(path.stat().st_mode)
        except OSError:
            continue


def check_place(directory: DataDirectory) -> Check:
    """Whether the directory is where it was made."""
    try:
        place = recorded_place(directory.path)
        is_home = place is None or place.is_same(Place.of(directory.path))
    except PlaceFileError as error:
        return of_error("place", error)
    if is_home:
        return fine("place", "The directory is where it was made.")
    return finding(
        "place",
        f"{directory.path} was copied here, moved to another disk, or restored from a backup. Two "
        "nodes with one key, or two that sign with one author's, get in each other's way.",
        "If the other one is gone for good: setsync home adopt. If not, remove this one, and make "
        "another with 'setsync init'.",
    )


def check_clock(directory: DataDirectory, now: int) -> Check:
    """`now` in ms since 1970, against everything here that had a clock once."""
    said = list(_clocks(directory))
    when, what = max(said)
    late = (when - now) / 1000
    if late > limits.CLOCK_TOLERANCE_SECONDS:
        return finding(
            "clock",
            f"By this machine's clock, {what} {late:,.0f} s from now.",
            "Set the clock (timedatectl set-ntp true). What was signed meanwhile keeps its time; "
            "nothing else depends on it, but invites that expire.",
        )
    return fine("clock", "It is not behind anything here; whether it is right, nothing here knows.")


def _clocks(directory: DataDirectory) -> Iterator[tuple[int, str]]:
    """Moments that have been, in ms since 1970, each with half a sentence."""
    files = [Path(setsync.__file__), directory.store_path / DATA_FILE, *directory.path.iterdir()]
    for path in files:
        try:
            yield path.stat().st_mtime_ns // 1_000_000, f"{path} was written"
        except OSError:
            continue  # gone meanwhile
    for state in read_states(directory.states_path).values():
        yield state.last_ok, f"the last good session with {state.address or 'a peer'} was"


# --- the disk and who is at it ------------------------------------------------------------


def check_disk(directory: DataDirectory) -> Check:
    """Whether there is room for what others bring."""
    for check in (check_own_room, check_room):
        try:
            check(directory.path)
        except NoRoomError as error:
            return of_error("disk", error)
    return fine("disk", "There is room.")


def check_map(store: Store) -> Check:
    """How full the store's map is."""
    used, size = store.map_used, store.map_size
    share = f"{used / size:.0%} of the map of {size:,} bytes is used."
    if used < limits.MAP_SHARE * size:
        return fine("map", share)
    return finding(
        "map",
        f"{share} When it is full it is doubled, which waits for whoever reads.",
        f"Set map-size to {2 * size} in setsync.toml, and start 'serve' anew.",
    )


def check_processes(directory: DataDirectory) -> tuple[list[Check], bool]:
    """Who has the store open, who died with it open; and whether it may be opened now without
    verifying all of it first."""
    try:
        alive, dead = look(directory.store_path)
    except SetsyncError as error:
        return [of_error("processes", error)], False
    found = [
        finding(
            "processes",
            f"Process {process} has the store open and is stopped. If it was stopped while it "
            "wrote, nobody else can write.",
            f"Let it go on (kill -CONT {process}), or end it.",
        )
        for process in alive
        if is_stopped(process)
    ]
    if dead and not alive:
        shown = ", ".join(str(process) for process in dead)
        found.append(
            finding(
                "processes",
                f"The last to use the store did not leave in order (process {shown}): it was "
                "killed, or the power failed.",
                "Nothing that was acknowledged is lost. The next command on the store verifies the "
                "file first, about 4 s a gigabyte: setsync status. If it finds damage, restore a "
                "backup or sync into a fresh directory.",
            )
        )
    if not found:
        shown = ", ".join(str(process) for process in alive)
        found = [fine("processes", f"In use by process {shown}." if alive else "Nobody uses it.")]
    return found, bool(alive or not dead)


def check_files(directory: DataDirectory, connections: int, peers: int) -> Check:
    """Whether the process that serves, or one begun here, may open as many files as it needs."""
    needed = files_needed(connections, peers)
    try:
        allowed = most_files(serving_process(directory) or 0)
    except OSError:
        return unknown("files", "How many files the process that serves may open, it does not say.")
    if needed <= allowed:
        return fine("files", f"'serve' may open the {needed:,} that it needs at most.")
    return finding(
        "files",
        f"With max-connections {connections} 'serve' needs up to {needed:,} open files, and may "
        f"have {allowed:,}.",
        "Raise the hard limit (ulimit -Hn; LimitNOFILE= for systemd) and start 'serve' anew, or "
        "lower max-connections in setsync.toml.",
    )


# --- the network --------------------------------------------------------------------------


async def check_port(directory: DataDirectory, address: str) -> Check:
    """Whether `serve` could listen, or does."""
    server = serving_process(directory)
    if server is not None:
        return fine("port", f"Process {server or 'unknown'} serves this directory.")
    host, port = split_address(address)
    where = join_address(host, port)
    try:
        for listener in await open_listeners(host, port):
            await listener.aclose()
    except ListenError as error:
        holder = next(listening_processes(port), None)
        who = f" Process {holder} listens there." if holder is not None else ""
        return finding(
            "port",
            error.message + who,
            "Choose another address ('listen' in setsync.toml), or stop what uses it.",
        )
    return fine("port", f"{where} is free for 'serve'.")


def serving_process(directory: DataDirectory) -> int | None:
    """The process that serves the directory; 0: its number is not known; None: nobody does."""
    try:
        descriptor = os.open(directory.path / "serve.lock", os.O_RDONLY)
    except OSError:
        return None
    try:
        if not _is_locked(descriptor):
            return None
        number = os.pread(descriptor, 32, 0).strip()
        return int(number) if number.isdigit() else 0
    finally:
        os.close(descriptor)


def _is_locked(descriptor: int, locks: Path = Path("/proc/locks")) -> bool:
    """By the kernel's list where it has one: trying would keep out who begins just now."""
    inode = str(os.fstat(descriptor).st_ino)
    try:
        rows = [line.split() for line in locks.read_text(encoding="ascii").splitlines()]
    except OSError:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False
    return any("FLOCK" in row and row[5].rpartition(":")[2] == inode for row in rows)


_LISTENS = "0A"  # of the states in /proc/net/tcp


def listening_processes(port: int, processes: Path = Path("/proc")) -> Iterator[int]:
    """Who listens on a port of TCP, as far as the kernel says so to us."""
    sockets: set[str] = set()
    for table in ("tcp", "tcp6"):
        try:
            lines = (processes / "net" / table).read_text(encoding="ascii").splitlines()[1:]
        except OSError:
            continue
        for row in map(str.split, lines):
            if row[3] == _LISTENS and int(row[1].rpartition(":")[2], 16) == port:
                sockets.add(f"socket:[{row[9]}]")
    for folder in processes.glob("[0-9]*/fd") if sockets else ():
        try:
            if any(str(file.readlink()) in sockets for file in folder.iterdir()):
                yield int(folder.parent.name)
        except OSError:
            continue  # another user's, or it has ended


async def check_peers(dialler: Dialler, local: Local, named: Sequence[str]) -> list[Check]:
    """Ask every peer of which an address is known whether it talks to us: the listed, and those of
    the settings. One round trip each, that moves nothing."""
    found: list[Check] = []
    targets: dict[Address, Target] = {}
    for text in named:
        try:
            target = dialler.find(text)
            targets[target.address] = target
        except SetsyncError as error:
            found.append(of_error("peers", error))
    try:
        listed = dialler.peers.read().peers.values()
    except SetsyncError as error:
        return [*found, of_error("peers", error)]
    for peer in listed:
        if peer.address is not None and peer.rule is not Rule.BLOCKED:
            targets.setdefault(peer.address, Target(peer.address))
    return found + await _dial_all(dialler, local, list(targets.values()))


async def _dial_all(dialler: Dialler, local: Local, targets: Sequence[Target]) -> list[Check]:
    limiter = trio.CapacityLimiter(limits.DOCTOR_DIALS)
    asked = targets[: limits.MAX_DOCTOR_DIALS]
    found: dict[int, Check] = {}

    async def dial(number: int, target: Target) -> None:
        async with limiter:
            found[number] = await _dial(dialler, local, target)

    async with trio.open_nursery() as nursery:
        for number, target in enumerate(asked):
            nursery.start_soon(dial, number, target)
    checks = [found[number] for number in sorted(found)]
    if len(asked) < len(targets):
        checks.append(unknown("peers", f"{len(targets) - len(asked)} more were not asked."))
    return checks or [fine("peers", "No address of a peer is known.")]


async def _dial(dialler: Dialler, local: Local, target: Target) -> Check:
    place = target.address.place
    try:
        with trio.fail_after(limits.DOCTOR_DIAL_SECONDS):
            await dialler.session(target, local, Options(peek=True))
    except trio.TooSlowError:
        seconds = limits.DOCTOR_DIAL_SECONDS
        return of_error("peers", PeerTimeoutError(f"{place} did not answer in {seconds:g} s."))
    except SetsyncError as error:
        check = of_error("peers", error)
        return (
            check
            if place in check.what
            else finding("peers", f"{place}: {check.what}", check.advice)
        )
    return fine("peers", f"{place} answers.")
