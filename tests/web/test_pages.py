"""The pages say what the node is, with whom it is in sync, and what it holds; as JSON too."""

from __future__ import annotations

import base64
import json

import cbor2
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from setsync.limits import MAX_WEB_HEX, MAX_WEB_ROWS, MAX_WEB_SEARCHED, MAX_WEB_TEXT
from setsync.model.entry import make_entry
from setsync.node.live import PeerState, Phase
from setsync.node.peers import Book, Peer, Rule
from setsync.node.report import Report
from setsync.node.server import Served
from setsync.web import peers
from setsync.web.showing import show
from setsync.web.tally import Session, of_report
from tests.cli.running import validate
from tests.helpers import MIDNIGHT, keys
from tests.web.calling import Node, Page, page_of


async def test_every_state_of_every_page_is_there_as_json_and_as_documented(node: Node) -> None:
    entry, *_ = node.put("notes", b'{"a": 1}', b"text", b"\xff\x00")
    with node.directory.peers.changing() as book:
        book.put(Peer(keys(1, seed=9)[0].public, name="anna"))
    async with page_of(node) as page:
        page.site.served(_served(keys(1, seed=8)[0].public.hex()))
        for path, schema in (
            ("/api/overview", "web-overview"),
            ("/api/history", "web-history"),
            ("/api/peers", "web-peers"),
            ("/api/entries", "web-entries"),
            ("/api/entries?collection=notes", "web-entries"),
            (f"/api/entries/{entry.id.hex()}", "web-entry"),
            ("/api/entries/ffffffff", "web-error"),
            ("/api/entries?id=x", "web-error"),
        ):
            validate((await page.get(path)).json(), schema)


async def test_the_overview_says_what_status_says(node: Node) -> None:
    node.put("notes", b"one", b"two")
    node.put("plans", b"three")
    async with page_of(node) as page:
        found = (await page.get("/api/overview")).json()
        with node.store.snapshot() as snapshot:
            wanted = [(name, it.count, it.digest.hex()) for name, it in snapshot.collections()]
        assert [tuple(one.values()) for one in found["collections"]] == wanted
        assert (found["entries"], found["node_id"]) == (3, page.site.local.node_id.hex())
        assert found["bytes_on_disk"] == node.store.bytes_on_disk
        html = (await page.get("/")).text
        assert all(text in html for _, _, text in wanted)
        assert "No peers yet" in html


async def test_collections_come_a_hundred_at_a_time_and_none_twice(node: Node) -> None:
    names = [f"c/{at:03}" for at in range(2 * MAX_WEB_ROWS + 5)]
    author = keys(1, seed=7)[0]
    node.store.add_many([make_entry(author, name, b"x", MIDNIGHT) for name in names])
    async with page_of(node) as page:
        seen: list[str] = []
        after: str | None = ""
        while after is not None:
            found = (await page.get(f"/api/overview?after={after}")).json()
            assert len(found["collections"]) <= MAX_WEB_ROWS
            seen += [one["name"] for one in found["collections"]]
            after = found["next"]
    assert seen == names


# --- entries ------------------------------------------------------------------------------


async def _all(page: Page, query: str) -> list[str]:
    """The ids of all pages of a list, in order."""
    seen: list[str] = []
    after: str | None = ""
    while after is not None:
        found = (await page.get(f"/api/entries?{query}&after={after}")).json()
        assert len(found["entries"]) <= MAX_WEB_ROWS
        seen += [row["id"] for row in found["entries"]]
        after = found["next"]
    return seen


async def test_lists_show_every_entry_once_the_newest_first_or_by_id(node: Node) -> None:
    made = node.put("notes", *(b"%d" % at for at in range(2 * MAX_WEB_ROWS + 30)))
    node.put("plans", b"x", b"y")
    async with page_of(node) as page:
        newest = await _all(page, "")
        by_id = await _all(page, "collection=notes")
    with node.store.snapshot() as snapshot:
        arrived = [entry.id.hex() for entry in snapshot.since(0, 10_000)]
    assert newest == arrived[::-1]
    assert by_id == sorted(entry.id.hex() for entry in made)


