"""Settings come from flags, the environment and a file, in this order, and SIGHUP reads the file
anew."""

from __future__ import annotations

import json
import os
import pty
import shlex
import signal
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

import bamboo_compat.cli.settings as guest
from bamboo_compat.core.profiles import PROFILES
from bamboo_compat.web import graphql_access
from setsync.cli import logging
from setsync.cli.config import toml_line
from setsync.cli.serve import serve
from setsync.cli.settings_options import flags_of, option_of
from setsync.cli.settings_page import page
from setsync.errors import SetsyncError, SettingsFileError, UsageError
from setsync.limits import MAX_PATTERNS, MAX_SETTINGS_FILE
from setsync.node.access import Mode
from setsync.node.settings import (
    FILE,
    SETTINGS,
    Kind,
    Origin,
    Plain,
    Setting,
    all_settings,
    read_file,
    settle,
)
from tests.cli.running import Shell
from tests.node.processes import PATIENCE, Process, Serving, command, contents, make_node, run

ROOT = Path(__file__).parents[2]
BY_NAME = {setting.name: setting for setting in all_settings()}


def write(directory: Path, text: str) -> Path:
    """The directory, with these settings in its file."""
    directory.mkdir(exist_ok=True)
    (directory / FILE).write_text(text, encoding="utf-8")
    return directory


# --- the table ----------------------------------------------------------------------------


def test_the_page_of_settings_is_the_table() -> None:
    """`python -m setsync.cli.settings_page > docs/settings.md` writes it anew."""
    assert (ROOT / "docs" / "settings.md").read_text(encoding="utf-8") == page(all_settings())


def test_names_flags_and_variables_are_each_used_once() -> None:
    for words in (
        [one.name for one in BY_NAME.values()],
        [one.variable for one in BY_NAME.values()],
        [one.flag for one in BY_NAME.values() if one.flag is not None],
    ):
        assert len(set(words)) == len(words)
    assert len(BY_NAME) == len(SETTINGS) + len(guest.SETTINGS)


def test_choices_are_those_of_what_they_choose() -> None:
    choices = {name: set(one.choices) for name, one in BY_NAME.items() if one.choices}
    assert choices == {
        "access": {mode.value for mode in Mode},
        "log": set(logging.CHOICES),
        "log-heights-profile": set(PROFILES),
        "graphql": {mode.value for mode in graphql_access.Mode},
    }


@pytest.mark.parametrize("setting", BY_NAME.values(), ids=lambda one: one.name)
def test_every_default_is_a_value_that_the_file_may_have_too(
    setting: Setting, tmp_path: Path
) -> None:
    line = toml_line(setting.name, setting.default)
    if setting.default is not None:
        assert read_file(write(tmp_path / "d", line)) == {setting.name: setting.default}
    assert setting.sentence.endswith(".")
    assert setting.empty or setting.default not in (None, ())


def test_every_flag_of_serve_that_is_a_setting_is_made_from_the_table() -> None:
    found = {flag for param in serve.get_params(click.Context(serve)) for flag in param.opts}
    assert {one.flag for one in BY_NAME.values() if one.flag} <= found


# --- which source has the last word -------------------------------------------------------

_WORDS = st.text(st.characters(exclude_categories=["C"]), min_size=1, max_size=20)
_PATTERN = st.lists(st.sampled_from(["notes", "*", "**", "ä b"]), min_size=1, max_size=3).map(
    "/".join
)


def values_of(setting: Setting) -> st.SearchStrategy[Plain]:
    """Good values of a setting that are not 'nothing'."""
    found: dict[Kind, st.SearchStrategy[Any]] = {
        Kind.TEXT: _WORDS,
        Kind.PATH: _WORDS.map(lambda word: "/" + word),
        Kind.ADDRESS: st.integers(0, 65_535).map(lambda port: f"127.0.0.1:{port}"),
        Kind.SWITCH: st.booleans(),
        Kind.BYTES: st.integers(setting.least, max(setting.most, setting.least)),
        Kind.COUNT: st.integers(setting.least, max(setting.most, setting.least)),
        Kind.CHOICE: st.sampled_from(setting.choices or ("",)),
        Kind.TEXTS: st.lists(_WORDS, min_size=1, max_size=3).map(tuple),
        Kind.PATTERNS: st.lists(_PATTERN, min_size=1, max_size=3).map(tuple),
    }
    return found[setting.kind]


