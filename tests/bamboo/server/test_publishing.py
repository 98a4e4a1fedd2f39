"""Publishing as clients of Bamboo servers do it: right places, and refusals that help."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bamboo_compat.core import entry as entries
from bamboo_compat.core import keys, verify_log
from bamboo_compat.core.entry import decode
from bamboo_compat.core.lipmaa import has_lipmaalink, lipmaa
from bamboo_compat.core.profiles import PROFILES
from bamboo_compat.core.yamf import Flavour
from bamboo_compat.decisions.book import DecisionsFile, Did, Record
from bamboo_compat.server.errors import (
    BadArgumentError,
    BadOperationError,
    DocumentDeletedError,
    DocumentForkedError,
    EndOfLogError,
    NoFreeLogError,
    NotTheNextError,
    NotWantedError,
    SeveralDocumentsError,
    UnknownDocumentError,
    WrongLogError,
    WrongSchemaError,
)
from bamboo_compat.server.publishing import NextArgs
from bamboo_compat.set.appending import HeadNotVerifiedError, LogForkedError
from bamboo_compat.set.index import BambooIndex
from bamboo_compat.set.reading import Reader
from setsync.errors import InvalidEntryError
from setsync.store.lmdb_store import Store
from setsync.store.memory import MemoryStore
from tests.bamboo.histories import member
from tests.bamboo.logs import Author, seed, signed
from tests.bamboo.server.clients import (
    EVENT,
    Server,
    create,
    delete,
    hash_of,
    sign,
    update,
)

ANNA, BERTA = (keys.public_key(seed(number)) for number in (1, 2))


@pytest.fixture(params=["memory", "lmdb"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    """An empty one."""
    if request.param == "memory":
        yield Server(MemoryStore(), tmp_path)
        return
    with Store.open(tmp_path / "store") as store:
        yield Server(store, tmp_path)


def refusal(attempt: Callable[[], object]) -> str:
    """The verifier's reason."""
    with pytest.raises(InvalidEntryError) as refused:
        attempt()
    return refused.value.reason


# --- log ids and links --------------------------------------------------------------------


def test_each_document_is_a_log_of_its_own_counted_from_0(server: Server) -> None:
    made = [server.act(1, create(str(number)))[0] for number in range(3)]
    assert server.publisher.next_args(ANNA) == NextArgs(3, 1)
    assert server.publisher.next_args(BERTA) == NextArgs(0, 1)
    assert server.publisher.next_args(ANNA, [made[1]]) == NextArgs(1, 2, made[1])


def test_the_answer_to_a_publish_is_where_that_log_goes_on(server: Server) -> None:
    """A hundred operations in one log, with the lipmaalinks of the specification."""
    head, published = server.act(1, create())
    hashes = [b"", head]
    for seq_num in range(2, 101):
        backlink = hashes[seq_num - 1]
        skiplink = hashes[lipmaa(seq_num)] if has_lipmaalink(seq_num) else None
        wanted = NextArgs(0, seq_num, backlink, skiplink)
        assert published.after == wanted
        assert server.publisher.next_args(ANNA, [hashes[1]]) == wanted
        head, published = server.act(1, update(hashes[-1], name=str(seq_num)), hashes[-1])
        hashes.append(head)
    assert verify_log(server.published).all_verified


def test_another_authors_change_of_a_document_goes_into_a_log_of_her_own(server: Server) -> None:
    server.act(2, create("berta's own"))
    document, _ = server.act(1, create())
    assert server.publisher.next_args(BERTA, [document]) == NextArgs(1, 1)
    change, published = server.act(2, update(document), document)
    assert published.after == NextArgs(1, 2, change)
    # And she goes on there, whichever operation of it she names.
    assert server.publisher.next_args(BERTA, [document]).seq_num == 2
    assert server.publisher.next_args(ANNA, [change]) == NextArgs(0, 2, document)


