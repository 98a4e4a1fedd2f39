"""The house's arrows: who may import whom, and who may touch the world.

The tables below are docs/architecture.md as data. The checker reads imports with `ast`, also
those inside functions and under TYPE_CHECKING; a planted violation shows that it sees them.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "setsync"

# A room is a folder or a module directly under setsync. What it may import of setsync; a
# module's own room is always allowed.
ROOMS: dict[str, set[str]] = {
    "errors": set(),
    "limits": set(),
    "model": {"errors", "limits"},
    "reconcile": {"errors", "limits", "model"},
    "wire": {"errors", "limits", "model"},
    "session": {"errors", "limits", "model", "wire"},
    "store": {
        "errors",
        "limits",
        "model",
        "reconcile.view",
        "reconcile.digest",
        "reconcile.sketch",
    },
    "node": {"errors", "limits", "model", "reconcile", "wire", "session", "store"},
    "bench": {"errors", "limits", "model", "session", "store", "node"},
    "cli": {
        "errors",
        "limits",
        "model",
        "reconcile.digest",
        "store",
        "node",
        "bench",
        "web",
    },
    "web": {"errors", "limits", "model", "session.session", "store", "node"},
    # The library's front door: names of what it opens, and the command behind `python -m`.
    "__init__": {"model", "store", "node"},
    "__main__": {"cli"},
}

# Libraries of which only some may know.
ONLY: dict[str, tuple[str, ...]] = {
    "trio": ("node/", "bench/", "cli/", "web/"),
    "lmdb": ("store/environment.py",),
    "nacl": ("model/keys.py",),
    "bamboo_compat": (),
    "asyncio": (),
    "socket": ("node/", "bench/"),
    "ssl": ("node/channel.py", "web/listening.py", "cli/web_serving.py"),
    "click": ("cli/",),
    "rich": ("cli/",),
    "structlog": ("cli/logging.py",),
    "zeroconf": ("node/discovery.py",),
    "ifaddr": ("node/discovery.py",),
    "starlette": ("web/",),
    "jinja2": ("web/templates.py",),
    "hypercorn": ("web/listening.py",),
    "prometheus_client": ("web/figures.py",),
    "cryptography": ("node/identity.py", "node/channel.py"),
}

# Time and chance come in as arguments: these rooms import none of it.
PURE = ("errors.py", "limits.py", "model/", "reconcile/", "wire/", "session/", "store/")
WORLD = {"time", "datetime", "random", "secrets", "uuid", "tempfile", "numpy.random"}
EXCEPTIONS: dict[str, set[str]] = {
    "store/environment.py": {"time"},  # to tell what lasts too long; the clock is an argument
    "store/turns.py": {"time"},  # the pauses of who waits for another process
    "store/presence.py": {"secrets"},  # a name of its own for each process's file
    "store/check/__init__.py": {"random"},  # a sample, drawn with the generator it is given
    "store/check/log.py": {"random"},
}
# Of `os` the pure rooms may use files, never chance or the clock.
WORLDLY_OS = {"urandom", "getrandom", "times", "environ", "getenv"}
FILES = ("model/keys.py", "store/")


def imports(tree: ast.AST) -> Iterator[str]:
    """Every module that a file imports, dotted; of `from a import b` both a and a.b."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


def complaints(place: str, source: str) -> Iterator[str]:
    """What the file at `place`, relative to the package, does that it must not."""
    tree = ast.parse(source)
    for name in sorted(set(imports(tree))):
        if name.startswith("."):
            yield f"{place} imports {name} relatively; write the whole name"
        yield from _arrow(place, name)
        yield from _library(place, name)
    if place.startswith(PURE):
        yield from _chance(place, tree)


def _arrow(place: str, name: str) -> Iterator[str]:
    if not name.startswith("setsync."):
        return
    room = place.split("/", maxsplit=1)[0].removesuffix(".py")
    target = name.removeprefix("setsync.")
    allowed = ROOMS.get(room, set()) | {room}
    # `from setsync.reconcile import view` yields setsync.reconcile too; its parts decide.
    narrow = {one.split(".")[0] for one in allowed if "." in one}
    if target in narrow or target == "__version__":
        return
    if not any(target == one or target.startswith(one + ".") for one in allowed):
        yield f"{place} must not import {name}"


def _library(place: str, name: str) -> Iterator[str]:
    for library, where in ONLY.items():
        if (name == library or name.startswith(library + ".")) and not place.startswith(where):
            yield f"{place} must not import {library}"


def _chance(place: str, tree: ast.AST) -> Iterator[str]:
    for name in sorted(set(imports(tree))):
        for worldly in WORLD - EXCEPTIONS.get(place, set()):
            if name == worldly or name.startswith(worldly + "."):
                yield f"{place} must not import {worldly}: time and chance are arguments"
        if name == "os" and not place.startswith(FILES):
            yield f"{place} must not import os"
        if name.removeprefix("os.") in WORLDLY_OS:
            yield f"{place} must not use {name}"
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in WORLDLY_OS:
            yield f"{place} must not use os.{node.attr}"


