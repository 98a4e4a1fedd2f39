"""Running commands in this process, as a shell would see them.

Every run is searched for the secrets of the directory it used: no test may see one.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema

from setsync.cli.main import main
from tests.secrets import WATCH

SCHEMAS = Path(__file__).parents[2] / "docs" / "json"


@dataclass(frozen=True)
class Outcome:
    """What a command left behind."""

    code: int
    raw: bytes
    complaint: str

    @property
    def text(self) -> str:
        """Standard output as text."""
        return self.raw.decode()

    @property
    def lines(self) -> list[str]:
        """Standard output, line by line."""
        return self.text.splitlines()

    def json(self, schema: str) -> Any:
        """The one object on standard output, valid by docs/json/SCHEMA.json."""
        assert len(self.lines) == 1, self.text
        found = json.loads(self.text)
        validate(found, schema)
        return found


def validate(found: object, schema: str) -> None:
    """Fails unless `found` is what docs/json says."""
    wanted = json.loads((SCHEMAS / f"{schema}.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator(wanted).validate(found)


@dataclass(frozen=True)
class Shell:
    """A data directory and the commands run on it."""

    data: Path

    def run(
        self,
        *words: str,
        stdin: bytes = b"",
        environment: Mapping[str, str] | None = None,
        may_show_secrets: bool = False,
    ) -> Outcome:
        """Run `setsync WORDS` with SETSYNC_DATA set to the directory."""
        variables = {"SETSYNC_DATA": str(self.data), **(environment or {})}
        with _environment(variables), _streams(stdin) as (out, err):
            code = main(words)
            sys.stdout.flush()
            sys.stderr.flush()
        outcome = Outcome(code, out.getvalue(), err.getvalue().decode())
        WATCH.hear(f"stderr of setsync {words[:1]}", err.getvalue())
        if not may_show_secrets:
            if "invite" not in words[:1]:  # it is there to show a code
                WATCH.hear(f"stdout of setsync {words[:1]}", outcome.raw)
            for secret in self.secrets():
                assert secret.encode() not in outcome.raw.lower()
                assert secret not in outcome.complaint.lower()
        return outcome

    def ok(self, *words: str, stdin: bytes = b"") -> Outcome:
        """Run a command that must end well."""
        outcome = self.run(*words, stdin=stdin)
        assert outcome.code == 0, outcome.complaint
        return outcome

    def put(self, collection: str, *payloads: bytes, timestamp: int = 1) -> list[str]:
        """Entries of one line each; their ids, in order."""
        stdin = b"".join(payload + b"\n" for payload in payloads)
        words = ("put", collection, "--lines", "--timestamp", str(timestamp))
        return self.ok(*words, stdin=stdin).lines

    def digests(self) -> dict[str, str]:
        """The root of every collection."""
        found = self.ok("status", "--json").json("status")["collections"]
        return {name: summary["digest"] for name, summary in found.items()}

    def secrets(self) -> list[str]:
        """The seeds in the key files, in hex."""
        return [path.read_text().split()[1] for path in self.data.glob("*.key")]


@contextlib.contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextlib.contextmanager
def _streams(stdin: bytes) -> Iterator[tuple[io.BytesIO, io.BytesIO]]:
    out, err = io.BytesIO(), io.BytesIO()
    before = sys.stdin, sys.stdout, sys.stderr
    sys.stdin = io.TextIOWrapper(io.BytesIO(stdin), "utf-8")
    sys.stdout = io.TextIOWrapper(out, "utf-8")
    sys.stderr = io.TextIOWrapper(err, "utf-8")
    try:
        yield out, err
    finally:
        # Detached, or the wrappers would close what is still to be read.
        sys.stdout.detach()
        sys.stderr.detach()
        sys.stdin, sys.stdout, sys.stderr = before
