"""Every failure ends with its exit code, its words, and with --json its one object."""

from __future__ import annotations

import errno
import importlib
import json
import os
import pkgutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import click
import pytest

import setsync.cli
from setsync import errors
from setsync.cli import main as main_module
from setsync.cli.common import (
    failure_of,
    most_telling,
    print_columns,
    printable,
    report,
    wants_json,
)
from setsync.cli.main import COMMANDS, cli
from setsync.store.lmdb_store import Store
from tests.cli.running import Shell, validate

EXIT_CODES = {
    errors.SetsyncError: 1,
    errors.UsageError: 2,
    errors.InvalidNameError: 2,
    errors.PeerRefusedError: 3,
    errors.PeerVersionError: 3,
    errors.PeerError: 3,
    errors.PeerUnreachableError: 4,
    errors.PeerTimeoutError: 4,
    errors.PeerGoneError: 4,
    errors.DataDirectoryError: 5,
    errors.NewerFormatError: 5,
    errors.StoreLockedError: 5,
    errors.StoreFullError: 5,
    errors.DamagedStoreError: 6,
    errors.NoSuchEntryError: 10,
    errors.AmbiguousPrefixError: 10,
    errors.NoSuchCollectionError: 10,
    errors.PayloadTooLargeError: 1,
    errors.PayloadWithheldError: 1,
    errors.ExportFileError: 1,
    errors.KeyFileError: 1,
    errors.ListenError: 1,
}


@pytest.mark.parametrize(("kind", "code"), EXIT_CODES.items(), ids=str)
def test_the_table_of_exit_codes(kind: type[errors.SetsyncError], code: int) -> None:
    failure = failure_of(kind("It happened."))
    assert failure.exit_code == code
    assert failure.message == "It happened."
    assert failure.advice
    validate(failure.as_json(), "error")


# --- commands that fail -------------------------------------------------------------------


@pytest.mark.parametrize(
    "words", [["status"], ["ls"], ["put", "notes"], ["get", "00000000"], ["check"], ["key", "show"]]
)
def test_a_missing_and_a_foreign_directory_are_5(tmp_path: Path, words: list[str]) -> None:
    (tmp_path / "foreign").mkdir()
    for name, sentence in (("missing", "does not exist"), ("foreign", "is not a setsync data")):
        outcome = Shell(tmp_path / name).run(*words, "--json")
        assert outcome.code == 5
        assert outcome.json("error")["error"]["code"] == "data_directory"
        assert sentence in outcome.complaint
        assert "setsync init" in outcome.complaint
    assert list((tmp_path / "foreign").iterdir()) == []


def test_a_directory_of_a_newer_format_is_5(node: Shell) -> None:
    (node.data / "setsync.json").write_text('{"setsync": 99}')
    outcome = node.run("status", "--json")
    assert outcome.code == 5
    assert outcome.json("error")["error"]["code"] == "newer_format"


def test_a_marker_that_is_none_is_5(node: Shell) -> None:
    (node.data / "setsync.json").write_text("[]")
    assert node.run("status").code == 5


@pytest.mark.parametrize("value", ["", "0", "-1", "many", str(2**40)])
def test_a_setting_that_is_none_is_2(node: Shell, value: str) -> None:
    outcome = node.run("status", environment={"SETSYNC_MAX_PAYLOAD": value})
    assert outcome.code == 2
    assert "SETSYNC_MAX_PAYLOAD" in outcome.complaint


@pytest.mark.parametrize(
    "words",
    [["nonsense"], ["get"], ["get", "xyz"], ["ls", "--limit", "0"], ["--nonsense"], ["key"], []],
)
def test_bad_usage_is_2_and_says_where_help_is(node: Shell, words: list[str]) -> None:
    outcome = node.run(*words)
    assert outcome.code == 2
    assert outcome.text == ""
    assert "-h" in outcome.complaint
    if words:
        assert node.run(*words, "--json").json("error")["error"]["code"] == "usage"


@pytest.mark.parametrize("words", [["config"], ["key"], ["peers"], ["peers", "invite"], ["fork"]])
def test_a_group_without_a_command_shows_its_help_alone(node: Shell, words: list[str]) -> None:
    outcome = node.run(*words)
    assert outcome.code == 2
    assert outcome.text == ""
    assert outcome.complaint == node.ok(*words, "-h").text


def test_a_refusal_is_one_line(node: Shell) -> None:
    """Though click lists choices one a line where it may."""
    outcome = node.run("bamboo", "ingest", str(node.data / "setsync.json"), "--json")
    message = outcome.json("error")["error"]["message"]
    assert "rfc0001" in message
    assert "\n" not in message
    assert "\t" not in message
    assert "\\t" not in outcome.complaint


