"""Nodes that do not all want the same, and what may differ between two of them then.

A node that refuses an entry also keeps it from those behind it, so nothing is promised over
more than one edge. Between two neighbours, what one has and the other lacks is what the other
refuses, or what the two do not speak of; and a node holds nothing it refuses but what its own
people put there.
"""

from __future__ import annotations

import dataclasses
import random
from typing import TypeVar

from setsync.model.collection import Pattern, match_any
from setsync.model.formats import format_of
from setsync.node.groups import EVERYBODY
from setsync.node.policy import Policy
from setsync.store.contract import Quotas, Refuser, RefuserKind, StoredEntry
from tests.helpers import keys
from tests.simulation.node import Node
from tests.simulation.plan import NodePlan, Plan

P = TypeVar("P", bound=Plan)

_AUTHORS = tuple(key.public for key in keys(4, seed=7))
_OURS = Refuser(RefuserKind.OURS)
KINDS = ("author", "quota", "bytes", "writers", "collection", "share", "payload", "none")


def with_policies(plan: P) -> P:
    """The same plan for nodes that differ in what they want; at least one wants not all."""
    chance = random.Random(f"setsync policies {plan.seed}")
    kinds = [chance.choice(KINDS) for _ in plan.nodes]
    if set(kinds) == {"none"}:
        kinds[0] = "author"
    nodes = tuple(
        _with_policy(chance, kind, node) for kind, node in zip(kinds, plan.nodes, strict=True)
    )
    return dataclasses.replace(plan, nodes=nodes, kinds=tuple(kinds))


def _with_policy(chance: random.Random, kind: str, node: NodePlan) -> NodePlan:
    policy = Policy()
    match kind:
        case "author":
            blocked = chance.sample(_AUTHORS, chance.randint(1, 2))
            policy = Policy(blocked_authors=frozenset(blocked))
        case "quota":
            policy = Policy(quotas=Quotas(author_entries=chance.randint(0, 12)))
        case "bytes":
            policy = Policy(quotas=Quotas(author_bytes=chance.choice([300, 1_000, 5_000])))
        case "writers":
            writers = ((Pattern(chance.choice(["notes/**", "a"])), frozenset(_AUTHORS[:2])),)
            policy = Policy(writers=writers)
        case "collection":
            policy = Policy(blocked_collections=(Pattern(chance.choice(["a", "notes/**"])),))
        case "share":
            policy = Policy(shares={EVERYBODY: (Pattern("notes/**"), Pattern("many/*"))})
        case "payload":
            return dataclasses.replace(node, max_payload=chance.choice([0, 10, 100]))
    return dataclasses.replace(node, policy=policy)


def differences(one: Node, other: Node) -> list[str]:
    """What `one` has and `other` lacks, though they speak of it and `other` would take it."""
    lacking = one.members() - other.members()
    found: list[str] = []
    with one.store.snapshot() as snapshot:
        for collection, id_ in sorted(lacking):
            entry = snapshot.entry(collection, id_)
            assert entry is not None
            if _is_shared(one, other, collection) and not _is_refused(entry, other):
                found.append(f"{collection} {id_.hex()[:16]}")
    return found


def _is_shared(one: Node, other: Node, collection: str) -> bool:
    return all(
        match_any(policy.shares_with((EVERYBODY,)), collection)
        and not match_any(policy.without, collection)
        for policy in (one.plan.policy, other.plan.policy)
    )


def _is_refused(entry: StoredEntry, by: Node) -> bool:
    author, policy = _author(entry), by.plan.policy
    if policy.refuses(author, entry.collection) is not None:
        return True
    with by.store.snapshot() as snapshot:
        usage = snapshot.usage(author)
        # It may have come with a payload that was too much, and be here without one.
        told = snapshot.is_refused([_OURS], entry.collection, [entry.id], by.now())
    if told:
        return True
    quotas = policy.quotas
    is_full = usage.entries >= quotas.author_entries
    return is_full or usage.bytes + entry.size > quotas.author_bytes


def kept_against_policy(node: Node) -> list[str]:
    """What others brought here although the policy says no, and authors over their quota."""
    policy, found = node.plan.policy, list[str]()
    brought: dict[bytes, int] = dict.fromkeys(_AUTHORS, 0)
    with node.store.snapshot() as snapshot:
        for entry in snapshot.since(0, 1_000_000):
            if (entry.collection, entry.id) in node.own:
                continue
            brought[_author(entry)] += 1
            if policy.refuses(_author(entry), entry.collection) is not None:
                found.append(f"{entry.collection} {entry.id.hex()[:16]}")
    return found + [
        f"{count} entries of {author.hex()[:8]}"
        for author, count in brought.items()
        if count > policy.quotas.author_entries
    ]


def _author(entry: StoredEntry) -> bytes:
    return format_of(entry.header).decode(entry.header).author
