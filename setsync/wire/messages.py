"""Every message of the protocol: one frozen dataclass each, with its type and its fields.

`docs/protocol.md` tells what they mean. Entries in here are bytes that somebody claims;
nothing has been verified.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

from setsync import limits
from setsync.model.collection import EVERYTHING
from setsync.wire.codec import (
    Kind,
    array,
    blob,
    decode,
    either,
    encode,
    exactly,
    nil,
    record,
    text,
    uint,
)
from setsync.wire.framing import FrameBuffer, pack_frame

PROTOCOL_VERSION = 1

BOTH, PUSH, PULL = 0, 1, 2
"""Directions, as the initiator sees them."""

_number32 = uint(2**32 - 1)
# More than any store could hold; the counts of a whole session still add up to 64 bits.
_count = uint(2**40)
_prefix = blob(33, 1)
_name = text(limits.MAX_COLLECTION_NAME)

EntryItem = tuple[bytes, bytes | int | None]
"""Header, and its payload: bytes; nothing when withheld; or its size, and pieces follow."""


@dataclass(frozen=True, slots=True)
class Hello:
    """The first message of both sides.

    A collection is spoken of when both sides have it among their `interests`, both share it with
    the other, and neither leaves it out. `direction` is 0 for both ways, 1 for push, 2 for pull.
    `max_payload` is the largest payload that is taken. `invite` is a code, or nothing.
    """

    versions: tuple[int, ...]
    node: bytes
    nonce: bytes
    interests: tuple[str, ...]
    direction: int
    max_payload: int
    features: tuple[str, ...]
    shares: tuple[str, ...] = (EVERYTHING,)
    without: tuple[str, ...] = ()
    invite: bytes = b""


@dataclass(frozen=True, slots=True)
class AbortMessage:
    """The session ends here, and this is why."""

    code: int
    sentence: str


@dataclass(frozen=True, slots=True)
class Catalog:
    """Initiator: the digest of my catalogue, its first 16 bytes."""

    digest: bytes


@dataclass(frozen=True, slots=True)
class Same:
    """Responder: mine is the same."""


@dataclass(frozen=True, slots=True)
class Listing:
    """Responder: some of my collections: name, count, label of the root. More follow."""

    collections: tuple[tuple[str, int, bytes], ...]


@dataclass(frozen=True, slots=True)
class Listed:
    """Responder: the last of my collections, as in LISTING."""

    collections: tuple[tuple[str, int, bytes], ...]


@dataclass(frozen=True, slots=True)
class Many:
    """Responder: I have so many collections that their hashes had better be compared first."""

    count: int


@dataclass(frozen=True, slots=True)
class AskNames:
    """Initiator: list the collections with these hashes. As in WANT, of collection 0."""

    items: tuple[tuple[int, bytes, int, int, bytes], ...]


@dataclass(frozen=True, slots=True)
class Questions:
    """Initiator: questions about ranges; kind, collection, prefix, arguments."""

    items: tuple[tuple[int, int, bytes, tuple[int, ...]], ...]


@dataclass(frozen=True, slots=True)
class Answers:
    """Responder: as many answers as questions, in their order; numbers, blob."""

    items: tuple[tuple[tuple[int, ...], bytes], ...]


@dataclass(frozen=True, slots=True)
class AskIds:
    """Initiator: which ids are behind these? As in WANT."""

    items: tuple[tuple[int, bytes, int, int, bytes], ...]


@dataclass(frozen=True, slots=True)
class Ids:
    """Responder: collection, ids joined, and how many of them arrived after the session began.

    `more` is 1 unless this answers the last of what was asked.
    """

    items: tuple[tuple[int, bytes, int], ...]
    more: int


@dataclass(frozen=True, slots=True)
class Totals:
    """Initiator: the difference is known; how many entries I shall send and want."""

    sending: int
    wanting: int


@dataclass(frozen=True, slots=True)
class Want:
    """Initiator: send me these: collection, prefix, kind, count, values.

    `more` is 1 unless these are the last.
    """

    items: tuple[tuple[int, bytes, int, int, bytes], ...]
    more: int


@dataclass(frozen=True, slots=True)
class Entries:
    """Either: collection, and entries of it, no two the same: header, payload."""

    groups: tuple[tuple[str, tuple[EntryItem, ...]], ...]


@dataclass(frozen=True, slots=True)
class Piece:
    """Either: the payload of the last entry goes on at `offset` with these bytes."""

    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Packed:
    """Either: the fields of an ENTRIES or PIECE message, its `type`, of `size` bytes, as one
    zstandard frame that declares that size."""

    type: int
    size: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Committed:
    """Either: so many of your entries of this pass are durable here."""

    count: int


@dataclass(frozen=True, slots=True)
class Sent:
    """Either: that was the last of my entries in this pass."""


@dataclass(frozen=True, slots=True)
class Refused:
    """Either: of what you sent, I do not keep these: collection, reason, ids joined. They are
    valid and not wanted here; COMMITTED counts them."""

    items: tuple[tuple[str, int, bytes], ...]


@dataclass(frozen=True, slots=True)
class WantPayloads:
    """Either: I have these entries without their payloads: collection, short ids joined."""

    items: tuple[tuple[str, bytes], ...]


@dataclass(frozen=True, slots=True)
class Close:
    """Initiator: the digest of my catalogue now."""

    digest: bytes


@dataclass(frozen=True, slots=True)
class Closed:
    """Responder: and mine."""

    digest: bytes


@dataclass(frozen=True, slots=True)
class Live:
    """Initiator: from here on each side sends what is new to it, as it comes."""


@dataclass(frozen=True, slots=True)
class Ping:
    """Either, while live: I am still here."""


@dataclass(frozen=True, slots=True)
class Done:
    """Initiator: that is all."""


Message = (
    Hello
    | AbortMessage
    | Catalog
    | Same
    | Listing
    | Listed
    | Many
    | AskNames
    | Questions
    | Answers
    | AskIds
    | Ids
    | Totals
    | Want
    | Entries
    | Piece
    | Packed
    | Committed
    | Sent
    | Refused
    | WantPayloads
    | Close
    | Closed
    | Live
    | Ping
    | Done
)


@dataclass(frozen=True, slots=True)
class Layout:
    """How a message travels: its type, the kinds of its fields, its body's ceiling."""

    type: int
    message: Callable[..., Message]
    kind: Kind[tuple[Any, ...]]
    ceiling: int = limits.MAX_CONTROL_FRAME