FILES_OF_SETSYNC = sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("place", FILES_OF_SETSYNC)
def test_every_arrow_points_down_and_only_the_shell_touches_the_world(place: str) -> None:
    source = (PACKAGE / place).read_text(encoding="utf-8")
    assert list(complaints(place, source)) == []


def test_every_room_is_in_the_table() -> None:
    rooms = {place.split("/")[0].removesuffix(".py") for place in FILES_OF_SETSYNC}
    assert rooms <= set(ROOMS)


@pytest.mark.parametrize(
    ("place", "source"),
    [
        ("model/entry.py", "import setsync.store.trie"),
        ("model/entry.py", "from setsync.store import trie"),
        ("model/entry.py", "def f():\n    from setsync.node.writer import Writer"),
        ("errors.py", "from setsync.limits import KIB"),
        ("wire/codec.py", "from setsync.session import table"),
        ("store/trie.py", "from setsync.reconcile.rounds import Initiator"),
        ("store/trie.py", "from setsync.reconcile import rounds"),
        ("store/trie.py", "from setsync import node"),
        ("cli/main.py", "from setsync.wire.codec import decode"),
        ("node/writer.py", "import setsync.cli.main"),
        ("reconcile/view.py", "if TYPE_CHECKING:\n    from setsync.store.trie import TrieView"),
        ("store/trie.py", "from . import layout"),
        ("store/lmdb_store.py", "import lmdb"),
        ("store/lmdb_store.py", "import lmdb.verify"),
        ("model/entry.py", "from nacl.signing import SigningKey"),
        ("store/memory.py", "import trio"),
        ("session/session.py", "from trio import sleep"),
        ("node/node.py", "import bamboo_compat.core"),
        ("cli/main.py", "from bamboo_compat import core"),
        ("reconcile/policy.py", "import time"),
        ("reconcile/policy.py", "from random import Random"),
        ("reconcile/policy.py", "from numpy.random import default_rng"),
        ("model/keys.py", "import secrets"),
        ("model/keys.py", "import os\nos.urandom(32)"),
        ("model/keys.py", "from os import urandom"),
        ("model/entry.py", "import os"),
        ("store/lmdb_store.py", "from datetime import datetime"),
        ("store/presence.py", "import time"),
    ],
)
def test_a_planted_violation_is_seen(place: str, source: str) -> None:
    assert list(complaints(place, source))


@pytest.mark.parametrize(
    ("place", "source"),
    [
        ("store/trie.py", "from setsync.reconcile.digest import Summary"),
        ("store/trie.py", "from setsync.reconcile import digest"),
        ("store/environment.py", "import lmdb, os\nos.fsync(3)"),
        ("store/presence.py", "import secrets"),
        ("model/keys.py", "import nacl.bindings, os"),
        ("node/node.py", "import trio, time\nfrom setsync import limits"),
        ("wire/messages.py", "from setsync import limits"),
        ("reconcile/view.py", "import numpy as np"),
    ],
)
def test_what_the_plan_allows_is_not_complained_about(place: str, source: str) -> None:
    assert list(complaints(place, source)) == []


# --- the guest ----------------------------------------------------------------------------

BAMBOO = PACKAGE.parent / "bamboo_compat"

