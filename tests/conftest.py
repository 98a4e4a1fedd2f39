"""At the end of a run, no secret made in it was said anywhere: see `tests/secrets.py`."""

from __future__ import annotations

import logging
import signal
from collections.abc import Generator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from setsync.model.keys import SecretKey
from setsync.node import invites
from setsync.wire import messages as m
from tests.secrets import WATCH

# No test depends on how fast a machine is.
settings.register_profile("tests", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tests")


class _Listener(logging.Handler):
    """Hears every record of every logger."""

    def emit(self, record: logging.LogRecord) -> None:
        WATCH.hear(f"log of {record.name}", record.getMessage().encode("utf-8", "replace"))


def pytest_configure(config: pytest.Config) -> None:
    """Note every seed as its key is made, and every sentence that goes to a peer."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        # A shell's background job; and whatever it starts would ignore Ctrl-C as well.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    logging.getLogger().addHandler(_Listener())
    _note_result(SecretKey, "__init__", lambda key: WATCH.add(key.seed))
    _note_result(m.AbortMessage, "__init__", _hear_abort)
    digest_of = invites.digest_of

    def noted(code: bytes) -> bytes:
        WATCH.add(code)
        return digest_of(code)

    invites.digest_of = noted  # every code is looked up, and stored, by its digest


def _hear_abort(message: m.AbortMessage) -> None:
    WATCH.hear("ABORT to a peer", message.sentence.encode("utf-8", "replace"))


def _note_result(owner: type, name: str, note: Any) -> None:
    made = getattr(owner, name)

    def noted(self: Any, *arguments: Any, **named: Any) -> None:
        made(self, *arguments, **named)
        note(self)

    setattr(owner, name, noted)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """What a test that passed wrote to standard output and error."""
    report = yield
    if report.passed:
        for title, text in report.sections:
            WATCH.hear(f"{item.nodeid}, {title}", text.encode("utf-8", "replace"))
    return report


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Fail the run if anything was said that must not be."""
    leaks = WATCH.leaks() + session.config.stash.get(_OF_WORKERS, [])
    output = getattr(session.config, "workeroutput", None)
    if output is not None:  # a worker's exit status is nobody's; the run's is set by who started it
        output["leaks"] = leaks
    if leaks:
        session.exitstatus = max(int(exitstatus), int(pytest.ExitCode.TESTS_FAILED))
        session.config.stash[_LEAKS] = leaks


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """What a worker has heard, where several share the tests."""
    found = node.config.stash.setdefault(_OF_WORKERS, [])
    found += getattr(node, "workeroutput", {}).get("leaks", [])


_LEAKS = pytest.StashKey[list[str]]()
_OF_WORKERS = pytest.StashKey[list[str]]()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say where."""
    leaks = terminalreporter.config.stash.get(_LEAKS, [])
    if leaks:
        terminalreporter.section("secrets were said", sep="=", red=True)
        for leak in leaks:
            terminalreporter.line(leak)