def in_environment(value: Plain) -> str:
    """A value as an environment variable says it."""
    if isinstance(value, tuple):
        return shlex.join(value)
    return str(value).lower() if isinstance(value, bool) else str(value)


@st.composite
def said(draw: st.DrawFn) -> dict[Origin, dict[str, Plain]]:
    """What each of the three sources says, of any settings."""
    return {
        origin: {
            setting.name: draw(values_of(setting))
            for setting in BY_NAME.values()
            if draw(st.booleans()) and (origin is not Origin.FLAG or setting.flag is not None)
        }
        for origin in (Origin.FLAG, Origin.ENVIRONMENT, Origin.FILE)
    }


@given(said())
def test_a_flag_is_stronger_than_the_environment_and_that_than_the_file(
    said: Mapping[Origin, Mapping[str, Plain]],
) -> None:
    environment = {
        BY_NAME[name].variable: in_environment(value)
        for name, value in said[Origin.ENVIRONMENT].items()
    }
    settled = settle(
        list(BY_NAME.values()),
        flags=said[Origin.FLAG],
        environment=environment | {"PATH": "/bin"},
        file=said[Origin.FILE],
    )
    for name, setting in BY_NAME.items():
        strongest = next((origin for origin in said if name in said[origin]), Origin.DEFAULT)
        wanted = said[strongest][name] if strongest in said else setting.default
        assert (settled[name].value, settled[name].origin) == (wanted, strongest)


@given(said())
def test_what_config_show_prints_is_a_file_that_says_the_same(
    said: Mapping[Origin, Mapping[str, Plain]],
) -> None:
    values = said[Origin.FILE]
    found = tomllib.loads("\n".join(toml_line(name, value) for name, value in values.items()))
    assert {name: BY_NAME[name].from_file(value) for name, value in found.items()} == values


@given(said())
def test_a_flag_on_the_command_line_is_the_value_that_was_typed(
    said: Mapping[Origin, Mapping[str, Plain]],
) -> None:
    wanted = said[Origin.FLAG]
    words: list[str] = []
    for name, value in wanted.items():
        setting = BY_NAME[name]
        assert setting.flag is not None
        if isinstance(value, bool):
            words.append(setting.flag if value else f"--no-{setting.flag[2:]}")
        else:
            for one in value if isinstance(value, tuple) else (value,):
                words.append(f"{setting.flag}={one}")
    options = [option_of(one) for one in BY_NAME.values() if one.flag is not None]
    context = click.Command("serve", params=list(options)).make_context("serve", words)
    # A path is one however many slashes it is written with.
    paths = ("web-key", "web-certificate")
    same = {name: str(Path(str(wanted[name]))) for name in paths if wanted.get(name) is not None}
    assert flags_of(BY_NAME.values(), context.params) == {**wanted, **same}


def test_nothing_in_the_environment_or_the_file_takes_away_what_may_be_absent(
    tmp_path: Path,
) -> None:
    file = read_file(write(tmp_path / "d", 'web = ""\non-entry = "cat"\n'))
    settled = settle(SETTINGS, flags={}, environment={"SETSYNC_ON_ENTRY": ""}, file=file)
    assert (settled["web"].value, settled["web"].origin) == (None, Origin.FILE)
    assert (settled["on-entry"].value, settled["on-entry"].origin) == (None, Origin.ENVIRONMENT)


def test_a_path_in_the_file_is_looked_for_from_the_directory_on(tmp_path: Path) -> None:
    directory = write(tmp_path / "d", 'web-key = "tls/key.pem"\nweb-certificate = "/etc/c.pem"\n')
    assert read_file(directory) == {
        "web-key": str(directory / "tls/key.pem"),
        "web-certificate": "/etc/c.pem",
    }