_collections = array(record(_name, _count, exactly(16)))
_wants = array(
    record(_number32, _prefix, uint(255), uint(limits.MAX_WANTED_IDS), blob(limits.MAX_FRAME))
)
_payload = either(blob(limits.MAX_FRAME), nil, uint(limits.MAX_PAYLOAD, 1))
# One collection a message, and something of it: a bound on each of two arrays is none on both.
_entries = array(
    record(_name, array(record(blob(limits.MAX_HEADER, 1), _payload), least=1)), most=1, least=1
)
_questions = array(record(uint(255), _number32, _prefix, array(_number32, 8)))
_answers = array(record(array(_count, 256), blob(limits.MAX_FRAME)))
_hello = record(
    array(uint(2**16 - 1), 16),
    exactly(32),
    exactly(32),
    array(text(limits.MAX_PATTERN), limits.MAX_PATTERNS),
    uint(PULL),
    uint(limits.MAX_PAYLOAD),
    array(text(32), 32),
    array(text(limits.MAX_PATTERN), limits.MAX_PATTERNS),
    array(text(limits.MAX_PATTERN), limits.MAX_PATTERNS),
    blob(limits.MAX_INVITE),
)

LAYOUTS: dict[type, Layout] = {
    Hello: Layout(1, Hello, _hello),
    AbortMessage: Layout(2, AbortMessage, record(uint(255), text(limits.MAX_SENTENCE))),
    Catalog: Layout(3, Catalog, record(exactly(16))),
    Same: Layout(4, Same, record()),
    Listing: Layout(5, Listing, record(_collections), limits.MAX_FRAME),
    Listed: Layout(6, Listed, record(_collections), limits.MAX_FRAME),
    Questions: Layout(7, Questions, record(_questions)),
    Answers: Layout(8, Answers, record(_answers), limits.MAX_FRAME),
    AskIds: Layout(9, AskIds, record(_wants), limits.MAX_FRAME),
    Ids: Layout(
        10,
        Ids,
        record(array(record(_number32, blob(limits.MAX_FRAME), _count)), uint(1)),
        limits.MAX_FRAME,
    ),
    Totals: Layout(11, Totals, record(uint(), uint())),
    Want: Layout(12, Want, record(_wants, uint(1)), limits.MAX_FRAME),
    Entries: Layout(13, Entries, record(_entries), limits.MAX_FRAME),
    Piece: Layout(14, Piece, record(uint(), blob(limits.PAYLOAD_PIECE, 1)), limits.MAX_FRAME),
    Committed: Layout(15, Committed, record(uint())),
    Sent: Layout(16, Sent, record()),
    Close: Layout(17, Close, record(exactly(32))),
    Closed: Layout(18, Closed, record(exactly(32))),
    Done: Layout(19, Done, record()),
    Many: Layout(20, Many, record(_number32)),
    Packed: Layout(
        22,
        Packed,
        record(uint(255), uint(limits.MAX_FRAME, 1), blob(limits.MAX_FRAME)),
        limits.MAX_FRAME,
    ),
    AskNames: Layout(21, AskNames, record(_wants), limits.MAX_FRAME),
    Live: Layout(23, Live, record()),
    Ping: Layout(24, Ping, record()),
    Refused: Layout(
        25,
        Refused,
        record(array(record(_name, uint(255), blob(32 * limits.MAX_ARRAY, 32)))),
        limits.MAX_FRAME,
    ),
    WantPayloads: Layout(
        26,
        WantPayloads,
        record(array(record(_name, blob(8 * limits.MAX_WANTED_PAYLOADS, 8)))),
    ),
}

_BY_TYPE = {layout.type: (name, layout) for name, layout in LAYOUTS.items()}
_FIELDS = {message: tuple(field.name for field in fields(message)) for message in LAYOUTS}


def new_buffer() -> FrameBuffer:
    """A buffer that knows every message's ceiling."""
    return FrameBuffer({layout.type: layout.ceiling for layout in LAYOUTS.values()})


def pack(message: Message) -> bytes:
    """The frame of a message."""
    values = tuple(getattr(message, name) for name in _FIELDS[type(message)])
    return pack_frame(LAYOUTS[type(message)].type, encode(values))


def unpack(message_type: int, body: bytes) -> Message:
    """The message in a frame. Raises PeerError unless it is exactly what `pack` makes."""
    name, layout = _BY_TYPE[message_type]
    return layout.message(*decode(body, layout.kind, f"A {name.__name__} message"))
