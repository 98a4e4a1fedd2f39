"""One of every message, and a strategy for all of them."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from setsync import limits
from setsync.wire import messages as m

SAMPLES: list[m.Message] = [
    m.Hello(
        (1, 300),
        b"a" * 32,
        b"b" * 32,
        ("**", "né/*"),
        m.PULL,
        1_048_576,
        ("x",),
        ("a/**",),
        ("a/b",),
        b"oo",
    ),
    m.AbortMessage(3, "Später."),
    m.Catalog(b"c" * 16),
    m.Same(),
    m.Listing((("notes", 70_000, b"d" * 16),)),
    m.Listed((("a", 0, b"e" * 16), ("é", 2**32, b"f" * 16))),
    m.Questions(((1, 0, b"\x02\xab", (2, 8)), (3, 65_536, b"\x00", (0, 16, 0, 300)))),
    m.Answers((((1, 2, 300), b"gggg"), ((), b""))),
    m.AskIds(((0, b"\x01\xa0", 64, 1, b"h" * 8), (1, b"\x00", 0, 0, b""))),
    m.Ids(((0, b"i" * 64, 1),), 1),
    m.Totals(0, 2**40),
    m.Want(((0, b"\x00", 0, 0, b""),), 0),
    m.Entries((("notes", ((b"S1", b"payload"), (b"S2", b""), (b"S3", None), (b"S4", 200_000))),)),
    m.Piece(196_608, b"jj"),
    m.Committed(2_000),
    m.Sent(),
    m.Close(b"k" * 32),
    m.Closed(b"l" * 32),
    m.Live(),
    m.Ping(),
    m.Done(),
    m.Many(4_097),
    m.AskNames(((0, b"\x00", 100, 1, b"m" * 8),)),
    m.Packed(13, 300, b"nnn"),
    m.Refused((("notes", 3, b"p" * 64),)),
    m.WantPayloads((("notes", b"q" * 16),)),
]


def _uint(most: int = 2**64 - 1, least: int = 0) -> st.SearchStrategy[int]:
    """Numbers, those at which msgpack's spelling changes among them."""
    edges = [0, 1, 127, 128, 255, 256, 65_535, 65_536, 2**32 - 1, 2**32, most]
    return st.one_of(
        st.sampled_from([e for e in edges if least <= e <= most]), st.integers(least, most)
    )


def _tuples(
    of: st.SearchStrategy[Any], most: int = 4, least: int = 0
) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(of, min_size=least, max_size=most).map(tuple)


def _blob(least: int = 0, most: int = 300) -> st.SearchStrategy[bytes]:
    return st.binary(min_size=least, max_size=most)


def _text(most: int) -> st.SearchStrategy[str]:
    return st.text(st.characters(codec="utf-8"), max_size=most // 4)


_fixed32 = _blob(32, 32)
_collections = _tuples(st.tuples(_text(255), _uint(2**40), _blob(16, 16)))
_wants = _tuples(
    st.tuples(_uint(2**32 - 1), _blob(1, 33), _uint(255), _uint(limits.MAX_WANTED_IDS), _blob())
)
_payload = st.one_of(_blob(), st.none(), _uint(limits.MAX_PAYLOAD, 1))

MESSAGES: st.SearchStrategy[m.Message] = st.one_of(
    st.builds(
        m.Hello,
        _tuples(_uint(2**16 - 1)),
        _fixed32,
        _fixed32,
        _tuples(_text(limits.MAX_PATTERN)),
        _uint(2),
        _uint(limits.MAX_PAYLOAD),
        _tuples(_text(32)),
        _tuples(_text(limits.MAX_PATTERN)),
        _tuples(_text(limits.MAX_PATTERN)),
        _blob(0, limits.MAX_INVITE),
    ),
    st.builds(m.AbortMessage, _uint(255), _text(limits.MAX_SENTENCE)),
    st.builds(m.Catalog, _blob(16, 16)),
    st.builds(m.Same),
    st.builds(m.Listing, _collections),
    st.builds(m.Listed, _collections),
    st.builds(
        m.Questions,
        _tuples(
            st.tuples(_uint(255), _uint(2**32 - 1), _blob(1, 33), _tuples(_uint(2**32 - 1), 8))
        ),
    ),
    st.builds(m.Answers, _tuples(st.tuples(_tuples(_uint(2**40)), _blob()))),
    st.builds(m.AskIds, _wants),
    st.builds(m.Ids, _tuples(st.tuples(_uint(2**32 - 1), _blob(), _uint(2**40))), _uint(1)),
    st.builds(m.Totals, _uint(), _uint()),
    st.builds(m.Want, _wants, _uint(1)),
    st.builds(
        m.Entries,
        st.tuples(st.tuples(_text(255), _tuples(st.tuples(_blob(1, 600), _payload), least=1))),
    ),
    st.builds(m.Piece, _uint(), _blob(1)),
    st.builds(m.Committed, _uint()),
    st.builds(m.Sent),
    st.builds(m.Close, _fixed32),
    st.builds(m.Closed, _fixed32),
    st.builds(m.Live),
    st.builds(m.Ping),
    st.builds(m.Done),
    st.builds(m.Many, _uint(2**32 - 1)),
    st.builds(m.AskNames, _wants),
    st.builds(m.Packed, _uint(255), _uint(limits.MAX_FRAME, 1), _blob()),
    st.builds(m.Refused, _tuples(st.tuples(_text(255), _uint(255), _blob(32)))),
    st.builds(m.WantPayloads, _tuples(st.tuples(_text(255), _blob(8)))),
)