def test_a_view_of_several_operations_is_one_document(server: Server) -> None:
    document, _ = server.act(1, create())
    hers, _ = server.act(2, update(document), document)
    mine, _ = server.act(1, update(document), document)
    merged, published = server.act(1, update(mine, hers), mine, hers)
    assert published.after == NextArgs(0, 4, merged, document)


def test_the_next_log_is_after_the_highest_whatever_lies_below(server: Server) -> None:
    """A number that is free here may be taken at another node."""
    author = Author(1, 7)
    server.store.add_many([member(author.append(create()), "aquadoggo")])
    assert server.publisher.next_args(ANNA) == NextArgs(8, 1)
    server.store.add_many([member(Author(1, 2**64 - 1).append(b"x"))])
    with pytest.raises(NoFreeLogError):
        server.publisher.next_args(ANNA)


def test_links_are_told_in_blake3_also_of_entries_that_hash_otherwise(server: Server) -> None:
    """These clients know no other; both names lead to the same entry."""
    author = Author(1, 0, Flavour.YAMF)
    data, payload = author.append(create())
    server.store.add_many([member((data, payload), "aquadoggo")])
    args = server.publisher.next_args(ANNA, [author.hashes[1]])
    assert args == NextArgs(0, 2, hash_of(data))
    server.act(1, update(hash_of(data)), hash_of(data))
    assert verify_log([(data, payload), *server.published]).all_verified
    # Who does hash otherwise may go on as well.
    yamf_link = author.make(3, update(hash_of(data)), backlink=author.hashes[1])
    assert refusal(lambda: server.publish(yamf_link, update(hash_of(data)))) == "bad_backlink"


def test_a_link_in_the_other_flavour_is_as_good(server: Server) -> None:
    author = Author(1, 0, Flavour.YAMF)
    data, payload = author.append(create())
    server.store.add_many([member((data, payload), "aquadoggo")])
    operation = update(author.hashes[1])
    _, published = server.publish(author.make(2, operation), operation)
    assert published.after.seq_num == 3


# --- publishing again, and at the same time -----------------------------------------------


def test_publishing_an_entry_again_changes_nothing_and_is_answered(server: Server) -> None:
    """The answer to the first may have been lost."""
    document, _ = server.act(1, create())
    [(header, payload)] = server.published
    again = server.publisher.publish(header, payload)
    assert (again.after, again.is_new) == (NextArgs(0, 2, document), False)
    server.act(1, update(document), document)
    assert server.publisher.publish(header, payload).after.seq_num == 3
    with server.store.snapshot() as snapshot:
        assert snapshot.entry_count == 2


def test_a_payload_that_was_withheld_comes_with_the_publication(server: Server) -> None:
    header, payload = sign(1, NextArgs(0, 1), create()), create()
    server.store.add_many([member((header, None), "aquadoggo")])
    published = server.publisher.publish(header, payload)
    assert published.is_new
    assert server.publisher.next_args(ANNA, [hash_of(header)]).seq_num == 2


def test_of_two_entries_for_one_place_at_once_exactly_one_is_taken(tmp_path: Path) -> None:
    """Eight threads, each with its own entry for the same place, over and over."""
    with Store.open(tmp_path / "store") as store:
        server = Server(store, tmp_path)
        head, _ = server.act(1, create())
        for turn in range(10):
            args = server.publisher.next_args(ANNA, [head])
            payloads = [update(head, name=f"{turn} {rival}") for rival in range(8)]
            rivals = [(sign(1, args, payload), payload) for payload in payloads]

            def attempt(rival: tuple[bytes, bytes]) -> bytes | None:
                try:
                    return server.publish(*rival)[0]
                except NotTheNextError:
                    return None

            with ThreadPoolExecutor(len(rivals)) as pool:
                won = [found for found in pool.map(attempt, rivals) if found is not None]
            [head] = won
        report = verify_log(server.published)
        assert report.all_verified
        assert not report.forked