def test_advice_fits_what_happened(node: Shell, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter").touch()
    for words in (["init"], ["backup", str(tmp_path / "full")]):
        outcome = node.run(*words)
        assert outcome.code == 5
        assert "missing or empty" in outcome.complaint
        assert "setsync init" not in outcome.complaint
    node.ok("network", "new")
    again = node.run("network", "new").complaint
    assert "network leave" in again
    assert "key new" not in again
    odd = {"SETSYNC_MAX_PAYLOAD": "many"}
    assert "unset" in node.run("status", environment=odd).complaint
    told = node.run("doctor", "--offline", environment=odd).text
    assert "unset" in told
    assert "-h" not in told


def test_a_name_from_elsewhere_cannot_speak_to_the_terminal(node: Shell) -> None:
    outcome = node.run("ls", "\x1b[2J\x9b31m\u202e")
    assert outcome.code == 10
    assert outcome.complaint.replace("\n", "").isprintable()


# What a peer puts into an ABORT: a title, a screen to be cleared, a line of its own, C1 and bidi.
LIE = "\x1b]0;owned\x07\x1b[2J\nroot: all is well\r\u202e\x9b31m\u2028"


def test_what_a_peer_says_cannot_begin_a_line_nor_speak_to_the_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert printable("a\x1bb\nc") == "a\\x1bb\\nc"
    error = errors.PeerRefusedError(f"The other side says: {LIE}")
    assert report(error, as_json=False) == 3
    lines = capsys.readouterr().err.split("\n")
    assert all(line.isprintable() for line in lines)
    assert not [line for line in lines if line.startswith("root")]
    monkeypatch.setenv("SETSYNC_DEBUG", "1")
    report(error, as_json=False)
    assert capsys.readouterr().err.replace("\n", "").isprintable()


def test_what_a_peer_says_stays_in_its_row(capsys: pytest.CaptureFixture[str]) -> None:
    print_columns([("peer", LIE), ("result", "failed")])
    rows = capsys.readouterr().out.splitlines()
    assert [row.split()[0] for row in rows] == ["peer", "result"]
    assert all(row.isprintable() for row in rows)


def test_an_unforeseen_error_is_1_and_a_sentence(
    node: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr(Store, "open", broken)
    outcome = node.run("status", "--json")
    assert outcome.code == 1
    assert outcome.json("error")["error"]["code"] == "bug"
    assert "ZeroDivisionError" in outcome.complaint
    assert "Traceback" not in outcome.complaint
    loud = node.run("status", environment={"SETSYNC_DEBUG": "1"})
    assert "Traceback" in loud.complaint


def test_a_system_error_names_the_file(node: Shell) -> None:
    failure = failure_of(OSError(errno.EACCES, os.strerror(errno.EACCES), "/some/file"))
    assert failure.exit_code == 1
    assert failure.message == "/some/file: Permission denied."


def test_json_is_recognised_in_what_cannot_be_parsed() -> None:
    assert wants_json(["nonsense", "--json"])
    assert not wants_json(["put", "notes", "--", "--json"])


# --- groups of exceptions -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("group", "told"),
    [
        ([errors.PeerGoneError("cut"), errors.StoreFullError("full")], errors.StoreFullError),
        ([errors.PeerGoneError("cut"), errors.PeerError("odd")], errors.PeerError),
        ([errors.PeerGoneError("cut"), ZeroDivisionError()], ZeroDivisionError),
        ([errors.PeerError("odd"), KeyboardInterrupt()], KeyboardInterrupt),
    ],
)
def test_of_many_errors_the_cause_is_told(
    group: list[BaseException], told: type[BaseException]
) -> None:
    for order in (group, group[::-1]):
        nested = BaseExceptionGroup("outer", [BaseExceptionGroup("inner", order)])
        assert type(most_telling(nested)) is told


def test_an_interruption_is_130_and_cancelled(capsys: pytest.CaptureFixture[str]) -> None:
    assert report(KeyboardInterrupt(), as_json=True) == 130
    found = json.loads(capsys.readouterr().out)
    validate(found, "error")
    assert found["state"] == "cancelled"


# --- as real processes --------------------------------------------------------------------


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "setsync", *words]


