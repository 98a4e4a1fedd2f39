"""Messages: one of each kind, and any of them."""

from __future__ import annotations

from hypothesis import strategies as st

from bamboo_compat.replication.messages import (
    Announce,
    AuthorHeights,
    Done,
    EntryMessage,
    Have,
    Message,
    Request,
)

SAMPLES: dict[type[Message], Message] = {
    Announce: Announce(1_700_000_000, ("schema_definition_v1", "venue")),
    Request: Request(0, ("venue",)),
    EntryMessage: EntryMessage(0, b"entry", b"operation"),
    Done: Done(0),
    Have: Have(0, (AuthorHeights(b"k" * 32, ((0, 1), (7, 300))),)),
}

numbers = st.integers(0, 2**64 - 1)
schemas = st.lists(st.text(min_size=1, max_size=20), unique=True, max_size=5).map(tuple)
heights = st.dictionaries(
    st.binary(min_size=32, max_size=32),
    st.dictionaries(numbers, st.integers(1, 2**64 - 1), max_size=4),
    max_size=4,
).map(lambda of: tuple(AuthorHeights(key, tuple(logs.items())) for key, logs in of.items()))

messages: st.SearchStrategy[Message] = st.one_of(
    st.builds(Announce, numbers, schemas),
    st.builds(Request, numbers, schemas.filter(bool)),
    st.builds(EntryMessage, numbers, st.binary(max_size=400), st.none() | st.binary(max_size=400)),
    st.builds(Done, numbers, st.booleans()),
    st.builds(Have, numbers, heights),
)
