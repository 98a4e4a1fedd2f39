"""Entries for worlds: signed once a process, the same in every run.

Authors claim any time they like, from 1970 to the last millisecond that fits; nothing may
depend on it. Payloads go from none to a few times what a tight world puts in one piece.
"""

from __future__ import annotations

import functools

from setsync.model.entry import Entry, make_entry
from tests.helpers import MIDNIGHT, keys, some_bytes

TEN_YEARS = 10 * 365 * 86_400_000
POOL = 400

COLLECTIONS = ("system", "system/keys", "notes", "notes/é/travel", "a", "b/c")
_TIMES = (0, 1, MIDNIGHT, MIDNIGHT - TEN_YEARS, MIDNIGHT + TEN_YEARS, 2**63, 2**64 - 1)
_SIZES = (0, 1, 30, 30, 30, 300, 300, 2_500)


@functools.lru_cache(maxsize=2 * POOL)  # a long soak makes more than may be kept
def entry(number: int, many: bool = False) -> Entry:
    """An entry, one of POOL mostly; with `many` they spread over a dozen collections more."""
    dice = some_bytes("simulated", number, length=8)
    author = keys(4, seed=7)[dice[0] % 4]
    name = COLLECTIONS[dice[1] % len(COLLECTIONS)]
    if many and dice[2] % 2:
        name = f"many/{dice[3] % 12}"
    payload = some_bytes("payload", number, length=_SIZES[dice[4] % len(_SIZES)])
    if dice[5] % 2:
        payload = payload[:8] * (len(payload) // 8 + 1)  # worth compressing
    return make_entry(author, name, payload, _TIMES[dice[6] % len(_TIMES)])
