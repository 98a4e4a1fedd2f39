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

OnEntry = Callable[[int, Name], None]
"""An entry that goes out, upwards (0) or downwards (1)."""

_HEARD = (m.Totals, m.Entries, m.Piece, m.Packed, m.Committed, m.Live, m.Refused, m.WantPayloads)
_TYPES = {m.LAYOUTS[kind].type for kind in _HEARD}


@dataclass
class _Direction:
    """What one side has sent in this pass, `sent` in the whole session; and what it refused."""

    buffer: FrameBuffer = field(default_factory=m.new_buffer)
    entries: list[tuple[Name, bool]] = field(default_factory=list)
    promised: int = 0
    pending: tuple[Name, int] | None = None
    past_system: bool = False
    sent: set[Name] = field(default_factory=set)
    refused: set[Name] = field(default_factory=set)


class Tap:
    """Both directions of a session."""

    def __init__(
        self,
        on_promise_up: OnPromise,
        on_promise_down: OnPromise,
        on_fault: Callable[[str], None],
        on_entry: OnEntry = lambda way, name: None,
        *,
        on_refused: Callable[[int], None] = lambda count: None,
        forgets: Callable[[], bool] = lambda: False,
    ) -> None:
        """`on_refused` hears how many of what was sent were not kept; `forgets` says whether a
        clock has jumped, so that what was refused may be sent again at once."""
        self.is_live = False
        self._only_payloads = False
        self._on_entry = on_entry
        self._on_refused = on_refused
        self._forgets = forgets
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
            case m.Totals() | m.Live() | m.WantPayloads():
                self.is_live = isinstance(message, m.Live)
                self._only_payloads = isinstance(message, m.WantPayloads)
                for each in self._ways:
                    each.entries, each.promised, each.past_system = [], 0, False
                    each.refused = set()
            case m.Refused(refused):
                for collection, _, joined in refused:
                    ids = (joined[at : at + 32] for at in range(0, len(joined), 32))
                    mine.refused |= {(collection, id_) for id_ in ids}
                self._on_refused(sum(len(joined) // 32 for _, _, joined in refused))
            case m.Entries(groups):
                for collection, items in groups:
                    for header, payload in items:
                        self._take_entry(way, (collection, entry_id(header)), payload)
            case m.Piece(_, data) if mine.pending is not None:
                name, left = mine.pending
                mine.pending = (name, left - len(data)) if left > len(data) else None
                if mine.pending is None:
                    mine.entries.append((name, True))
            case m.Committed(count):
                self._promise(way, count)

    def _take_entry(self, way: int, name: Name, payload: bytes | int | None) -> None:
        """The system comes first in a pass; in live the order is that of arrival. No entry is
        ever sent twice in a session: who finishes a pass has it, and news begin after what was
        compared. Only a payload may follow that was missing."""
        mine = self._ways[way]
        if not self._only_payloads:
            self._on_entry(way, name)
            if name in mine.sent and not self._forgets():
                self._on_fault(f"{name[0]} {name[1].hex()[:16]} was sent twice in one session")
            mine.sent.add(name)
        is_pass = not (self.is_live or self._only_payloads)
        if is_system(name[0]) and mine.past_system and is_pass:
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
            if name not in mine.refused:
                self._on_promise[way](name, with_payload)
        mine.promised = count
