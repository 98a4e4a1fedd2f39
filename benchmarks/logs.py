"""What two Bamboo nodes hold before they meet: logs, with news at their ends, and forks.

Pure arithmetic on a seed: the same workload gives the same signed entries on every machine.
It knows no store and no system.

- All logs have the same length on both sides; these entries are the common ones.
- News are on the responder's side only. Each goes to the end of a log drawn uniformly, so few
  news lie in as many logs, and of many some lie behind each other.
- Of every so many logs one may be forked: after the common entries each side went on with
  entries of its own, under the same numbers. Of the forked logs every second one has branches
  of 3 and 3 entries, so that both heights are equal; the others 3 and 5, the longer one on
  the responder's side first, then on the initiator's, in turn. No news go to forked logs.

A log is a document, as on p2panda nodes: it begins with CREATE, and each UPDATE names the
entry before. An author's logs take turns with a few schemas.
"""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import cbor2

from bamboo_compat.core import entry, keys, yamf
from bamboo_compat.core.lipmaa import lipmaa
from bamboo_compat.core.yamf import Flavour
from benchmarks.workload import Part

PROFILE = "aquadoggo"
SCHEMA_NAMES = ("event", "message", "profile", "venue")
BRANCH = 3
LONGER_BRANCH = 5
# Letters of base64 from so many bytes of chance: text, and of all text the least compressible.
_CHANCE_BYTES = 18
_VERSION, _CREATE, _UPDATE = 1, 0, 1


class Record(NamedTuple):
    """An entry's bytes and its payload's, as a Bamboo node gives them out."""

    entry: bytes
    payload: bytes


class Fork(NamedTuple):
    """A forked log, and how many entries of its own each side's branch has."""

    number: int
    initiator: int
    responder: int


@dataclass(frozen=True)
class LogWorkload:
    """Two sets of `authors` x `logs` logs with `entries` common entries each.

    `new`: entries that only the responder has, outside of forks. `fork_every`: of so many
    logs one is forked; 0 for none.
    """

    authors: int
    logs: int
    entries: int
    new: int = 0
    fork_every: int = 0
    seed: int = 1

    @property
    def log_count(self) -> int:
        """Logs of all authors."""
        return self.authors * self.logs

    @property
    def n(self) -> int:
        """Common entries."""
        return self.log_count * self.entries

    @property
    def d(self) -> int:
        """Entries that only one side holds, both sides together."""
        return self.size(Part.INITIATOR) + self.size(Part.RESPONDER)

    @property
    def branch_entries(self) -> int:
        """Those of them that are in the branches of forks."""
        return sum(fork.initiator + fork.responder for fork in self.forks())

    @property
    def name(self) -> str:
        """Authors x logs of each x entries of each, and what part of the logs is forked."""
        forked = f", 1 in {self.fork_every} forked" if self.fork_every else ""
        return f"{self.authors:,} x {self.logs:,} x {self.entries:,}{forked}"

    def size(self, part: Part) -> int:
        """How many entries belong to a part."""
        return self.n if part is Part.COMMON else sum(self.growth(part).values())

    def log(self, number: int, hashes: Sequence[bytes] = ()) -> Log:
        """One of the logs, empty or with the tagged hashes of the entries that it has."""
        return Log(self, number, hashes)

    def growth(self, part: Part) -> dict[int, int]:
        """By how many entries which logs are longer on one side than what is common."""
        if part is Part.COMMON:
            raise ValueError("What is common is on both sides.")
        if part is Part.INITIATOR:
            return {fork.number: fork.initiator for fork in self.forks()}
        return {**self.news(), **{fork.number: fork.responder for fork in self.forks()}}

    def news(self) -> dict[int, int]:
        """How many new entries which logs have. Fewer news are the first of more."""
        forked = {fork.number for fork in self.forks()}
        drawn: Counter[int] = Counter()
        turn = 0
        while drawn.total() < self.new:
            number = self._draw("news", turn) % self.log_count
            drawn[number] += number not in forked
            turn += 1
        return dict(+drawn)

    def forks(self) -> list[Fork]:
        """The forked logs, one of each `fork_every` that follow each other."""
        if not self.fork_every:
            return []
        lengths = (
            (BRANCH, BRANCH),
            (BRANCH, LONGER_BRANCH),
            (BRANCH, BRANCH),
            (LONGER_BRANCH, BRANCH),
        )
        return [
            Fork(first + self._draw("fork", turn) % self.fork_every, *lengths[turn % 4])
            for turn, first in enumerate(
                range(0, self.log_count - self.fork_every + 1, self.fork_every)
            )
        ]

    def _draw(self, what: str, turn: int) -> int:
        name = f"{self.seed}/{what}/{turn}".encode()
        return int.from_bytes(hashlib.sha256(name).digest()[:8], "big")

    def common(self) -> Iterator[Record]:
        """The common entries, log after log taking turns, as they would have come in time."""
        logs = [self.log(number) for number in range(self.log_count)]
        for _ in range(self.entries):
            for log in logs:
                yield log.append(Part.COMMON)