def test_of_two_documents_for_one_log_at_once_exactly_one_is_taken(tmp_path: Path) -> None:
    server = Server(MemoryStore(), tmp_path)
    payloads = [create(str(rival)) for rival in range(8)]

    def attempt(payload: bytes) -> bool:
        try:
            server.publish(sign(1, NextArgs(0, 1), payload), payload)
        except WrongLogError:
            return False
        return True

    with ThreadPoolExecutor(len(payloads)) as pool:
        assert sum(pool.map(attempt, payloads)) == 1


# --- what would fork ----------------------------------------------------------------------


def test_a_second_entry_for_a_number_is_refused_and_stores_nothing(server: Server) -> None:
    document, _ = server.act(1, create())
    args = server.publisher.next_args(ANNA, [document])
    server.act(1, update(document), document)
    late = update(document, name="late")
    with pytest.raises(NotTheNextError, match=r"number 2, .* has number 3"):
        server.publish(sign(1, args, late), late)
    with server.store.snapshot() as snapshot:
        assert snapshot.entry_count == 2


def test_a_number_too_far_is_refused(server: Server) -> None:
    document, _ = server.act(1, create())
    operation = update(document)
    with pytest.raises(NotTheNextError):
        server.publish(sign(1, NextArgs(0, 3, document), operation), operation)


def test_links_to_anything_else_are_refused_with_the_verifiers_reason(server: Server) -> None:
    document, _ = server.act(1, create())
    other, _ = server.act(1, create("other"))
    operation = update(document)
    wrong = sign(1, NextArgs(0, 2, other), operation)
    assert refusal(lambda: server.publish(wrong, operation)) == "bad_backlink"
    for _ in range(2):
        server.act(1, operation, document)
    args = server.publisher.next_args(ANNA, [document])
    wrong = sign(1, replace(args, skiplink=other), operation)
    assert refusal(lambda: server.publish(wrong, operation)) == "bad_lipmaalink"


def test_the_wrong_log_is_refused_and_the_right_one_named(server: Server) -> None:
    document, _ = server.act(1, create())
    operation = update(document)
    with pytest.raises(WrongLogError, match=r"log 1, which is not the one; .* into log 0"):
        server.publish(sign(1, NextArgs(1, 1), operation), operation)
    with pytest.raises(WrongLogError, match=r"log 0, which is in use already; .* into log 1"):
        server.publish(sign(1, NextArgs(0, 1), create("b")), create("b"))
    with pytest.raises(WrongLogError, match="log 5"):
        server.publish(sign(1, NextArgs(5, 1), create("b")), create("b"))


def test_nothing_goes_onto_a_forked_log(server: Server) -> None:
    document, _ = server.act(1, create())
    for name in ("one", "two"):
        branch = update(document, name=name)
        record = sign(1, NextArgs(0, 2, document), branch), branch
        server.store.add_many([member(record, "aquadoggo")])
    with pytest.raises(LogForkedError, match="parts at entry 2"):
        server.publisher.next_args(ANNA, [document])
    operation = update(document, name="three")
    with pytest.raises(LogForkedError):
        server.publish(sign(1, NextArgs(0, 2, document), operation), operation)
    # Her other documents are not touched by that.
    assert server.act(1, create("other"))[1].after.log_id == 1


def test_a_document_with_two_logs_of_one_author_is_not_continued(server: Server) -> None:
    document, _ = server.act(1, create())
    operation = update(document)
    stray = sign(1, NextArgs(4, 1), operation), operation
    server.store.add_many([member(stray, "aquadoggo")])
    with pytest.raises(DocumentForkedError, match=r"2 logs about document .*: 0, 4"):
        server.publisher.next_args(ANNA, [document])
    assert server.publisher.next_args(BERTA, [document]) == NextArgs(0, 1)


def decide(server: Server, branch: bytes) -> None:
    """The operator decides the one fork that there is."""
    with server.store.snapshot() as snapshot:
        [fork] = Reader(snapshot.index_tables(BambooIndex())).fork_ids()
    with DecisionsFile(server.directory).changing() as book:
        book.add(Record(1, "operator", Did.DECIDE, fork, branch))