def test_what_an_interrupted_put_printed_is_there(
    node: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SETSYNC_DATA", str(node.data))
    lines = b"".join(b"%d\n" % number for number in range(5000))
    with subprocess.Popen(
        command("put", "notes", "--lines"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(lines)
        child.stdin.flush()
        first = child.stdout.readline()
        child.send_signal(signal.SIGINT)
        printed = [first, *child.stdout.read().splitlines(keepends=True)]
        assert child.wait() == 130
    whole = {line.decode().strip() for line in printed if line.endswith(b"\n")}
    stored = set(node.ok("ls", "notes", "--ids").lines)
    assert whole <= stored
    assert len(stored) == 4096
    assert node.run("check").code == 0


def test_an_import_from_a_pipe_that_stands_still_can_be_interrupted(
    node: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SETSYNC_DATA", str(node.data))
    with subprocess.Popen(
        command("import", "-", "--progress", "json"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as child:
        assert child.stderr is not None
        assert b"importing" in child.stderr.readline()
        child.send_signal(signal.SIGINT)
        assert child.wait(60) == 130


def test_a_reader_who_leaves_is_no_news(node: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SETSYNC_DATA", str(node.data))
    node.put("notes", *(b"%d" % number for number in range(3000)))
    with subprocess.Popen(
        command("ls", "notes", "--ids"), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        child.stdout.readline()
        child.stdout.close()
        assert child.stderr.read() == b""
        assert child.wait() == 1


def test_a_put_whose_reader_leaves_says_what_has_become_of_its_lines(
    node: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SETSYNC_DATA", str(node.data))
    (node.data / "lines").write_bytes(b"".join(b"%d\n" % number for number in range(20_000)))
    with subprocess.Popen(
        command("put", "notes", "--lines", str(node.data / "lines"), "--progress", "none"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        child.stdout.close()
        _, complaint = child.communicate()
        assert child.returncode == 1
    assert b"what was committed is kept" in complaint
    kept = len(node.ok("ls", "notes", "--ids").lines)
    assert 0 < kept < 20_000


def test_a_full_disk_behind_standard_output_is_said(node: Shell) -> None:
    if not Path("/dev/full").exists():
        return
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            command("status"),
            env=os.environ | {"SETSYNC_DATA": str(node.data)},
            stdout=full,
            stderr=subprocess.PIPE,
            check=False,
        )
    assert done.returncode == 1
    assert b"No space left" in done.stderr


# --- help ---------------------------------------------------------------------------------


def _all_commands() -> Iterator[tuple[list[str], click.Command]]:
    for name, lazy in COMMANDS.items():
        command = lazy.load()
        yield [name], command
        if isinstance(command, click.Group):
            for inner, subcommand in command.commands.items():
                yield [name, inner], subcommand


def test_every_command_has_help_with_an_example_under_both_names(node: Shell) -> None:
    for words, _ in _all_commands():
        text = node.ok(*words, "-h").text
        assert "Example" in text, words
        assert node.ok(*words, "--help").text == text


def test_every_command_takes_data_and_json() -> None:
    for words, found in _all_commands():
        if not isinstance(found, click.Group):
            options = {option for parameter in found.params for option in parameter.opts}
            assert {"--data", "--json"} <= options, words


def test_the_help_lists_the_main_job_first_and_every_module_has_its_line(node: Shell) -> None:
    text = node.ok("-h").text
    listed = [line.split()[0] for line in text.partition("Commands:")[2].splitlines() if line]
    assert listed[: len(COMMANDS)] == list(COMMANDS)
    assert listed[0] == "sync"
    homes = {lazy.target.partition(":")[0] for lazy in COMMANDS.values()}
    for module in pkgutil.iter_modules(setsync.cli.__path__, "setsync.cli."):
        loaded = importlib.import_module(module.name)
        if any(isinstance(value, click.Command) for value in vars(loaded).values()):
            assert module.name in homes | {main_module.__name__}


def test_a_bare_setsync_shows_the_help_and_is_2(node: Shell) -> None:
    outcome = node.run()
    assert outcome.code == 2
    assert outcome.complaint == node.ok("-h").text


# --- guests -------------------------------------------------------------------------------


@click.command()
def hello() -> None:
    """Say hello, as a guest."""
    click.echo("hello")


def test_other_packages_bring_commands_and_a_broken_one_harms_nobody(
    node: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    guests = {
        "hello": EntryPoint("hello", f"{__name__}:hello", "setsync.commands"),
        "broken": EntryPoint("broken", "setsync.nowhere:x", "setsync.commands"),
        "status": EntryPoint("status", f"{__name__}:hello", "setsync.commands"),
    }
    monkeypatch.setattr(main_module, "_guests", lambda: guests)
    assert node.ok("hello").text == "hello\n"
    text = node.ok("-h").text
    assert "Say hello, as a guest." in text
    assert "cannot be loaded" in text
    assert node.ok("status").text != "hello\n"
    assert node.run("broken").code == 1


def test_the_group_is_what_entry_points_call() -> None:
    assert isinstance(cli, click.Group)
    assert main_module.main(["--version"]) == 0
