"""Homes between real processes: joining, refusing, moving while being killed, and what is told."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from bamboo_compat.homes.archive import About, write_archive
from bamboo_compat.homes.dangers import Act
from bamboo_compat.homes.ledger import Ledger, Place
from bamboo_compat.homes.migration import STEPS, Step
from setsync.model.keys import read_key_file, write_key_file
from tests.bamboo.histories import member
from tests.bamboo.homes.scenes import author, key_of
from tests.bamboo.logs import Author
from tests.bamboo.server.serving import entries_in
from tests.cli.running import validate
from tests.node.processes import Outcome, Process, command, contents, make_node, run


class Home(Process):
    """A `setsync serve` with its secure channel, on a port of its own choice."""

    def __init__(self, data: Path, *words: str) -> None:
        super().__init__("serve", "--data", data, "--listen", "127.0.0.1:0", *words)
        self.data = data
        try:
            self.url = str(self.wait_for_event("listening")["address"])
        except BaseException:
            self.__exit__()
            raise

    def stop(self) -> Outcome:
        """End it in order."""
        self.kill(signal.SIGTERM)
        return self.end()


@pytest.fixture
def a(tmp_path: Path) -> Iterator[Home]:
    """A home."""
    with Home(make_node(tmp_path / "a", 1)) as home:
        yield home


@pytest.fixture
def b(tmp_path: Path) -> Iterator[Home]:
    """Another."""
    with Home(make_node(tmp_path / "b", 2)) as home:
        yield home


@pytest.fixture
def me(tmp_path: Path) -> Path:
    """The directory of an author."""
    return make_node(tmp_path / "me", 3)


def told(schema: str, *words: str | Path) -> Any:
    """What a command tells as JSON, which is what docs/json says."""
    outcome = run(*words, "--json")
    assert outcome.code == 0, outcome.stderr
    validate(outcome.json, schema)
    return outcome.json


def code_of(home: Home, *words: str) -> str:
    """A fresh invite's code; only it may be shown."""
    done = subprocess.run(
        command("home", "invite", "create", "--data", home.data, "--json", *words),
        capture_output=True,
        check=True,
    )
    found = json.loads(done.stdout)
    validate(found, "home-invite-create")
    return str(found["code"])


def join(me: Path, home: Home, code: str) -> Outcome:
    """The command."""
    return run("home", "join", "--data", me, home.url, code, "--json")


def append(data: Path, key: Path, text: str, *words: str) -> Outcome:
    """The next entry of log 1024, on standard input."""
    with Process("bamboo", "append", key, "1024", "-", "--data", data, *words, stdin=True) as one:
        one.stdin.write(text.encode())
        return one.end()


def error_of(outcome: Outcome) -> str:
    """The code of the error that a command told."""
    return str(outcome.json["error"]["code"])


def test_an_author_joins_publishes_and_leaves(a: Home, me: Path) -> None:
    code = code_of(a, "--name", "anna")
    assert join(me, a, code).code == 0
    assert join(me, a, code).code == 0, "again does no harm"
    status = told("home-status", "home", "status", "--data", me)
    assert status["home"]["url"] == a.url
    assert status["warnings"] == []
    [client] = told("home-clients", "home", "clients", "--data", a.data)["clients"]
    assert (client["author"], client["state"], client["name"]) == (
        status["author"],
        "at home",
        "anna",
    )
    [invite] = told("home-invites", "home", "invite", "list", "--data", a.data)["invites"]
    assert (invite["state"], invite["uses"]) == ("used up", 0)
    assert append(me, me / "author.key", "one").code == 0
    assert run("sync", "--data", me, a.url).code == 0, "who joined is listed"
    assert len(contents(a.data)) == 3
    left = told("home-left", "home", "leave", "--data", me)
    assert len(left["left"]) == 1
    assert left["untold"] == []
    assert told("home-status", "home", "status", "--data", me)["home"] is None
    [client] = told("home-clients", "home", "clients", "--data", a.data)["clients"]
    assert client["state"] == "left"
    said = a.stop()
    assert said.code == 0
    assert '"state": "failed"' not in said.stderr, "visits about homes end in order"


def test_a_home_that_has_blocked_its_author_is_left_and_the_author_is_told(
    a: Home, me: Path
) -> None:
    assert join(me, a, code_of(a)).code == 0
    author = told("home-status", "home", "status", "--data", me)["author"]
    assert run("policy", "block", "author", author, "--data", a.data).code == 0
    left = told("home-left", "home", "leave", "--data", me)
    assert [one["url"] for one in left["left"]] == [a.url]
    [why] = left["untold"]
    assert why == "Its author is blocked."
    assert told("home-status", "home", "status", "--data", me)["home"] is None


