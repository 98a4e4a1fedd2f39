"""What many tests need: keys, entries and ids, cheap and the same in every run.

Nothing here is random. `seed` picks another set of the same kind; Hypothesis draws from
the strategies at the end.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import os
import socket
from collections.abc import Sequence

from hypothesis import strategies as st

from setsync.model.entry import Entry, UnverifiedEntry, entry_id, make_entry, trusted
from setsync.model.keys import SecretKey

MIDNIGHT = 1_700_000_000_000
"""A timestamp, milliseconds since 1970."""


def some_bytes(*what: object, length: int = 32) -> bytes:
    """Bytes that depend on the arguments alone and look random."""
    return hashlib.shake_256(repr(what).encode()).digest(length)


def free_ports(count: int) -> list[int]:
    """Ports of this machine where nobody listens. They lie below those that the system gives to
    whoever asks for any, so that nobody gets them in the meantime."""
    found: list[int] = []
    for port in range(20_000 + os.getpid() * 64 % 12_000, 32_768):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)):
                found.append(port)
        if len(found) == count:
            return found
    raise AssertionError("no ports are free")


@functools.cache
def keys(n: int, seed: int = 0) -> tuple[SecretKey, ...]:
    """`n` authors."""
    return tuple(SecretKey(some_bytes("key", seed, i)) for i in range(n))


@functools.cache
def entries(n: int, collection: str = "notes", seed: int = 0) -> tuple[Entry, ...]:
    """`n` signed entries of one author and one collection, about 30 us each."""
    (author,) = keys(1)
    return tuple(
        make_entry(author, collection, f"{collection} {seed} {i}".encode(), MIDNIGHT + i)
        for i in range(n)
    )


@functools.cache
def entries_under(
    prefix: str, n: int, collection: str = "notes", seed: int = 0
) -> tuple[Entry, ...]:
    """`n` entries whose ids begin with the hex digits of `prefix`.

    Their signatures are made up and varied until the id fits, 16 times longer a digit: keep
    to four. A store takes them; `verify` does not.
    """
    found: list[Entry] = []
    model = entries(1, collection, seed)[0]
    head = model.header[:-64]
    low = int(prefix or "0", 16)
    shift = 4 * (64 - len(prefix))
    for i in itertools.count():
        header = head + i.to_bytes(64, "big")
        if int.from_bytes(entry_id(header), "big") >> shift == low or not prefix:
            found.append(trusted(UnverifiedEntry(collection, header, model.payload)))
            if len(found) == n:
                return tuple(found)
    raise AssertionError("unreachable")


def withheld(entry: Entry) -> Entry:
    """The same entry, come without its payload."""
    return trusted(UnverifiedEntry(entry.collection, entry.header, None))


def sorted_ids(some: Sequence[Entry]) -> list[bytes]:
    """The ids of entries, in order."""
    return sorted(entry.id for entry in some)


# --- strategies ---------------------------------------------------------------------------


def ids() -> st.SearchStrategy[bytes]:
    """Ids of 32 bytes, many of which share long prefixes, up to their last digit."""
    stems = [bytes(32), b"\xff" * 32, some_bytes("stem", 1), some_bytes("stem", 2)]
    near = st.builds(
        lambda stem, at, tail: (stem[:at] + tail + stem[at + len(tail) :])[:32],
        st.sampled_from(stems),
        st.integers(0, 31),
        st.binary(min_size=1, max_size=2),
    )
    return st.one_of(near, st.binary(min_size=32, max_size=32))


def id_sets(max_size: int = 40) -> st.SearchStrategy[list[bytes]]:
    """Sorted distinct ids."""
    return st.lists(ids(), unique=True, max_size=max_size).map(sorted)


@functools.cache
def pool() -> tuple[Entry, ...]:
    """What `entry_batches` draws from: three collections, some ids close together."""
    return (
        *entries(24, "notes"),
        *entries_under("ab", 10, "notes"),
        *entries(8, "system/keys"),
        *entries(8, "notes/é/travel"),
    )


def entry_batches(max_batches: int = 6) -> st.SearchStrategy[list[list[Entry]]]:
    """Batches of entries of `pool`, in any order, repeated, some without their payload."""
    one = st.builds(
        lambda entry, without: withheld(entry) if without else entry,
        st.sampled_from(pool()),
        st.sampled_from([False, False, False, True]),
    )
    return st.lists(st.lists(one, max_size=30), max_size=max_batches)
