"""What a power cut could leave of a file, made from the log of its writes.

The model of the disk: sectors of 512 bytes are written whole or not at all. What was written
before a sync is there; so is a durable write that returned. Of anything later each sector
holds any of the contents it has had since, in any combination: that is a lost write, a torn
one, and any order of writing, all at once. A write that was under way at the cut is one of
those. The file is at least as long as what is in it, and may be as long as it was going to be.

Chance is a generator given by the caller, who prints its seed.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from tests.faults.shim import Event, Mark, Sync, Truncate, Write

SECTOR = 512

# How likely the sectors of one write are to have reached the disk: mostly lost, torn,
# mostly there. Drawn for each write, so that some are whole and some are gone.
_LIKELY = (0.0, 0.0, 0.5, 0.9, 1.0, 1.0)


@dataclass
class Disk:
    """A file on a disk: what is surely there, and what may be instead."""

    durable: bytearray = field(default_factory=bytearray)
    size: int = 0
    """How long the file is for the process that writes it."""
    _pending: dict[int, list[tuple[int, bytes]]] = field(default_factory=dict)
    """By sector: (number of the write, content after it), oldest first."""
    _writes: int = 0

    def apply(self, event: Event) -> None:
        """Let an event happen to its end."""
        match event:
            case Write():
                self._write(event)
                if event.durable:
                    self._settle(range(event.offset, event.offset + len(event.data)))
            case Truncate():
                self._truncate(event.size)
            case Sync():
                self._settle(None)
            case Mark():
                pass

    def begin(self, event: Event) -> None:
        """Let an event begin: of a write anything may have reached the disk, or nothing."""
        if isinstance(event, Write):
            self._write(event)

    def image(self, chance: random.Random) -> bytes:
        """The file after a cut at this moment."""
        likely = [chance.choice(_LIKELY) for _ in range(self._writes)]
        found = bytearray(self.durable)
        for sector, versions in sorted(self._pending.items()):
            kept = [data for write, data in versions if chance.random() < likely[write]]
            if kept:
                _put(found, sector * SECTOR, kept[-1])
        if chance.random() < 0.5:
            return bytes(found.ljust(self.size, b"\0"))
        return bytes(found[: self.size])

    def _write(self, event: Write) -> None:
        self.size = max(self.size, event.offset + len(event.data))
        for sector, within, part in _sectors(event):
            content = bytearray(self._now(sector))
            _put(content, within, part)
            self._pending.setdefault(sector, []).append((self._writes, bytes(content)))
        self._writes += 1

    def _now(self, sector: int) -> bytes:
        """What the process would read there."""
        if sector in self._pending:
            return self._pending[sector][-1][1]
        return bytes(self.durable[sector * SECTOR : (sector + 1) * SECTOR])

    def _settle(self, where: range | None) -> None:
        """What was written into these offsets (None: everywhere) is on the disk."""
        for sector in sorted(self._pending):
            here = range(sector * SECTOR, (sector + 1) * SECTOR)
            if where is None or (here.start < where.stop and where.start < here.stop):
                _put(self.durable, here.start, self._pending.pop(sector)[-1][1])
        if where is None:
            self.durable[:] = self.durable[: self.size].ljust(self.size, b"\0")
            self._writes = 0

    def _truncate(self, size: int) -> None:
        """Taken as durable at once: of LMDB's files only the lock is ever truncated."""
        self._settle(None)
        self.size = size
        self._settle(None)


def _sectors(event: Write) -> Iterator[tuple[int, int, bytes]]:
    """(sector, offset within it, bytes) of a write."""
    at = 0
    while at < len(event.data):
        sector, within = divmod(event.offset + at, SECTOR)
        part = event.data[at : at + SECTOR - within]
        yield sector, within, part
        at += len(part)


def _put(content: bytearray, at: int, part: bytes) -> None:
    """Overwrite, with zeros up to `at` where nothing was."""
    if len(content) < at:
        content.extend(bytes(at - len(content)))
    content[at : at + len(part)] = part


@dataclass(frozen=True, slots=True)
class Cut:
    """One power cut: how many events had happened, what was said by then, what is left."""

    events: int
    said: tuple[bytes, ...]
    image: bytes


def cuts(events: Sequence[Event], count: int, chance: random.Random) -> Iterator[Cut]:
    """`count` cuts at random moments, earliest first."""
    moments = sorted(chance.randrange(len(events) + 1) for _ in range(count))
    disk = Disk()
    said: list[bytes] = []
    done = 0
    for moment in moments:
        for event in events[done:moment]:
            disk.apply(event)
            if isinstance(event, Mark):
                said.append(event.data)
        done = moment
        under_way = _copy(disk)
        if moment < len(events):
            under_way.begin(events[moment])
        yield Cut(moment, tuple(said), under_way.image(chance))


def _copy(disk: Disk) -> Disk:
    pending = {sector: list(versions) for sector, versions in disk._pending.items()}
    return Disk(bytearray(disk.durable), disk.size, pending, disk._writes)