def test_once_a_fork_is_decided_the_log_goes_on_there(server: Server) -> None:
    """After the branch that is right, though the other one is longer."""
    document, _ = server.act(1, create())
    right, wrong = Author(1, 0), Author(1, 0)
    for author in (right, wrong):
        author.append(create())
        made = [author.append(update(document, name=str(id(author))))]
        if author is wrong:
            made.append(author.append(update(author.hashes[2])))
        server.store.add_many([member(record, "aquadoggo") for record in made])
    with pytest.raises(LogForkedError):
        server.publisher.next_args(ANNA, [document])
    decide(server, right.hashes[2])
    args = server.publisher.next_args(ANNA, [document])
    assert args == NextArgs(0, 3, right.hashes[2])
    _, published = server.act(1, update(right.hashes[2]), right.hashes[2])
    assert published.after.seq_num == 4


def test_once_it_is_decided_which_log_is_the_documents_it_goes_on(server: Server) -> None:
    document, _ = server.act(1, create())
    operation = update(document)
    stray = sign(1, NextArgs(4, 1), operation)
    server.store.add_many([member((stray, operation), "aquadoggo")])
    decide(server, hash_of(stray))
    assert server.publisher.next_args(ANNA, [document]) == NextArgs(4, 2, hash_of(stray))
    _, published = server.act(1, update(document), document)
    assert published.after.log_id == 4


def test_nothing_is_put_after_what_is_not_verified(server: Server) -> None:
    author = Author(1, 0)
    first = author.append(create())
    author.append(update(author.hashes[1]))
    third = author.append(update(author.hashes[1], name="z"))
    server.store.add_many([member(record, "aquadoggo") for record in (first, third)])
    with pytest.raises(HeadNotVerifiedError, match="entry 2 is missing"):
        server.publisher.next_args(ANNA, [author.hashes[1]])


# --- documents ----------------------------------------------------------------------------


def test_an_unknown_document_is_named(server: Server) -> None:
    stranger = hash_of(b"stranger")
    with pytest.raises(UnknownDocumentError, match=f"{stranger.hex()} is not here"):
        server.publisher.next_args(ANNA, [stranger])
    operation = update(stranger)
    with pytest.raises(UnknownDocumentError):
        server.publish(sign(1, NextArgs(0, 1), operation), operation)


def test_an_operation_whose_document_cannot_be_told_is_not_followed(server: Server) -> None:
    author = Author(1, 0)
    author.append(create())
    orphan, withheld = Author(1, 1), Author(1, 2)
    record = orphan.append(update(author.hashes[1]))
    server.store.add_many([member(record, "aquadoggo")])
    server.store.add_many([member((withheld.append(create())[0], None), "aquadoggo")])
    server.store.add_many([member(Author(2, 1024).append(create()), "rfc0001")])
    for tagged, why in (
        (orphan.hashes[1], "what it follows is not"),
        (withheld.hashes[1], "its payload is not"),
        (hash_of(Author(2, 1024).append(create())[0]), "not of a document"),
    ):
        with pytest.raises(UnknownDocumentError, match=f"is here, but .*{why}"):
            server.publisher.next_args(ANNA, [tagged])


def test_operations_of_two_documents_are_no_view(server: Server) -> None:
    one, two = (server.act(1, create(name))[0] for name in "ab")
    with pytest.raises(SeveralDocumentsError):
        server.publisher.next_args(ANNA, [one, two])
    operation = update(one, two)
    with pytest.raises(SeveralDocumentsError):
        server.publish(sign(1, NextArgs(0, 2, one), operation), operation)


@pytest.mark.parametrize("number", [1, 2])
def test_a_deleted_document_takes_no_more_operations(server: Server, number: int) -> None:
    """Neither from whoever deleted it nor, where its creator did, from others."""
    document, _ = server.act(1, create())
    server.act(2, update(document), document)
    gone, published = server.act(1, delete(document), document)
    assert published.after.seq_num == 3  # as those servers answer
    for view in (document, gone):
        with pytest.raises(DocumentDeletedError, match=gone.hex()):
            server.act(number, update(view), view)