# --- what is refused ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("listn = 'x'", "'listn'; 'listen' may be meant"),
        ("max_payload = 1", "'max_payload'; 'max-payload' may be meant"),
        ("interest = ['a']", "'interests' may be meant"),
        ("log-height = ''", "'log-heights' may be meant"),
        ("zzz = 1", "there is no setting 'zzz'."),
        ("[listen]\nhost = 'x'", "listen is HOST:PORT, not {'host': 'x'}"),
        ("listen = ''", "is not HOST:PORT"),
        ("listen = 7717", "listen is HOST:PORT, not 7717"),
        ("web = 'nowhere'", "'nowhere' is not HOST:PORT"),
        ("access = 'all'", "access is one of open, listed, invited, not 'all'"),
        ("discover = 1", "discover is true or false, not 1"),
        ("discover = 'true'", "discover is true or false"),
        ("max-payload = true", "max-payload is a number of bytes"),
        ("max-payload = 0", "from 1 to 16777216, not 0"),
        ("max-payload = 1.5", "max-payload is a number"),
        ("max-connections = 10_001", "max-connections is a number from 1 to 10000, not 10001"),
        ("peers = 'anna'", "peers is a list of texts"),
        ("peers = [1]", "peers is a list of texts"),
        ("interests = ['a//b']", "interests: "),
        (f"interests = {['a'] * (MAX_PATTERNS + 1)}", "At most 64 patterns"),
        (f"interests = {['/'.join('a' * 129)] * 8}", "1,024 segments in all"),
        ("listen = ", "is not TOML"),
        ("listen = 'a'\nlisten = 'b'", "is not TOML"),
        ("#" * (MAX_SETTINGS_FILE + 1), "more than 65,536 bytes"),
        ("a" + ".a" * 9_000 + " = 1", "setting 'a'"),
        ("listen = " + "[" * 9_000, "is not TOML"),
    ],
    ids=lambda text: text[:30],
)
def test_a_file_with_a_fault_is_refused_whole_and_says_where(
    tmp_path: Path, text: str, complaint: str
) -> None:
    with pytest.raises(SettingsFileError) as refused:
        read_file(write(tmp_path / "d", text))
    assert complaint in refused.value.message
    assert str(tmp_path / "d" / FILE) in refused.value.message


@given(st.binary(max_size=200))
def test_no_bytes_do_anything_but_be_settings_or_be_refused(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    directory = tmp_path_factory.getbasetemp() / "any"
    directory.mkdir(exist_ok=True)
    (directory / FILE).write_bytes(content)
    try:
        found = read_file(directory)
    except SettingsFileError:
        return
    assert found.keys() <= BY_NAME.keys()


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("SETSYNC_LISTEN", ""),
        ("SETSYNC_DISCOVER", "yes"),
        ("SETSYNC_ACCESS", "OPEN"),
        ("SETSYNC_PEERS", "'half"),
        ("SETSYNC_INTERESTS", "a//b"),
        ("SETSYNC_MAX_PAYLOAD", "²"),
        ("SETSYNC_ON_ENTRY", "\udcff"),
    ],
)
def test_a_variable_that_says_nothing_is_refused_by_its_name(variable: str, text: str) -> None:
    with pytest.raises(SetsyncError) as refused:
        settle(SETTINGS, flags={}, environment={variable: text}, file={})
    assert variable in refused.value.message
    assert isinstance(refused.value, UsageError)


def test_a_file_that_cannot_be_read_is_an_error_of_ours(tmp_path: Path) -> None:
    (tmp_path / FILE).mkdir()
    with pytest.raises(SettingsFileError, match="cannot be read"):
        read_file(tmp_path)


# --- commands -----------------------------------------------------------------------------


def test_every_command_that_needs_a_setting_reads_the_file(node: Shell) -> None:
    write(node.data, "max-payload = 3")
    refused = node.run("put", "notes", "--json", stdin=b"four")
    assert (refused.code, refused.json("error")["error"]["code"]) == (1, "payload_too_large")
    larger = node.run("put", "notes", stdin=b"four", environment={"SETSYNC_MAX_PAYLOAD": "4"})
    assert larger.code == 0


def test_a_fault_in_the_file_stops_every_command_and_says_what_is_meant(node: Shell) -> None:
    write(node.data, "max-paylod = 3")
    outcome = node.run("status", "--json")
    assert (outcome.code, outcome.json("error")["error"]["code"]) == (1, "settings_file")
    assert "'max-payload' may be meant" in outcome.complaint