class Log:
    """A log as it grows on one machine."""

    def __init__(self, work: LogWorkload, number: int, hashes: Sequence[bytes] = ()) -> None:
        author, self.log_id = divmod(number, work.logs)
        self._secret = hashlib.sha256(f"{work.seed}/author/{author}".encode()).digest()
        self._name = f"{work.seed}/log/{number}"
        # As a server's schema id: a name, and the id of the view that defines it.
        name = SCHEMA_NAMES[number % len(SCHEMA_NAMES)]
        self.schema = f"{name}_0020{hashlib.sha256(name.encode()).hexdigest()}"
        self._hashes = [b"", *hashes]

    @property
    def author(self) -> bytes:
        """The public key."""
        return keys.public_key(self._secret)

    def append(self, part: Part) -> Record:
        """The next entry; which machine it is written on is part of what it says."""
        seq_num = len(self._hashes)
        payload = self._payload(seq_num, part)
        data = entry.sign(
            self._secret,
            self.log_id,
            seq_num,
            payload,
            backlink=self._hashes[-1] or None,
            lipmaalink=self._hashes[lipmaa(seq_num)] or None,
        )
        self._hashes.append(yamf.hash_of(Flavour.YASMF, data))
        return Record(data, payload)

    def _payload(self, seq_num: int, part: Part) -> bytes:
        name = f"{self._name}/{seq_num}/{part.name}".encode()
        chance = hashlib.shake_128(name).digest(_CHANCE_BYTES)
        fields = {"text": base64.b64encode(chance).decode("ascii")}
        if seq_num == 1:
            return cbor2.dumps([_VERSION, _CREATE, self.schema, fields])
        return cbor2.dumps([_VERSION, _UPDATE, self.schema, [self._hashes[-1]], fields])


# --- what is measured -------------------------------------------------------------------------

NEWS = (0, 20, 200, 2_000)
FORKED_NEWS = (0, 20, 2_000)
FORK_EVERY = 100
FEW_AUTHORS = (100, 10, 100)
MANY_AUTHORS = (10_000, 1, 10)


def cases(shapes: Sequence[tuple[int, int, int]]) -> tuple[LogWorkload, ...]:
    """Logs of each shape, without forks and with them."""
    return tuple(
        LogWorkload(*shape, new=new, fork_every=fork_every)
        for shape in shapes
        for fork_every, news in ((0, NEWS), (FORK_EVERY, FORKED_NEWS))
        for new in news
    )


CASES = cases((FEW_AUTHORS, MANY_AUTHORS))
QUICK_CASES = (
    LogWorkload(20, 10, 20),
    LogWorkload(20, 10, 20, new=20),
    LogWorkload(20, 10, 20, new=20, fork_every=FORK_EVERY),
)
