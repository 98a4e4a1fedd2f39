"""Recompute everything a store says of itself, and compare.

What is checked, and in which moment of the store:

- **tables** (one snapshot, short): the format, the counters, that collections have one
  record and one name each;
- **log** (many short snapshots): every entry's bytes hash to the id it was stored under,
  that id is a member of the entry's collection under the entry's arrival number, and the
  signature and the payload are what the header says. An entry never changes and never
  leaves, so what is read later is as good as what was read first;
- **tries** (one snapshot a collection, about 2 s a million members): every leaf and inner
  node is recomputed from the ids, up to the collection's record, and nothing lies beside
  them. A trie changes with every insert and makes sense only at one moment; that is why
  this snapshot is held longer than others;
- **kept** (one snapshot): the sketches of large collections, each with what arrived since
  its checkpoint, against its ids encoded afresh;
- **usage** (one snapshot, about 6 s a million entries): what each author keeps, and which
  payloads are withheld, from the log; that notes of peers and of refusals can be read;
- **indexes** (one snapshot each): what guests' formats keep beside the set, by their own
  rules, against the entries of the log.

Each logged entry was found among the members, each member has one arrival number, and
there are as many of the one as of the other (up to the arrival at which the check began):
so each member has its entry too. When the numbers differ, the members are looked up.

Memory is bounded by the number of collections and of authors, by withheld payloads and by one
batch of entries. With a sample,
only so many entries, chosen at random, have signature and payload checked; all else is
checked wholly.
"""

from __future__ import annotations

import random

from setsync.store.check.indexes import check_indexes
from setsync.store.check.kept import check_kept
from setsync.store.check.log import LogCheck, Sampler
from setsync.store.check.report import MAX_FINDINGS, Finding, Kind, OnSteps, Report
from setsync.store.check.tables import check_openers, check_tables, read_tables
from setsync.store.check.tries import check_trie, name_members_without_entry
from setsync.store.check.usage import check_usage
from setsync.store.importing import Verify, verify_in_turn
from setsync.store.lmdb_store import Store

__all__ = ["MAX_FINDINGS", "Finding", "Kind", "OnSteps", "Report", "check"]


def check(
    store: Store,
    *,
    sample: int | None = None,
    chance: random.Random | None = None,
    verify: Verify = verify_in_turn,
    on_steps: OnSteps = lambda phase, done, total: None,
) -> Report:
    """Check a whole store, which others may go on using.

    `sample`: of how many entries signature and payload are checked (None: all), chosen by
    `chance`; `verify`: who checks them.
    Raises StoreError when the store cannot be read at all.
    """
    report = Report()
    tables = read_tables(store, report)
    check_tables(tables, report)
    log = LogCheck(store, tables, report, Sampler(tables.logged, sample, chance))
    log.run(verify, on_steps)
    check_openers(tables, log.openers, report)
    members = 0
    for number, (name, _) in tables.collections.items():
        walk = check_trie(store, number, name, tables.upto, report)
        members += walk.members
        on_steps("checking", members, tables.logged)
        if walk.members_until != log.logged[number]:
            name_members_without_entry(store, number, name, tables.upto, report)
    check_kept(store, report)
    check_usage(store, report)
    check_indexes(store, report)
    return report
