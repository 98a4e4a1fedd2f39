"""Bamboo itself: pure, and without a word of setsync.

`verify_log(entries)` looks at everything it is given at once and says what holds. Entries
may come in any order, from any number of logs, twice, and with or without their payloads.

Sources: the Bamboo specification (AljoschaMeyer/bamboo, README), the p2panda handbook for
the second hash flavour and what payloads are.
"""

from bamboo_compat.core.examining import Member, examine
from bamboo_compat.core.log import Logbook, verify_log
from bamboo_compat.core.report import (
    Branch,
    Finding,
    Fork,
    ForkKind,
    Head,
    LogReport,
    LogState,
    Problem,
    Reason,
    Standing,
    Verdict,
)

__all__ = [
    "Branch",
    "Finding",
    "Fork",
    "ForkKind",
    "Head",
    "LogReport",
    "LogState",
    "Logbook",
    "Member",
    "Problem",
    "Reason",
    "Standing",
    "Verdict",
    "examine",
    "verify_log",
]
