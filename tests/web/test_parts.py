"""The small parts: token and codes, logins, places, history, what is remembered of sessions."""

from __future__ import annotations

import itertools
import os
import threading
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from setsync.errors import NotServedError, UsageError, WebTokenError
from setsync.limits import (
    MAX_PEERS,
    MAX_WEB_LISTENERS,
    MAX_WEB_LOGINS,
    WEB_SAMPLES,
    WEB_SESSIONS,
)
from setsync.node.report import Report
from setsync.web.events import Events
from setsync.web.history import History, Sample
from setsync.web.logins import Logins
from setsync.web.place import Place, read_url, write_url
from setsync.web.tally import Tally, of_report
from setsync.web.token import Codes, Token, ensure_token, read_token

NONCE = bytes(range(16))
TOKEN = Token(bytes(range(32)))


# --- token and codes ----------------------------------------------------------------------


def test_many_that_need_the_token_first_make_one(tmp_path: Path) -> None:
    found: list[bytes] = []
    path = tmp_path / "web.token"

    def need() -> None:
        with suppress(WebTokenError):  # another one is writing it
            found.append(ensure_token(path).secret)

    threads = [threading.Thread(target=need) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(found) == {read_token(path).secret}


@pytest.mark.parametrize("content", [b"", b"\n", b"A" * 43, b"A" * 42 + b"\n", b"\xff" * 44])
def test_a_file_that_holds_no_token_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "web.token"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(WebTokenError):
        read_token(path)


def test_a_token_shows_itself_in_no_representation() -> None:
    assert TOKEN.text not in repr(TOKEN)
    assert repr(bytes(range(32)))[2:-1] not in repr(Codes(TOKEN, 0))


@given(st.binary(min_size=32, max_size=32), st.integers(0, 2**48), st.integers(0, 55))
def test_a_code_of_another_token_or_with_one_changed_character_is_none(
    secret: bytes, now: int, at: int
) -> None:
    code = TOKEN.code(now, NONCE)
    assert TOKEN.read_code(code) == (now, NONCE)
    assert secret == TOKEN.secret or Token(secret).read_code(code) is None
    changed = code[:at] + ("A" if code[at] != "A" else "B") + code[at + 1 :]
    assert TOKEN.read_code(changed) is None


@given(st.text(max_size=200))
def test_whatever_is_no_code_is_refused_and_raises_nothing(text: str) -> None:
    assert not Codes(TOKEN, 0).redeem(text, 10)
    assert not TOKEN.is_shown_by(text)


def test_codes_that_are_over_are_forgotten() -> None:
    codes = Codes(TOKEN, 0)
    for at in range(100):
        now = at * 60_000
        assert codes.redeem(TOKEN.code(now, bytes([at]) * 16), now)
    assert len(codes._used) <= 3


def test_as_many_browsers_as_may_be_are_logged_in_and_the_oldest_goes() -> None:
    logins = Logins()
    cookies = [logins.open(0) for _ in range(MAX_WEB_LOGINS + 1)]
    assert logins.find(cookies[0], 0) is None
    assert all(logins.find(cookie, 0) for cookie in cookies[1:])


# --- places -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "host"),
    [
        ("127.0.0.1:2020", "127.0.0.1:2020"),
        ("127.9.9.9:2020", "127.9.9.9:2020"),
        ("localhost:2020", "localhost:2020"),
        ("[::1]:2020", "[::1]:2020"),
    ],
)
def test_on_loopback_the_page_has_the_names_of_this_machine(address: str, host: str) -> None:
    place = Place.parse(address)
    loopback = {"127.0.0.1:2020", "localhost:2020", "[::1]:2020"}
    assert place.hosts == loopback | {host}
    assert place.origins == {f"http://{one}" for one in place.hosts}
    assert place.url == f"http://{host}"


def test_the_usual_port_may_be_left_out() -> None:
    assert {"127.0.0.1", "127.0.0.1:80"} <= Place("127.0.0.1", 80).hosts


def test_under_a_name_with_tls_only_https_is_ours(tmp_path: Path) -> None:
    place = Place.parse("0.0.0.0:443", ("Notes.Example",), tmp_path / "c", tmp_path / "k")
    assert {"notes.example", "notes.example:443"} <= place.hosts
    assert all(origin.startswith("https://") for origin in place.origins)


@pytest.mark.parametrize("name", ["", "a b", "http://a", "a:b", "a:99999", "a/b", "*", "-a"])
def test_what_cannot_be_a_host_is_no_name(name: str) -> None:
    with pytest.raises(UsageError):
        Place.parse("127.0.0.1:0", (name,))


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "10.0.0.1", "[::]", "example.org", "127.1.example.org"]
)
def test_away_from_loopback_is_refused_without_tls(host: str) -> None:
    with pytest.raises(UsageError, match="web-certificate"):
        Place.parse(f"{host}:2020")


def test_where_the_page_is_is_known_while_its_process_lives(tmp_path: Path) -> None:
    path = tmp_path / "web.json"
    with pytest.raises(NotServedError):
        read_url(path)
    write_url(path, "http://127.0.0.1:1")
    assert read_url(path) == "http://127.0.0.1:1"
    assert path.stat().st_mode & 0o077 == 0
    path.write_text(path.read_text().replace(f'"pid": {os.getpid()}', '"pid": 4194303'))
    with pytest.raises(NotServedError):
        read_url(path)


# --- history, events, sessions ------------------------------------------------------------


@given(st.integers(1, 5_000))
def test_history_reaches_back_to_the_start_and_is_bounded(count: int) -> None:
    history, now = History(), 0.0
    for _ in range(count):
        history.note(Sample(round(now * 1000), 1, 2, 3, 4))
        now += history.every
    moments = history.as_json()["at"]
    assert len(moments) <= WEB_SAMPLES
    assert moments[0] == 0
    gaps = {later - earlier for earlier, later in itertools.pairwise(moments)}
    assert gaps <= {round(history.every * 1000)}


def test_so_many_pages_are_told_and_not_one_more() -> None:
    events = Events()
    held = [events.listening() for _ in range(MAX_WEB_LISTENERS)]
    for one in held:
        one.__enter__()
    with pytest.raises(UsageError), events.listening():
        pass
    held[0].__exit__(None, None, None)
    with events.listening():
        assert len(events) == MAX_WEB_LISTENERS


def test_the_last_sessions_are_kept_and_tries_in_vain_are_one() -> None:
    tally = Tally()
    for at in range(50):
        report = Report(round_trips=at)
        report.counters.received["reconcile"] = 1
        tally.note("a", of_report(report, at), report.counters)
    for at in range(50, 90):
        report = Report()
        tally.note("a", of_report(report, at, "Nobody answers."), report.counters)
    last = tally.last["a"]
    assert len(last) == WEB_SESSIONS
    assert [session.at for session in last] == [89, *range(49, 49 - WEB_SESSIONS + 1, -1)]
    assert tally.sessions["initiator", "failed"] == 40


def test_of_too_many_peers_the_sessions_of_those_are_kept_that_came_last() -> None:
    tally = Tally()
    tally.note("first", of_report(Report(), 0), Report().counters)
    for at in range(MAX_PEERS):
        tally.note(str(at), of_report(Report(), at), Report().counters)
    assert len(tally.last) == MAX_PEERS
    assert "first" not in tally.last
    assert str(MAX_PEERS - 1) in tally.last