def test_a_document_keeps_its_schema(server: Server) -> None:
    document, _ = server.act(1, create())
    with pytest.raises(WrongSchemaError, match=EVENT):
        server.act(1, update(document, schema=EVENT), document)


# --- an entry by itself -------------------------------------------------------------------


def test_the_verifiers_reasons_reach_the_client(server: Server) -> None:
    """One for each rule that an entry can break by itself."""
    payload = create()
    good = sign(1, NextArgs(0, 1), payload)
    forged = good[:-64] + bytes([good[-64] ^ 1]) + good[-63:]
    assert refusal(lambda: server.publish(good[:-1], payload)) == "truncated"
    assert refusal(lambda: server.publish(b"", payload)) == "truncated"
    assert refusal(lambda: server.publish(good + b"x", payload)) == "trailing_bytes"
    assert refusal(lambda: server.publish(good + b"x" * 1000, payload)) == "trailing_bytes"
    assert refusal(lambda: server.publish(b"\x02" + good[1:], payload)) == "bad_tag"
    assert refusal(lambda: server.publish(forged, payload)) == "bad_signature"
    assert refusal(lambda: server.publish(good, payload + b"x")) == "bad_payload_hash"
    head = b"\0" + ANNA
    assert refusal(
        lambda: server.publish(signed(1, head + b"\xf8\x01" + good[34:-64]), payload)
    ) == ("not_canonical")
    zero = signed(1, head + b"\0\0" + good[35:-64])
    assert refusal(lambda: server.publish(zero, payload)) == "bad_seq_num"
    lie = signed(1, good[:35] + bytes([good[35] + 1]) + good[36:-64])
    assert refusal(lambda: server.publish(lie, payload)) == "bad_payload_size"
    with server.store.snapshot() as snapshot:
        assert snapshot.entry_count == 0


def test_an_end_of_log_marker_is_refused(server: Server) -> None:
    with pytest.raises(EndOfLogError):
        server.publish(sign(1, NextArgs(0, 1), create(), end=True), create())


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"no operation",
        cbor2.dumps({"schema": "venue_v1"}),
        cbor2.dumps([2, 0, "venue_v1", {}]),
        cbor2.dumps([1, 3, "venue_v1", {}]),
        cbor2.dumps([1, 0, "venue_v1"]),
        cbor2.dumps([1, 0, "", {}]),
        cbor2.dumps([1, 0, "v" * 1025, {}]),
        cbor2.dumps([1, 0, "venue_v1", []]),
        cbor2.dumps([1, 0, "venue_v1", [b"\0\x20" + bytes(32)], {}]),
        cbor2.dumps([1, 1, "venue_v1", {}]),
        cbor2.dumps([1, 1, "venue_v1", [], {}]),
        cbor2.dumps([1, 1, "venue_v1", [bytes(34)], {}]),
        cbor2.dumps([1, 1, "venue_v1", [b"\0\x20" + bytes(32)] * 2, {}]),
        cbor2.dumps([1, 1, "venue_v1", [b"\0\x20" + b"b" * 32, b"\0\x20" + b"a" * 32], {}]),
        cbor2.dumps([1, 2, "venue_v1", [b"\0\x20" + bytes(32)], {}]),
        cbor2.dumps([1, 0, "venue_v1", {}]) + b"\0",
        cbor2.dumps([1, 0, "venue_v1", {"a": "b"}])[:-1],
    ],
    ids=lambda payload: payload[:12].hex(),
)
def test_what_is_no_operation_is_refused(server: Server, payload: bytes) -> None:
    with pytest.raises(BadOperationError):
        server.publish(sign(1, NextArgs(0, 1), payload), payload)


def test_a_key_of_another_length_is_no_author(server: Server) -> None:
    with pytest.raises(BadArgumentError, match="32 bytes, not 31"):
        server.publisher.next_args(ANNA[:31])