def test_show_says_what_holds_and_where_it_comes_from(node: Shell) -> None:
    write(node.data, 'access = "open"\nlisten = "127.0.0.1:1"\n')
    environment = {"SETSYNC_LISTEN": "127.0.0.1:2"}
    shown = node.run("config", "show", "--origin", environment=environment).lines
    assert any(
        line.startswith('listen = "127.0.0.1:2"') and line.endswith("environment: SETSYNC_LISTEN")
        for line in shown
    )
    assert any(line.startswith('access = "open"') and str(node.data) in line for line in shown)
    found = node.run("config", "show", "--json", environment=environment).json("config")
    assert found["settings"].keys() == BY_NAME.keys()
    assert found["settings"]["access"] == {
        "value": "open",
        "origin": "file",
        "where": str(node.data / FILE),
    }
    assert found["settings"]["log"] == {"value": "auto", "origin": "default", "where": ""}


def test_a_copy_of_the_directory_has_its_settings_too(node: Shell, tmp_path: Path) -> None:
    write(node.data, "# mine\naccess = 'open'\n")
    node.ok("backup", str(tmp_path / "copy"))
    assert (tmp_path / "copy" / FILE).read_text() == "# mine\naccess = 'open'\n"


def test_status_loads_no_toml_and_no_guest_for_a_directory_without_settings(node: Shell) -> None:
    script = (
        "import sys; from setsync.cli.main import main;"
        f"main(['status', '--json', '--data', {str(node.data)!r}]);"
        "print([name for name in ('tomllib', 'difflib', 'shlex', 'bamboo_compat', "
        "'importlib.metadata') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.stdout.splitlines()[-1] == "[]"


# --- serve, and SIGHUP --------------------------------------------------------------------


class FromFile(Process):
    """A `serve` that is told nothing but its directory."""

    def __init__(self, data: Path, *words: str) -> None:
        super().__init__("serve", "--data", data, "--plain", *words)
        try:
            self.address = str(self.wait_for_event("listening")["address"])
        except BaseException:
            self.__exit__()
            raise

    def reload(self) -> dict[str, Any]:
        """What it says to a SIGHUP."""
        self.kill(signal.SIGHUP)
        line = self.wait_for('"event": "reload')
        event: dict[str, Any] = json.loads(line)
        return event


@pytest.fixture
def here(tmp_path: Path) -> Path:
    return write(make_node(tmp_path / "here", seed=1), 'listen = "127.0.0.1:0"\nlog = "json"\n')


@pytest.fixture
def there(tmp_path: Path) -> Path:
    data = make_node(tmp_path / "there", seed=2)
    file = tmp_path / "file"
    file.write_bytes(b"news")
    assert run("put", "notes", file, "--data", data).code == 0
    assert run("put", "letters", file, "--data", data).code == 0
    return data


def test_serve_takes_from_the_file_what_no_flag_says(here: Path, there: Path) -> None:
    with Serving(there) as other:
        write(here, f'listen = "127.0.0.1:0"\ninterests = ["notes"]\npeers = ["{other.address}"]')
        with FromFile(here) as node:
            node.wait_for_event("new_entries")
            node.kill(signal.SIGTERM)
            assert node.end().code == 0
    assert {name for name, _ in contents(here)} == {"notes"}


def test_a_changed_file_adds_and_removes_a_peer_of_a_running_node(here: Path, there: Path) -> None:
    with Serving(there) as other, FromFile(here) as node:
        before = (here / FILE).read_text()
        write(here, before + f'peers = ["{other.address}"]\n')
        told = node.reload()
        assert (told["event"], told["changed"], told["needs_restart"]) == (
            "reloaded",
            ["peers"],
            [],
        )
        assert (told["peers_added"], told["peers_removed"]) == ([other.address], [])
        node.wait_for_event("peer_state", address=other.address, state="live")
        write(here, before)
        told = node.reload()
        assert (told["peers_added"], told["peers_removed"]) == ([], [other.address])
        other.wait_for_event("session_ended")
        node.kill(signal.SIGTERM)
        assert node.end().code == 0
    assert contents(here) == contents(there)


def test_changed_interests_and_limits_hold_for_the_next_session(here: Path, there: Path) -> None:
    before = (here / FILE).read_text()
    with FromFile(here) as node:
        write(here, before + 'interests = ["notes"]\nmax-payload = 3\n')
        assert node.reload()["changed"] == ["interests", "max-payload"]
        assert run("sync", node.address, "--plain", "--data", there).code == 0
        node.wait_for_event("session_ended", state="done")
        node.kill(signal.SIGTERM)
        assert node.end().code == 0
    assert {name for name, _ in contents(here)} == {"notes"}
    missing = json.loads(run("payload", "missing", "--data", here, "--json").stdout)
    assert "notes" in json.dumps(missing)


def test_how_many_connections_there_are_may_change_while_the_node_runs(
    here: Path, there: Path
) -> None:
    before = (here / FILE).read_text()
    with FromFile(here) as node:
        write(here, before + "max-connections = 1\n")
        assert node.reload()["changed"] == ["max-connections"]
        with Serving(there, "--peer", node.address) as staying:
            staying.wait_for_event("peer_state", state="live")
            refused = run("sync", node.address, "--plain", "--data", there)
            assert "all 1 connections" in refused.stderr
            write(here, before)
            assert node.reload()["changed"] == ["max-connections"]
            assert run("sync", node.address, "--plain", "--data", there).code == 0


def test_a_fault_in_a_changed_file_changes_nothing(here: Path, there: Path) -> None:
    before = (here / FILE).read_text()
    with Serving(there) as other, FromFile(here) as node:
        write(here, before + f'peers = ["{other.address}"]\ninterests = ["a//b"]\n')
        told = node.reload()
        assert (told["event"], told["level"]) == ("reload_failed", "warning")
        assert "interests" in told["reason"]
        write(here, before)
        told = node.reload()
        assert (told["event"], told["changed"], told["peers_removed"]) == ("reloaded", [], [])


def test_what_needs_a_restart_is_said_and_what_a_flag_says_stays(here: Path) -> None:
    before = (here / FILE).read_text()
    with FromFile(here, "--interest", "notes") as node:
        write(here, before + 'access = "open"\ninterests = ["letters"]\n')
        for _ in range(2):
            told = node.reload()
            assert (told["changed"], told["needs_restart"]) == ([], ["access"])


def test_a_peer_that_has_moved_is_dialled_at_its_new_address(here: Path, tmp_path: Path) -> None:
    """Its name stands in the file; where it is, in the list of peers."""
    key = "ab" * 32
    add = ("peers", "add", "--name", "anna", "--data", here)
    assert run(*add, f"setsync://{key}@127.0.0.1:1").code == 0
    write(here, 'listen = "127.0.0.1:0"\npeers = ["anna"]\n')
    with Process("serve", "--data", here) as node:
        node.wait_for_event("listening")
        assert run(*add, f"setsync://{key}@127.0.0.1:2").code == 0
        node.kill(signal.SIGHUP)
        told = node.wait_for_event("reloaded")
        assert told["changed"] == []
        assert (told["peers_added"], told["peers_removed"]) == (["127.0.0.1:2"], ["127.0.0.1:1"])


def test_a_node_whose_terminal_is_closed_ends(here: Path) -> None:
    ours, theirs = pty.openpty()

    def own_terminal() -> None:
        os.setsid()
        # To open one is to make it the terminal of a session that has none.
        os.close(os.open(os.ttyname(theirs), os.O_RDWR))

    with subprocess.Popen(
        command("serve", "--data", here, "--plain", "--log", "json"),
        stdin=theirs,
        stdout=theirs,
        stderr=subprocess.PIPE,
        preexec_fn=own_terminal,  # noqa: PLW1509
    ) as process:
        try:
            os.close(theirs)
            assert process.stderr is not None
            assert b"listening" in process.stderr.readline()
            os.close(ours)
            assert process.wait(PATIENCE) == 0
            assert b'"stopped"' in process.stderr.read()
        finally:
            process.kill()


def test_the_options_of_guests_are_settings_too(here: Path) -> None:
    write(here, 'listen = "127.0.0.1:0"\nlog-heights = "127.0.0.1:0"\n')
    with Process("serve", "--data", here, "--plain") as node:
        node.wait_for_event("log_heights_listening")