def test_a_wrong_used_or_revoked_code_is_refused_and_nothing_was_signed(a: Home, me: Path) -> None:
    code = code_of(a)
    [invite] = told("home-invites", "home", "invite", "list", "--data", a.data)["invites"]
    wrong = join(me, a, "aaaa-" * 6 + "aa")
    assert (wrong.code, error_of(wrong)) == (3, "invite")
    assert "knows no such invite" in wrong.stderr
    revoked = run("home", "invite", "revoke", invite["id"], "--data", a.data, "--json")
    assert revoked.code == 0
    late = join(me, a, code)
    assert (late.code, error_of(late)) == (3, "invite")
    assert "taken back" in late.stderr
    assert contents(me) == set()
    assert contents(a.data) == set()


def test_a_node_that_is_not_the_home_refuses_and_says_where_home_is(
    a: Home, b: Home, me: Path
) -> None:
    assert join(me, a, code_of(a)).code == 0
    assert run("peers", "add", "--data", b.data, _key_of(me)).code == 0
    assert run("sync", "--data", me, b.url).code == 0
    refused = append(b.data, me / "author.key", "one", "--json")
    assert (refused.code, error_of(refused)) == (11, "not_the_home")
    assert a.url in refused.stderr
    wanted = append(b.data, me / "author.key", "one", "--yes")
    assert wanted.code == 0
    assert "Dangerous: " in wanted.stderr


def test_whoever_is_behind_its_own_head_at_home_refuses_to_append(
    a: Home, me: Path, tmp_path: Path
) -> None:
    """A directory that was put back from an older copy: the home has what it has forgotten."""
    assert join(me, a, code_of(a)).code == 0
    key = me / "author.key"
    assert append(me, key, "one").code == 0
    older = tmp_path / "older"
    shutil.copytree(me, older)
    assert append(me, key, "two").code == 0
    assert run("sync", "--data", me, a.url).code == 0
    refused = append(older, key, "another two", "--json")
    assert (refused.code, error_of(refused)) == (12, "copied_directory")
    unsure = run("home", "adopt", "--data", older, "--json")
    assert (unsure.code, error_of(unsure)) == (2, "not_confirmed")
    assert told("home-adopt", "home", "adopt", "--data", older, "--yes") == {"adopted": True}
    refused = append(older, key, "another two", "--json")
    assert (refused.code, error_of(refused)) == (13, "behind_head")
    assert "The home has entry 2 of log 1024" in refused.stderr
    assert run("sync", "--data", older, a.url).code == 0
    assert append(older, key, "three").code == 0, "once it has caught up"


def test_an_entry_that_the_power_kept_from_the_store_is_put_there_though_it_forks_the_log(
    me: Path,
) -> None:
    """It was signed, so the log has forked: that is told, and nothing more is signed."""
    with author(me, 3) as person:
        mine = Author(3)
        person.store.add_many([member(one) for one in mine.grow(3)])
        other = mine.copy()
        header, payload = mine.append(b"mine")
        Ledger(me, person.author, 1024).use(4, header, payload, mine.hashes[4])
        person.store.add_many([member(one) for one in other.grow(2, "other")])
    write_key_file(me / "three.key", key_of(3))
    refused = append(me, me / "three.key", "six", "--json")
    assert (refused.code, error_of(refused)) == (8, "log_forked")
    assert "signed last is in the store now" in refused.stderr
    assert (header, payload) in entries_in(me)
    assert Ledger(me, key_of(3).public, 1024).head() == Place(4, mine.hashes[4])


def test_a_move_that_is_killed_in_every_step_is_gone_on_with(a: Home, b: Home, me: Path) -> None:
    assert join(me, a, code_of(a)).code == 0
    for number in range(3):
        assert append(me, me / "author.key", f"{number}").code == 0
    code = code_of(b)
    words = ("home", "migrate", "--data", me, b.url, code)
    dry = told("home-migrate", *words, "--dry-run")
    assert dry["steps"] == [step.value for step in STEPS]
    reached = []
    for step in STEPS:
        with Process(*words) as process:
            with suppress(AssertionError):  # it may have been killed late, and be further now
                process.wait_for(f" {step.value}: ")
                process.kill()
                reached.append(step)
            process.end()
    assert Step.CHECK in reached
    assert run(*words).code == 0 or _home(me) == b.url
    assert _home(me) == b.url
    assert contents(me) <= contents(b.data)
    [client] = told("home-clients", "home", "clients", "--data", b.data)["clients"]
    assert client["state"] == "at home"
    [client] = told("home-clients", "home", "clients", "--data", a.data)["clients"]
    assert client["state"] == "left"
    [invite] = told("home-invites", "home", "invite", "list", "--data", b.data)["invites"]
    assert invite["uses"] == 0


def test_leaving_a_dead_home_is_dangerous_and_possible(a: Home, me: Path) -> None:
    assert join(me, a, code_of(a)).code == 0
    a.kill()
    a.end()
    refused = run("home", "leave", "--data", me, "--json")
    assert (refused.code, error_of(refused)) == (4, "unreachable")
    assert _home(me) == a.url
    unsure = run("home", "leave", "--data", me, "--without-server", "--json")
    assert (unsure.code, error_of(unsure)) == (2, "not_confirmed")
    assert _home(me) == a.url
    assert run("home", "leave", "--data", me, "--without-server", "--yes").code == 0
    assert _home(me) is None