async def test_a_search_by_author_finds_all_of_theirs_however_far_back(node: Node) -> None:
    one, other = keys(2, seed=4)
    mine = [make_entry(one, "notes", b"m%d" % at, MIDNIGHT + at) for at in range(3)]
    theirs = [
        make_entry(other, "notes", b"t%d" % at, MIDNIGHT + at)
        for at in range(MAX_WEB_SEARCHED + 600)
    ]
    node.store.add_many(mine)
    node.store.add_many(theirs)
    async with page_of(node) as page:
        prefix = one.public.hex()[:20]
        first = (await page.get(f"/api/entries?author={prefix}")).json()
        assert first["entries"] == []
        assert first["next"] is not None  # a bounded look, and where it goes on
        wanted = sorted(entry.id.hex() for entry in mine)
        assert sorted(await _all(page, f"author={prefix}")) == wanted
        assert await _all(page, f"collection=notes&author={prefix.upper()}") == wanted


async def test_the_first_digits_of_an_id_find_it(node: Node) -> None:
    one, two = node.put("notes", b"one", b"two")
    async with page_of(node) as page:
        for digits in (64, 12, 8):
            found = (await page.get(f"/api/entries?id={one.id.hex()[:digits].upper()}")).json()
            assert [row["id"] for row in found["entries"]] == [one.id.hex()]
        assert (await page.get(f"/api/entries/{two.id.hex()[:8]}")).json()["id"] == two.id.hex()
        nowhere = (await page.get("/api/entries?id=" + "0" * 64)).json()
        assert nowhere["entries"] == []


async def test_an_entry_in_two_collections_is_one_with_two_places(node: Node) -> None:
    (entry,) = node.put("notes", b"x")
    async with page_of(node) as page:
        found = (await page.get(f"/api/entries/{entry.id.hex()}")).json()
        assert found["collections"] == ["notes"]
        missing = await page.get(f"/entries/{entry.id.hex()}?collection=elsewhere")
        assert missing.status == 404


@pytest.mark.parametrize(
    "query",
    [
        "id=xyz",
        "author=" + "a" * 65,
        "after=x",
        "collection=notes&after=12",
        "after=-1",
        "id=%C3%A9",
    ],
)
async def test_what_cannot_be_searched_for_is_told_in_words(node: Node, query: str) -> None:
    node.put("notes", b"x")
    async with page_of(node) as page:
        answer = await page.get(f"/entries?{query}")
        assert answer.status == 400
        assert "did not work" in answer.text


async def test_a_collection_that_is_not_here_is_told_as_such(node: Node) -> None:
    async with page_of(node) as page:
        assert (await page.get("/entries?collection=nowhere")).status == 404


async def test_a_payload_that_is_not_here_or_was_dropped_says_so(node: Node) -> None:
    (entry,) = node.put("notes", b"some text")
    node.store.drop_payload("notes", entry.id)
    async with page_of(node) as page:
        shown = await page.get(f"/entries/{entry.id.hex()}")
        assert "dropped here on purpose" in shown.text
        refused = await page.get(f"/entries/{entry.id.hex()}/payload")
        assert refused.status == 409
        assert (await page.get(f"/api/entries/{entry.id.hex()}")).json()["payload"] is None


# --- payloads -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("payload", "kind", "text"),
    [
        (b"", "empty", ""),
        (b"hello\nworld", "text", "hello\nworld"),
        ("grüße".encode(), "text", "grüße"),
        (b'{"a":[1,2]}', "json", '{\n  "a": [\n    1,\n    2\n  ]\n}'),
        (b'{"a":', "text", '{"a":'),
        (cbor2.dumps({"a": b"\x01"}), "cbor", '{\n  "a": "h\'01\'"\n}'),
        (cbor2.dumps([1, 2]) + b"\x00", "binary", None),
        (b"\x00\x01\xff", "binary", "00000000  00 01 ff" + " " * 41 + "..."),
        (b"bell\x07", "binary", None),
        (b"[" * 50_000, "text", "[" * 50_000),
        (b"\x81" * 5_000, "binary", None),
    ],
)
def test_a_payload_is_shown_as_what_it_looks_like(
    payload: bytes, kind: str, text: str | None
) -> None:
    shown = show(payload)
    assert shown.kind == kind
    assert text is None or shown.text == text


