"""What two nodes promise each other on one connection, heard by a third.

A COMMITTED is a promise about disks: so many of the entries that came in this pass are
durable. The tap knows which they were and looks into the store of who promised, at the very
moment at which the promise leaves.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from setsync.model.collection import is_system
from setsync.model.entry import entry_id
from setsync.wire import messages as m
from setsync.wire.framing import FrameBuffer
from setsync.wire.packing import unpacked

Name = tuple[str, bytes]
"""Collection and id."""

OnPromise = Callable[[Name, bool], None]
"""An entry that somebody says is durable with him, and whether its payload came along."""

_HEARD = (m.Totals, m.Entries, m.Piece, m.Packed, m.Committed)
_TYPES = {m.LAYOUTS[kind].type for kind in _HEARD}


@dataclass
class _Direction:
    """What one side has sent in this pass."""

    buffer: FrameBuffer = field(default_factory=m.new_buffer)
    entries: list[tuple[Name, bool]] = field(default_factory=list)
    promised: int = 0
    pending: tuple[Name, int] | None = None
    past_system: bool = False


class Tap:
    """Both directions of a session."""

    def __init__(
        self, on_promise_up: OnPromise, on_promise_down: OnPromise, on_fault: Callable[[str], None]
    ) -> None:
        self._ways = (_Direction(), _Direction())
        self._on_promise = (on_promise_up, on_promise_down)
        self._on_fault = on_fault

    def up(self, data: bytes) -> None:
        """The initiator sends."""
        self._hear(0, data)

    def down(self, data: bytes) -> None:
        """The responder sends."""
        self._hear(1, data)

    def _hear(self, way: int, data: bytes) -> None:
        buffer = self._ways[way].buffer
        buffer.receive(data)
        while (frame := buffer.next_frame()) is not None:
            if frame[0] in _TYPES:
                self._take(way, m.unpack(*frame))

    def _take(self, way: int, message: m.Message) -> None:
        mine = self._ways[way]
        if isinstance(message, m.Packed):
            message = unpacked(message)
        match message:
            case m.Totals():
                for each in self._ways:
                    each.entries, each.promised, each.past_system = [], 0, False
            case m.Entries(groups):
                for collection, items in groups:
                    for header, payload in items:
                        self._take_entry(mine, (collection, entry_id(header)), payload)
            case m.Piece(_, data) if mine.pending is not None:
                name, left = mine.pending
                mine.pending = (name, left - len(data)) if left > len(data) else None
                if mine.pending is None:
                    mine.entries.append((name, True))
            case m.Committed(count):
                self._promise(way, count)

    def _take_entry(self, mine: _Direction, name: Name, payload: bytes | int | None) -> None:
        if is_system(name[0]) and mine.past_system:
            self._on_fault(f"an entry of {name[0]} was sent after one of another collection")
        mine.past_system |= not is_system(name[0])
        if isinstance(payload, int):
            mine.pending = (name, payload)
        else:
            mine.entries.append((name, payload is not None))

    def _promise(self, way: int, count: int) -> None:
        """`way` says that `count` of what the other way brought is durable."""
        mine, theirs = self._ways[way], self._ways[1 - way]
        if not mine.promised <= count <= len(theirs.entries):
            self._on_fault(f"{count} entries were acknowledged of {len(theirs.entries)} sent")
        for name, with_payload in theirs.entries[mine.promised : count]:
            self._on_promise[way](name, with_payload)
        mine.promised = count
