"""What is done in other processes: batches added while the disk fails, images opened.

All of it is plain functions with arguments and results that JSON can carry, for
`tests.faults.forks`; as a program this module records one ingest for the power cuts.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import random
import resource
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from unittest import mock

import lmdb

from setsync.errors import StoreError
from setsync.limits import KIB, MIB
from setsync.model.entry import Entry, make_entry
from setsync.store.check import check
from setsync.store.environment import DATA_FILE
from setsync.store.lmdb_store import Store
from tests.faults.shim import Fault, arm, counted
from tests.helpers import MIDNIGHT, entries, keys

CAPACITY = 4
"""Leaves so small that a few hundred entries make tries three levels deep."""

# A disk that fails for a while is repaired after so many errors; so often a batch is tried.
_ERRORS_UNTIL_REPAIR = 3
_TRIES = 6

Told = dict[str, Any]


@functools.cache
def batch(number: int) -> tuple[Entry, ...]:
    """One batch: small entries, some of a second collection, now and then a large payload,
    which LMDB puts on pages of its own."""
    some = entries(8, "notes", seed=number)
    if number % 3 == 1:
        some += entries(2, "letters", seed=number)
    if number % 5 == 2:
        payload = bytes([number % 256]) * 20_000
        some += (make_entry(keys(1)[0], "notes", payload, MIDNIGHT + number),)
    return some


def open_store(folder: str | Path) -> Store:
    """The store all of this is about."""
    return Store.open(folder, leaf_capacity=CAPACITY)


# --- adding -------------------------------------------------------------------------------


def record(folder: Path, count: int, say: int) -> None:
    """Add `count` batches; b"open", then each batch's number goes to the descriptor `say`
    once it is durable."""
    with open_store(folder) as store:
        os.write(say, b"open ")
        for number in range(count):
            store.add_many(batch(number))
            os.write(say, b"%d " % number)


def ingest(folder: str, count: int, at: int, fault: int, lasting: bool) -> Told:
    """Add `count` batches while the disk's `at`-th call fails; go on as the errors say.

    What the data file was at the first error is copied to `folder`.left. Each batch that is
    durable adds a byte to `folder`.durable, for the case that this process ends early.
    """
    return _Ingest(Path(folder), lasting).run(count, at, Fault(fault))


class _Ingest:
    """An operator who reads what he is told, and does it."""

    def __init__(self, folder: Path, lasting: bool) -> None:
        self._folder = folder
        self._lasting = lasting
        self._store: Store | None = None
        self._durable = folder.with_suffix(".durable").open("wb", buffering=0)
        self._count = 0
        self._errors: list[tuple[str, str]] = []
        self._first = -1
        self._opened_again = 0

    def run(self, count: int, at: int, fault: Fault) -> Told:
        arm(at, fault, lasting=self._lasting)
        for number in range(count):
            self._add(number)
        calls = counted()
        if self._store is not None:
            self._store.close()
        return {
            "calls": calls,
            "errors": self._errors,
            "durable_at_first_error": self._first,
            "opened_again": self._opened_again,
        }

    def _add(self, number: int) -> None:
        for _ in range(_TRIES):
            try:
                if self._store is None:
                    self._store = open_store(self._folder)
                self._store.add_many(batch(number))
            except StoreError as error:
                self._read(error)
            else:
                self._count += 1
                self._durable.write(b".")
                return
        raise AssertionError(f"Nothing helps: {self._errors}")

    def _read(self, error: StoreError) -> None:
        if not self._errors:
            self._first = self._count
            data = self._folder / DATA_FILE
            if data.exists():
                shutil.copyfile(data, self._folder.with_suffix(".left"))
        self._errors.append((type(error).__name__, str(error)))
        if self._store is not None and "open the store again" in str(error):
            self._store.close()
            self._store = None
            self._opened_again += 1
        if self._lasting and len(self._errors) == _ERRORS_UNTIL_REPAIR:
            arm(0)


# --- filling ------------------------------------------------------------------------------


def fill_up(folder: str, ballast: str) -> Told:
    """Add to a store until its disk is full; make room; add again, all in one process.

    Without a file `ballast`, whose removal makes the room, no file may grow beyond 4 MiB at
    first.
    """
    if not ballast:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4 * MIB, resource.RLIM_INFINITY))
    errors: list[tuple[str, str]] = []
    with open_store(folder) as store:
        number = _add_large(store, 0, errors)
        for _ in range(3):
            _add_large(store, number, errors, most=1)
        told = _read_all(store, 0, None) | {"entries": [entry.id.hex() for entry in store]}
        if ballast:
            Path(ballast).unlink()
        else:
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
        after = _add_large(store, number, errors=[], most=2)
        damage = check(store).damage
    added = [entry.id.hex() for at in range(number) for entry in large(at)]
    return {
        "errors": errors,
        "whole": told["entries"] == added,
        "damage": told["damage"] + damage,
        "before": number,
        "after": after - number,
    }


def large(number: int) -> list[Entry]:
    """A batch of half a megabyte."""
    (author,) = keys(1)
    return [
        make_entry(author, "notes", bytes([number, at]) * (15 * KIB), MIDNIGHT + 16 * number + at)
        for at in range(16)
    ]


def _add_large(store: Store, number: int, errors: list[tuple[str, str]], most: int = 100) -> int:
    """Add batches, `most` of them, until there is an error; the number after the last."""
    try:
        for at in range(number, number + most):
            store.add_many(large(at))
            number = at + 1
    except StoreError as error:
        errors.append((type(error).__name__, str(error)))
    return number


# --- opening ------------------------------------------------------------------------------


def open_image(folder: str, most: int, sample: int | None = None, more: int = 0) -> Told:
    """Open what a fault left; read and check all of it; add `more` further batches.

    `outcome`: "refused" (with exit code and advice), "unreadable" (opened, then an error in
    words) or "opened". `batches`: of how many batches, at most `most`, it holds the entries
    and no others; None if it is anything else. `damage`: findings of the check.
    """
    store: Store | None = None
    try:
        store = open_store(folder)
        told = _read_all(store, most, sample)
        for number in range(most, most + more):
            store.add_many(batch(number))
        if more and not told["damage"]:
            told["damage"] = check(store, sample=sample, chance=random.Random(2)).damage
        store.close()
    except StoreError as error:
        outcome = "refused" if store is None else "unreadable"
        return {
            "outcome": outcome,
            "exit_code": error.exit_code,
            "sentence": str(error),
            "advice": error.advice,
        }
    return told


def _read_all(store: Store, most: int, sample: int | None) -> Told:
    found = [entry.id for entry in store]
    report = check(store, sample=sample, chance=random.Random(1))
    return {
        "outcome": "opened",
        "batches": _prefixes(most).get(_fingerprint(found)),
        "damage": report.damage,
        "findings": [finding.sentence for finding in report.findings[:3]],
    }


@functools.cache
def _prefixes(most: int) -> dict[str, int]:
    """By the ids of the first n batches, in order of arrival: n."""
    ids: list[bytes] = []
    table = {_fingerprint(ids): 0}
    for number in range(most):
        ids += [entry.id for entry in batch(number)]
        table[_fingerprint(ids)] = number + 1
    return table


def _fingerprint(ids: Iterable[bytes]) -> str:
    return hashlib.sha256(b"".join(ids)).hexdigest()


def warm_up() -> None:
    """Sign the entries and load what is loaded late, once for all forks."""
    from setsync.store import sketches

    assert sketches.KEPT_FROM
    _prefixes(40)


# --- one recorded ingest ------------------------------------------------------------------


def _commits(how: str) -> contextlib.AbstractContextManager[object]:
    """As the store commits ("synced"), or as it never does, for the controls: without waiting
    for the disk ("unsynced"), or for the page of metadata alone ("half synced")."""
    options: Told = {
        "synced": {},
        "unsynced": {"sync": False},
        "half synced": {"metasync": False},
    }
    return mock.patch.object(lmdb, "open", functools.partial(lmdb.open, **options[how]))


if __name__ == "__main__":
    _folder, _count, _say, _how = sys.argv[1:]
    with _commits(_how):
        record(Path(_folder), int(_count), int(_say))