def test_a_guard_is_asked_before_anything_is_stored(tmp_path: Path) -> None:
    asked: list[bytes] = []

    def guard(snapshot: object, one: object) -> None:
        asked.append(getattr(one, "author"))  # noqa: B009 - whatever it is, it has one
        raise NotWantedError("Not here.")

    server = Server(MemoryStore(), tmp_path, [guard])
    with pytest.raises(NotWantedError):
        server.act(1, create())
    assert asked == [ANNA]
    with server.store.snapshot() as snapshot:
        assert snapshot.entry_count == 0


# --- any history --------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_whatever_clients_do_in_whatever_order_no_log_is_ever_broken(data: st.DataObject) -> None:
    """Authors create, change and delete documents of each other, some with places that they
    asked for long ago. Whatever is taken is verified by Bamboo's own rules and forks nothing;
    the places are those of a model that counts logs."""
    with TemporaryDirectory() as folder:
        server = Server(MemoryStore(), Path(folder))
        model = _Model()
        asked: list[tuple[int, bytes, NextArgs]] = []
        for step in range(data.draw(st.integers(1, 30))):
            number = data.draw(st.integers(1, 3))
            known = sorted(model.documents)
            document = data.draw(st.sampled_from([None, *known]))
            payload, view = _draw_operation(data, model, document, step)
            args = server.publisher.next_args(keys.public_key(seed(number)), view)
            assert (args.log_id, args.seq_num) == model.place(number, document)
            asked.append((number, payload, args))
            number, payload, args = data.draw(st.sampled_from([asked[-1], *asked]))
            header = sign(number, args, payload)
            try:
                tagged, published = server.publish(header, payload)
            except (NotTheNextError, WrongLogError, DocumentDeletedError):
                continue
            if published.is_new:
                model.take(number, payload, tagged, decode(header))
        report = verify_log(server.published, profile=PROFILES["aquadoggo"])
        assert report.all_verified
        assert not report.forked
        assert (
            sorted((log.author, log.log_id, log.height) for log in report.logs) == model.heights()
        )


class _Model:
    """Documents and logs, counted by hand."""

    def __init__(self) -> None:
        # By its first operation: the operations, and who has which log about it.
        self.documents: dict[bytes, list[bytes]] = {}
        self.logs: dict[tuple[int, bytes], int] = {}
        self.seen: dict[tuple[int, int], int] = {}
        self.gone: set[bytes] = set()
        self.subjects: dict[bytes, bytes] = {}

    def place(self, number: int, document: bytes | None) -> tuple[int, int]:
        """Log id and number of an author's next entry."""
        log_id = self.logs.get((number, document)) if document is not None else None
        if log_id is None:
            mine = [found for author, found in self.seen if author == number]
            return max(mine, default=-1) + 1, 1
        return log_id, self.seen[number, log_id] + 1

    def take(self, number: int, payload: bytes, tagged: bytes, entry: entries.Entry) -> None:
        """An entry was published."""
        operation = cbor2.loads(payload)
        document = self.subjects[operation[3][0]] if operation[1] else tagged
        self.subjects[tagged] = document
        if document not in self.gone:
            self.documents.setdefault(document, []).append(tagged)
        self.logs.setdefault((number, document), entry.log_id)
        self.seen[number, entry.log_id] = entry.seq_num
        if operation[1] == 2:
            # Those who did not hear of it may go on, with places that they asked for before.
            self.gone.add(document)
            self.documents.pop(document, None)

    def heights(self) -> list[tuple[bytes, int, int]]:
        """Author, log id and height of every log."""
        found = self.seen.items()
        return sorted((keys.public_key(seed(n)), log_id, top) for (n, log_id), top in found)


def _draw_operation(
    data: st.DataObject, model: _Model, document: bytes | None, step: int
) -> tuple[bytes, tuple[bytes, ...]]:
    if document is None:
        return create(str(step)), ()
    some = st.lists(st.sampled_from(model.documents[document]), min_size=1, max_size=3, unique=True)
    view = tuple(data.draw(some))
    if data.draw(st.integers(0, 7)) == 0:
        return delete(*view), view
    return update(*view, name=str(step)), view