@given(st.binary(max_size=3_000))
def test_every_payload_can_be_shown_and_is_printable(payload: bytes) -> None:
    shown = show(payload)
    assert shown.kind in {"empty", "json", "cbor", "text", "binary"}
    shown.text.encode("utf-8", "surrogatepass")
    if shown.kind == "binary" and shown.whole:
        rows = [line[10:57] for line in shown.text.splitlines()]
        assert bytes.fromhex("".join(rows)) == payload


@given(st.text(min_size=1, max_size=200), st.integers(0, 3))
def test_a_long_text_is_cut_between_characters(text: str, odd: int) -> None:
    payload = b"a" * odd + "é€😀".encode() * (MAX_WEB_TEXT // 8)
    shown = show(payload)
    assert (shown.kind, shown.whole) == ("text", False)
    assert len(shown.text) <= MAX_WEB_TEXT
    assert not show(b"\xff" * (MAX_WEB_HEX + 1)).whole


async def test_what_json_says_of_a_payload_is_its_bytes(node: Node) -> None:
    (entry,) = node.put("notes", b"\x00\xffbytes")
    async with page_of(node) as page:
        payload = (await page.get(f"/api/entries/{entry.id.hex()}")).json()["payload"]
    assert base64.b64decode(payload["base64"]) == b"\x00\xffbytes"


async def test_half_a_character_breaks_no_page_and_no_json(node: Node) -> None:
    """A payload in JSON can spell it, and the name of a peer can come from a terminal of another
    encoding; UTF-8 cannot spell it."""
    (entry,) = node.put("notes", rb'["half \ud800"]')
    with node.directory.peers.changing() as book:
        book.put(Peer(bytes.fromhex(A), name="half \udcff"))
    one = f"/entries/{entry.id.hex()}"
    async with page_of(node) as page:
        for path in ("/entries", one, "/peers"):
            for place in (path, "/api" + path):
                answer = await page.get(place)
                assert (answer.status, page.told) == (200, [])
        assert "half ?" in (await page.get(one)).text
        found = (await page.get("/api" + one)).json()["payload"]
        assert found["text"] == '[\n  "half \ud800"\n]'


# --- peers --------------------------------------------------------------------------------

A, B, C, D = (key.public.hex() for key in keys(4, seed=2))


def _state(phase: Phase, ok: int = 0, error: str = "") -> PeerState:
    return PeerState("", phase, MIDNIGHT, ok, error)


def _session(at: int, outcome: str = "done", reason: str = "") -> Session:
    return Session(at, "initiator", outcome, 2, 10, 500, 300, 300, 5, 5, 0.1, reason)


def test_the_sentence_counts_who_is_equal_and_as_of_the_oldest_of_them() -> None:
    book = Book({bytes.fromhex(D): Peer(bytes.fromhex(D), Rule.BLOCKED)})
    states = {
        A: _state(Phase.LIVE, 10),
        B: _state(Phase.WAITING, 70),
        C: _state(Phase.WAITING, 50, "Nobody answers."),
        D: _state(Phase.WAITING, 60),
    }
    found = peers.rows(book, states, {}, {}, frozenset())
    assert peers.sync_of(found, 100) == peers.Sync(2, 3, 70)
    assert peers.sync_of([], 100) == peers.Sync(0, 0, 100)


def test_a_session_that_went_well_ends_an_error_and_a_later_failure_brings_it_back() -> None:
    states = {A: _state(Phase.WAITING, 50, "Nobody answers.")}
    (row,) = peers.rows(Book(), states, {A: [_session(60)]}, {}, frozenset())
    assert (row.last_ok, row.last_error, row.in_sync) == (60, "", True)
    last = {A: [_session(70, "failed", "It was cut."), _session(60)]}
    (row,) = peers.rows(Book(), states, last, {}, frozenset())
    assert (row.last_ok, row.last_error, row.in_sync) == (60, "It was cut.", False)


def test_who_is_forgotten_is_not_shown_though_its_sessions_are_kept_yet() -> None:
    last = {A: [_session(60)], B: [_session(60)]}
    states = {B: _state(Phase.WAITING, 60)}
    assert [row.key for row in peers.rows(Book(), states, last, {}, frozenset())] == [B]


async def test_the_page_says_in_words_how_it_stands(node: Node) -> None:
    async with page_of(node) as page:
        page.site.states.peers |= {A: _state(Phase.WAITING, MIDNIGHT)}
        assert "In sync with the one peer" in (await page.get("/")).text
        page.site.states.peers |= {B: _state(Phase.WAITING, 0, "Nobody answers at b:1.")}
        html = (await page.get("/peers")).text
        assert "In sync with 1 of 2 peers" in html
        assert "Nobody answers at b:1." in html
        report = Report(state="done", in_sync=True, round_trips=3, missing_here=4, missing_there=6)
        report.counters.sent["reconcile"] = 250
        page.site.dialled(B, report, "")
        html = (await page.get("/peers")).text
        assert "In sync with all 2 peers" in html
        assert ">25.0<" in html  # bytes per difference


def _served(key: str) -> Served:
    served = Served(peer=key, state="done", entries_sent=2, new_entries=3)
    served.counters.sent["reconcile"] = 60
    served.counters.sent["entries"] = 1_000
    return served


def test_bytes_per_difference_leave_the_entries_themselves_out() -> None:
    report = Report(missing_here=3, missing_there=7)
    report.counters.sent |= {"handshake": 100, "reconcile": 300, "entries": 50_000}
    report.counters.received |= {"reconcile": 100, "entries": 20_000}
    assert of_report(report, 1).bytes_per_difference == 50.0
    assert of_report(Report(), 1).bytes_per_difference is None


async def test_sync_now_needs_somebody_whose_address_is_known(node: Node) -> None:
    with node.directory.peers.changing() as book:
        book.put(Peer(bytes.fromhex(A), name="anna"))
    async with page_of(node) as page:
        browser = await page.log_in()
        csrf = (await browser.get("/")).csrf
        for key, status in ((A, 400), (B, 404), ("", 404), ("<script>", 404)):
            answer = await browser.post("/peers/sync", f"csrf={csrf}&key={key}".encode())
            assert answer.status == status


# --- events, forms, guests ----------------------------------------------------------------


async def test_a_page_hears_of_new_entries_once_however_slow_it_is(node: Node) -> None:
    async with page_of(node) as page:
        with page.site.events.listening() as listener:
            for _ in range(1_000):
                page.site.local.writer.news.ring()
                await trio.lowlevel.checkpoint()
            await trio.testing.wait_all_tasks_blocked()
            assert await listener.next() == ["entries"]
            with trio.move_on_after(0) as scope:
                await listener.next()
            assert scope.cancelled_caught


async def test_a_form_is_read_strictly(node: Node) -> None:
    from tests.web.calling import call

    async with page_of(node) as page:
        for kind, body, status in (
            ("application/json", b'{"key": "ab"}', 404),
            ("application/json", b"[]", 400),
            ("application/json", b"{", 400),
            ("application/json", rb'{"key": "\ud800"}', 400),
            ("application/json", rb'{"\ud800": "key"}', 400),
            ("application/json", b"[" * 100_000, 400),
            ("application/json", json.dumps({str(n): 1 for n in range(65)}).encode(), 400),
            ("application/x-www-form-urlencoded", b"key=ab", 404),
            ("application/x-www-form-urlencoded", b"key=ab&key=cd", 400),
            ("application/x-www-form-urlencoded", b"&".join([b"a=b"] * 65), 400),
            ("application/x-www-form-urlencoded", b"key=%ff", 404),
            ("application/x-www-form-urlencoded", b"\xff=1", 400),
            ("text/plain", b"key=ab", 400),
            ("multipart/form-data; boundary=x", b"--x--", 400),
        ):
            headers = {**page.bearer, "content-type": kind}
            answer = await call(page.app, "/api/peers/sync", "POST", headers, body)
            assert answer.status == status, (kind, body[:20], answer.text)


async def test_a_defect_is_told_by_its_name_and_ends_nothing(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with page_of(node) as page:
        monkeypatch.setattr(type(page.site), "moved", lambda self: 1 / 0)
        answer = await page.get("/")
        assert answer.status == 500
        assert answer.text == "A defect of setsync, please report it: ZeroDivisionError.\n"
        assert page.told == [("web_defect", {"route": "/", "error": "ZeroDivisionError"})]
        assert (await page.get("/peers")).status == 200