# What a room of bamboo_compat may import of its own package, and of ours.
BAMBOO_ROOMS: dict[str, tuple[str, ...]] = {
    "__init__": (),
    "limits": (),
    "core": ("bamboo_compat.core",),
    "files": (
        "bamboo_compat.files",
        "bamboo_compat.core",
        "bamboo_compat.limits",
        "setsync.errors",
        "setsync.node.spawned",
    ),
    "set": (
        "bamboo_compat.set",
        "bamboo_compat.core",
        "bamboo_compat.files",
        "bamboo_compat.limits",
        "setsync.errors",
        "setsync.limits",
        "setsync.model",
        "setsync.store.contract",
        "setsync.node.filelock",
    ),
    "statements": (
        "bamboo_compat.statements",
        "bamboo_compat.core",
        "setsync.errors",
        "setsync.model",
        "setsync.store.contract",
    ),
    "homes": (
        "bamboo_compat.homes",
        "bamboo_compat.core",
        "bamboo_compat.set",
        "bamboo_compat.statements",
        "setsync.errors",
        "setsync.limits",
        "setsync.model",
        "setsync.node",
        "setsync.store.contract",
        "setsync.store.durable",
    ),
    "decisions": (
        "bamboo_compat.decisions",
        "bamboo_compat.core",
        "bamboo_compat.homes.marriages",
        "bamboo_compat.set",
        "bamboo_compat.statements",
        "setsync.errors",
        "setsync.limits",
        "setsync.model",
        "setsync.store.contract",
        "setsync.node.lockedfile",
    ),
    "replication": (
        "bamboo_compat.replication",
        "bamboo_compat.core",
        "bamboo_compat.set",
        "setsync.errors",
        "setsync.model",
        "setsync.store.contract",
        "setsync.node.admitting",
        "setsync.node.connection",
        "setsync.node.local",
        "setsync.node.policy",
    ),
    "server": (
        "bamboo_compat.server",
        "bamboo_compat.core",
        "bamboo_compat.decisions",
        "bamboo_compat.homes",
        "bamboo_compat.set",
        "setsync.errors",
        "setsync.model",
        "setsync.store.contract",
        "setsync.node.place",
        "setsync.node.policy",
        "setsync.node.room",
    ),
    "client": (
        "bamboo_compat.client",
        "bamboo_compat.core",
        "bamboo_compat.decisions",
        "bamboo_compat.homes",
        "bamboo_compat.server",
        "bamboo_compat.set",
        "setsync.errors",
        "setsync.model",
        "setsync.store.contract",
    ),
    "web": (
        "bamboo_compat",
        "setsync.cli.services",
        "setsync.cli.settings_options",
        "setsync.errors",
        "setsync.limits",
        "setsync.model",
        "setsync.node",
        "setsync.store.contract",
        "setsync.web",
    ),
    "cli": (
        "bamboo_compat",
        "setsync.cli",
        "setsync.errors",
        "setsync.limits",
        "setsync.model",
        "setsync.node",
        "setsync.store.contract",
    ),
}
# Everything else only computes, or waits for the disk.
BAMBOO_TRIO = ("replication/run.py", "homes/roads.py", "homes/asking.py", "cli/", "web/")
# All that the core may know besides the parts of the standard library that only compute.
BAMBOO_CORE = {"blake3", "nacl"}
COMPUTES = {
    "__future__",
    "collections",
    "dataclasses",
    "enum",
    "functools",
    "hashlib",
    "heapq",
    "itertools",
    "operator",
    "re",
    "typing",
}


def guest_complaints(place: str, source: str) -> Iterator[str]:
    """What the file at `place`, relative to bamboo_compat, does that it must not."""
    tree = ast.parse(source)
    room = place.split("/", maxsplit=1)[0].removesuffix(".py")
    for name in sorted(set(imports(tree))):
        top = name.split(".", maxsplit=1)[0]
        if name.startswith("."):
            yield f"{place} imports {name} relatively; write the whole name"
        elif top in ("setsync", "bamboo_compat"):
            allowed = BAMBOO_ROOMS.get(room, ())
            # `from bamboo_compat.core import x` yields bamboo_compat.core too.
            if not any(name == one or name.startswith(one + ".") for one in allowed):
                yield f"{place} must not import {name}"
        elif room == "core" and top not in BAMBOO_CORE | COMPUTES:
            yield f"{place} must not import {name}: the core only computes"
        if top == "trio" and not place.startswith(BAMBOO_TRIO):
            yield f"{place} must not import trio"
        if top == "nacl" and place not in ("core/keys.py", "homes/sealing.py"):
            yield f"{place} must not import nacl"
    if room == "core":
        for node in ast.walk(tree):
            if isinstance(node, ast.Name) and node.id in ("open", "print", "input"):
                yield f"{place} must not use {node.id}"


FILES_OF_BAMBOO = sorted(path.relative_to(BAMBOO).as_posix() for path in BAMBOO.rglob("*.py"))


@pytest.mark.parametrize("place", FILES_OF_BAMBOO)
def test_the_guests_core_knows_nothing_of_us_nor_of_the_world(place: str) -> None:
    source = (BAMBOO / place).read_text(encoding="utf-8")
    assert list(guest_complaints(place, source)) == []


@pytest.mark.parametrize("place", FILES_OF_SETSYNC)
def test_we_know_nothing_of_the_guest(place: str) -> None:
    names = imports(ast.parse((PACKAGE / place).read_text(encoding="utf-8")))
    assert not [name for name in names if name.split(".")[0] == "bamboo_compat"]


@pytest.mark.parametrize(
    ("place", "source"),
    [
        ("core/entry.py", "from setsync.model import keys"),
        ("core/entry.py", "import setsync"),
        ("core/entry.py", "from bamboo_compat.cli import run"),
        ("core/entry.py", "from bamboo_compat import limits"),
        ("core/entry.py", "import nacl.bindings"),
        ("core/log.py", "import os"),
        ("core/log.py", "def f():\n    from time import time"),
        ("core/log.py", "import json, random"),
        ("core/log.py", "from . import node"),
        ("core/log.py", "def f(path):\n    return open(path)"),
        ("cli/verify.py", "from setsync.store.lmdb_store import Store"),
        ("set/index.py", "from setsync.store import layout"),
        ("set/ingest.py", "from bamboo_compat.cli.verify import counted"),
        ("replication/machine.py", "from bamboo_compat.cli import run"),
        ("replication/machine.py", "import trio"),
        ("files/work.py", "from nacl.signing import VerifyKey"),
    ],
)
def test_a_violation_by_the_guest_is_seen(place: str, source: str) -> None:
    assert list(guest_complaints(place, source))