def test_an_archive_moves_a_person_to_another_machine(a: Home, me: Path, tmp_path: Path) -> None:
    assert join(me, a, code_of(a)).code == 0
    assert append(me, me / "author.key", "one").code == 0
    file, new, key = tmp_path / "me.archive", make_node(tmp_path / "new", 9), tmp_path / "me.key"
    made = _with_passphrase("home", "export", "--data", me, file, "--with-key", "--json")
    validate(made, "home-archive")
    assert made["has_key"] is True
    assert made["home"] == a.url
    refused = run("home", "import", "--data", new, file, "--json")
    assert (refused.code, error_of(refused)) == (2, "not_confirmed")
    assert a.url in refused.stderr
    assert contents(new) == set()
    taken = _with_passphrase(
        "home", "import", "--data", new, file, "--key-file", key, "--yes", "--json"
    )
    validate(taken, "home-archive")
    assert taken["new"] == made["entries"]
    assert contents(new) == contents(me)
    assert key.read_bytes() == (me / "author.key").read_bytes()
    assert key.stat().st_mode & 0o077 == 0
    damaged = bytearray(file.read_bytes())
    damaged[300] ^= 1
    file.write_bytes(damaged)
    broken = run("home", "import", "--data", make_node(tmp_path / "x", 8), file, "--yes", "--json")
    assert (broken.code, error_of(broken)) == (1, "archive")
    assert contents(tmp_path / "x") == set()


def test_a_head_without_its_entry_is_taken_only_by_who_wants_that(me: Path, tmp_path: Path) -> None:
    """Whoever made the archive could stop the author's log for good."""
    file, key = tmp_path / "x.archive", me / "author.key"
    author_ = read_key_file(key).public
    with file.open("wb") as target:
        place = Place(2**32 - 1, b"\x00\x20" + bytes(32))
        write_archive(target, About(author_, 1), [(1024, place)], [])
    refused = run("home", "import", "--data", me, file, "--json")
    assert (refused.code, error_of(refused)) == (2, "not_confirmed")
    said = "entry 4294967295 of log 1024 was signed, and neither the archive nor this node has it"
    assert said in refused.stderr
    assert Act.IMPORT_HEADS.value.what in refused.stderr
    assert not (me / "ledger").exists()
    assert append(me, key, "one").code == 0
    assert run("home", "import", "--data", me, file, "--yes", "--json").code == 0
    stopped = append(me, key, "two", "--json")
    assert (stopped.code, error_of(stopped)) == (13, "behind_head")


def _with_passphrase(*words: str | Path) -> Any:
    done = subprocess.run(
        command(*words),
        capture_output=True,
        env=os.environ | {"SETSYNC_PASSPHRASE": "correct horse"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert b"correct horse" not in done.stdout + done.stderr
    return json.loads(done.stdout)


def _home(me: Path) -> str | None:
    home = told("home-status", "home", "status", "--data", me)["home"]
    return str(home["url"]) if home is not None else None


def _key_of(data: Path) -> str:
    found = run("status", "--data", data, "--json").json
    return str(found["node_id"])


def test_a_home_is_joined_over_http_and_its_key_is_pinned(tmp_path: Path, me: Path) -> None:
    with Home(make_node(tmp_path / "a", 1), "--web", "127.0.0.1:0") as home:
        url = _web_url(home)
        code = code_of(home)
        assert run("home", "join", "--data", me, f"http://{'ab' * 32}@{url}", code).code == 3
        joined = told("home-join", "home", "join", "--data", me, f"http://{url}", code)
        assert joined["server"] == _key_of(home.data)
        assert _home(me) == f"http://{url}"
        [client] = told("home-clients", "home", "clients", "--data", home.data)["clients"]
        assert client["state"] == "at home"
        left = told("home-left", "home", "leave", "--data", me)
        assert len(left["left"]) == 1
        [client] = told("home-clients", "home", "clients", "--data", home.data)["clients"]
        assert client["state"] == "left"


def test_an_invite_goes_over_http_to_this_machine_only(me: Path) -> None:
    for url in ("http://example.org", "ftp://127.0.0.1", "http://127.0.0.1/x", "http://a:b@[::1]"):
        refused = run("home", "join", "--data", me, url, "aaaa-" * 6 + "aa", "--json")
        assert (refused.code, error_of(refused)) == (2, "usage"), url


def test_who_is_blocked_is_not_answered_and_does_not_use_up_a_code(a: Home, me: Path) -> None:
    code = code_of(a)
    assert run("peers", "block", "--data", a.data, _key_of(me)).code == 0
    refused = join(me, a, code)
    assert (refused.code, error_of(refused)) == (4, "cut")
    assert run("peers", "remove", "--data", a.data, _key_of(me)).code == 0
    assert join(me, a, code).code == 0


def _web_url(home: Home) -> str:
    """HOST:PORT of the page."""
    word = '"event": "web_listening"'
    line = next((one for one in home.heard if word in one), None) or home.wait_for(word)
    address = str(json.loads(line)["address"])
    return address.removeprefix("http://").rstrip("/")
