"""setsync: two sets of signed entries become equal at the cost of their difference.

The library in four names: `Store` (a set on disk), `SecretKey` and `make_entry` (what goes
into it), `sync` and `serve` (two ends of one stream). They are loaded when first used, so
that a program pays only for what it touches.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from setsync.model.entry import Entry, UnverifiedEntry, make_entry, verify
    from setsync.model.keys import SecretKey
    from setsync.node.node import serve, sync
    from setsync.store.lmdb_store import Store

__version__ = "0.1.0"

__all__ = [
    "Entry",
    "SecretKey",
    "Store",
    "UnverifiedEntry",
    "make_entry",
    "serve",
    "sync",
    "verify",
]

_HOMES = {
    "Entry": "setsync.model.entry",
    "UnverifiedEntry": "setsync.model.entry",
    "make_entry": "setsync.model.entry",
    "verify": "setsync.model.entry",
    "SecretKey": "setsync.model.keys",
    "Store": "setsync.store.lmdb_store",
    "serve": "setsync.node.node",
    "sync": "setsync.node.node",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'setsync' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
