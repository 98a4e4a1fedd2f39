"""`setsync policy`: what this node takes and shows, besides what is valid."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path

import click

from setsync.cli import common
from setsync.cli.progress import size
from setsync.errors import UsageError
from setsync.limits import MAX_QUOTA
from setsync.model.collection import EVERYTHING, Pattern, is_system
from setsync.node.groups import EVERYBODY
from setsync.node.policy import Policy, check_group
from setsync.store.contract import EntryStore, Quotas, RefuserKind

_UNITS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_UNITS |= {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
_AGAIN = "What was refused before and is wanted now comes with the next sessions."
_DEFAULT = "default"


# --- arguments ----------------------------------------------------------------------------


def _author(ctx: click.Context, param: click.Parameter, value: str) -> bytes:
    """64 hex digits, as 32 bytes."""
    return _key(value)


def _authors(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> list[bytes]:
    return [_key(value) for value in values]


def _key(text: str) -> bytes:
    if not re.fullmatch("[0-9a-fA-F]{64}", text):
        raise click.BadParameter(f"{text!r} is not an author's key of 64 hex digits.")
    return bytes.fromhex(text)


def _pattern(ctx: click.Context, param: click.Parameter, value: str) -> Pattern:
    return Pattern(value)


def _patterns(
    ctx: click.Context, param: click.Parameter, values: tuple[str, ...]
) -> tuple[Pattern, ...]:
    return tuple(Pattern(value) for value in values)


def _group(ctx: click.Context, param: click.Parameter, value: str) -> str:
    return check_group(value)


def parse_size(text: str) -> int:
    """Bytes, with a unit of powers of a thousand (k, M, G, T) or of 1,024 (KiB, ...).

    Raises UsageError.
    """
    found = re.fullmatch(r"([0-9]{1,19})(.*)", text, re.ASCII)
    if found is None or found[2] not in _UNITS:
        raise UsageError(f"{text!r} is not a size like 500k, 10M, 2G or 1GiB.")
    return int(found[1]) * _UNITS[found[2]]


def parse_share(text: str) -> tuple[str, Pattern]:
    """`[GROUP:]PATTERN`; what stands before the first colon is a group.

    Raises UsageError, InvalidNameError.
    """
    group, colon, pattern = text.partition(":")
    return (check_group(group), Pattern(pattern)) if colon else (EVERYBODY, Pattern(text))


# --- commands -----------------------------------------------------------------------------


@click.group(short_help="Say what this node takes and shows.")
def policy() -> None:
    """Say what this node takes and shows, besides what is valid.

    Rules are this node's own: they decide which entries it keeps and with whom it shares
    which collections, never which entries are valid. Nothing that is here is deleted.

    \b
    Examples:
      setsync policy block author KEY
      setsync policy share friends 'notes/**'
      setsync policy show
    """


@policy.command(epilog="Example: setsync policy show --json")
@common.data_option
@common.json_option
def show(data: Path, as_json: bool) -> None:
    """Show every rule of this node."""
    with common.opened(data) as (directory, store):
        found = directory.policy.read()
        entries = _entries_of(store, found)
    if as_json:
        common.print_json(_as_json(found, entries))
        return
    common.print_columns([("RULE", "FOR", "IS"), *_rows(found, entries)])
    if not found.shares:
        common.say("Nothing is shared expressly: whoever is let in gets everything.")


@policy.group(epilog="Example: setsync policy block collection 'spam/**'")
def block() -> None:
    """Take no entries of an author, or do not speak of a collection."""


@block.command("author", epilog="Example: setsync policy block author KEY --name mallory")
@click.argument("author", metavar="KEY", callback=_author)
@click.option("--name", default="", help="What you call it.")
@common.data_option
@common.json_option
def block_author(author: bytes, name: str, data: Path, as_json: bool) -> None:
    """Take no more entries of an author from anybody. Those that are here stay."""

    def told(store: EntryStore, changed: Policy) -> str:
        with store.snapshot() as snapshot:
            here = snapshot.usage(author).entries
        return f"Blocked {author.hex()}. Entries of this author that are here, and stay: {here:,}."

    _change(data, as_json, lambda found: found.blocking_author(author, name), told)


@block.command("collection", epilog="Example: setsync policy block collection 'spam/**'")
@click.argument("pattern", callback=_pattern)
@common.data_option
@common.json_option
def block_collection(pattern: Pattern, data: Path, as_json: bool) -> None:
    """Speak of no collection like PATTERN, with anybody. What is here of it stays here.

    Peers are told the pattern, so that neither side sends what the other leaves out.
    """

    def told(store: EntryStore, changed: Policy) -> str:
        with store.snapshot() as snapshot:
            here = sum(pattern.matches(name) for name, _ in snapshot.collections())
        return f"Blocked {pattern.text}. Collections like this that are here, and stay: {here:,}."

    _change(data, as_json, lambda found: found.blocking_collection(pattern), told)


@policy.group(epilog="Example: setsync policy unblock author KEY")
def unblock() -> None:
    """Lift a block."""


@unblock.command("author", epilog="Example: setsync policy unblock author KEY")
@click.argument("author", metavar="KEY", callback=_author)
@common.data_option
@common.json_option
def unblock_author(author: bytes, data: Path, as_json: bool) -> None:
    """Take entries of an author again."""

    def told(store: EntryStore, changed: Policy) -> str:
        return f"Unblocked {author.hex()}. {_AGAIN}"

    _change(data, as_json, lambda found: found.unblocking_author(author), told, widens=True)


@unblock.command("collection", epilog="Example: setsync policy unblock collection 'spam/**'")
@click.argument("pattern", callback=_pattern)
@common.data_option
@common.json_option
def unblock_collection(pattern: Pattern, data: Path, as_json: bool) -> None:
    """Speak of the collections like PATTERN again; it is written as it was when blocked."""

    def told(store: EntryStore, changed: Policy) -> str:
        return f"Unblocked {pattern.text}."

    _change(data, as_json, lambda found: found.unblocking_collection(pattern), told, widens=True)


@policy.command(epilog="Example: setsync policy writers 'news/**' KEY KEY")
@click.argument("pattern", callback=_pattern)
@click.argument("authors", metavar="[KEY]...", nargs=-1, callback=_authors)
@click.option("--anyone", is_flag=True, help="Take the rule away.")
@common.data_option
@common.json_option
def writers(
    pattern: Pattern, authors: list[bytes], anyone: bool, data: Path, as_json: bool
) -> None:
    """Say which authors may write in the collections like PATTERN, instead of those before.

    Where several patterns match a collection, the authors of each may write there. Where none
    does, everybody may. What you put or import yourself is not judged.
    """
    if anyone == bool(authors):
        raise UsageError("Give either the keys of those who may write, or --anyone.")

    def told(store: EntryStore, changed: Policy) -> str:
        who = "whoever no other rule keeps out" if anyone else f"{len(set(authors))}"
        return f"Authors who may write in {pattern.text}: {who}. {_AGAIN}"

    def change(found: Policy) -> Policy:
        return found.without_writers(pattern) if anyone else found.with_writers(pattern, authors)

    _change(data, as_json, change, told, widens=True)


@policy.command(epilog="Example: setsync policy share friends 'notes/**' photos")
@click.argument("group", callback=_group)
@click.argument("patterns", metavar="PATTERN...", nargs=-1, required=True, callback=_patterns)
@common.data_option
@common.json_option
def share(group: str, patterns: tuple[Pattern, ...], data: Path, as_json: bool) -> None:
    """Share the collections like PATTERN with a group of peers.

    Groups are 'everybody', 'listed' (whom 'peers' lists), and those of 'peers add --group'.
    As long as nothing is shared expressly, everything is; from the first share on a peer gets
    what its groups are given, 'system/*' with it, and nothing else.
    """
    _change(
        data, as_json, lambda found: found.with_shares({group: patterns}), _told_of_share(group)
    )


@policy.command(epilog="Example: setsync policy unshare friends photos")
@click.argument("group", callback=_group)
@click.argument("patterns", metavar="[PATTERN]...", nargs=-1, callback=_patterns)
@click.option(
    "--even-last", is_flag=True, help="Also the last share of all; then everything is shared."
)
@common.data_option
@common.json_option
def unshare(
    group: str, patterns: tuple[Pattern, ...], even_last: bool, data: Path, as_json: bool
) -> None:
    """Share less with a group: without some patterns, or without any.

    What peers have got already stays with them.
    """

    def change(found: Policy) -> Policy:
        changed = found.without_shares(group, patterns)
        if not changed.shares and not even_last:
            raise UsageError(
                "That is the last share, and without any everything is shared with whoever is "
                "let in. If that is meant, add --even-last; if not, share something else first."
            )
        return changed

    _change(data, as_json, change, _told_of_share(group))


def _told_of_share(group: str) -> Callable[[EntryStore, Policy], str]:
    def told(store: EntryStore, changed: Policy) -> str:
        if not changed.shares:
            return "Nothing is shared expressly any more: whoever is let in gets everything."
        shared = changed.shares.get(group, ())
        texts = ", ".join(pattern.text for pattern in shared)
        return f"Shared with {group}: {texts or 'nothing'}.{_system_hint(changed, group)}"

    return told


def _system_hint(changed: Policy, group: str) -> str:
    shared = [one for name in (EVERYBODY, group) for one in changed.shares.get(name, ())]
    if not shared or any(is_system(one.text) or one.text == EVERYTHING for one in shared):
        return ""
    return (
        "\nWhat lies deeper in the system is not shared with it. Where the rest is understood by "
        f"that, as Bamboo's schemas are: setsync policy share {group} 'system/**'"
    )


@policy.command(epilog="Example: setsync policy quota --author-bytes 500M --peer-bytes default")
@click.option("--author-entries", metavar="N", help="Entries that one author may keep here.")
@click.option("--author-bytes", metavar="SIZE", help="Bytes that one author may keep here.")
@click.option("--peer-entries", metavar="N", help="New entries that one peer may bring in a day.")
@click.option("--peer-bytes", metavar="SIZE", help="New bytes that one peer may bring in a day.")
@common.data_option
@common.json_option
def quota(
    author_entries: str | None,
    author_bytes: str | None,
    peer_entries: str | None,
    peer_bytes: str | None,
    data: Path,
    as_json: bool,
) -> None:
    """Say how much is taken: of one author in all, and from one peer in a day (UTC).

    Numbers and sizes are like 5000, 10M, 2G or 1GiB; 'default' takes one back. Bytes are those
    of headers and payloads. What you put or import yourself counts, and is never refused.
    """
    asked = {
        "author_entries": author_entries,
        "author_bytes": author_bytes,
        "peer_entries": peer_entries,
        "peer_bytes": peer_bytes,
    }
    limits = {name: _quota(name, text) for name, text in asked.items() if text is not None}
    if not limits:
        raise UsageError("Say which quota, or look at them with 'setsync policy show'.")

    def told(store: EntryStore, changed: Policy) -> str:
        return f"The quotas are changed. {_AGAIN}"

    def change(found: Policy) -> Policy:
        return replace(found, quotas=replace(found.quotas, **limits))

    _change(data, as_json, change, told, widens=True)


def _quota(name: str, text: str) -> int:
    number: int = getattr(Quotas(), name) if text == _DEFAULT else parse_size(text)
    if number > MAX_QUOTA:
        raise UsageError(f"A quota is at most {MAX_QUOTA:,}.")
    return number


# --- what they share ----------------------------------------------------------------------


def _change(
    data: Path,
    as_json: bool,
    change: Callable[[Policy], Policy],
    told: Callable[[EntryStore, Policy], str],
    *,
    widens: bool = False,
) -> None:
    """Change the file and tell of it. Where that may make something wanted again (`widens`),
    what was refused before is forgotten: after the change, or it would be refused once more."""
    with common.opened(data) as (directory, store):
        with directory.policy.changing() as draft:
            draft.value = changed = change(draft.value)
        if widens:
            store.forget_refused([RefuserKind.OURS, RefuserKind.OURS_FROM])
        if as_json:
            common.print_json(_as_json(changed, _entries_of(store, changed)))
        else:
            common.say(told(store, changed))


def _entries_of(store: EntryStore, found: Policy) -> dict[bytes, int]:
    """How many entries of each blocked author are here."""
    with store.snapshot() as snapshot:
        return {key: snapshot.usage(key).entries for key in sorted(found.blocked_authors)}


def _rows(found: Policy, entries: dict[bytes, int]) -> Iterator[tuple[str, str, str]]:
    for key, count in entries.items():
        name = found.names.get(key, "")
        yield "blocked author", key.hex(), f"{name and name + ', '}{count:,} entries here"
    for pattern in found.blocked_collections:
        yield "blocked collection", pattern.text, ""
    for pattern, authors in found.writers:
        for key in sorted(authors):
            yield "writer", pattern.text, key.hex()
        if not authors:
            yield "writer", pattern.text, "nobody"
    for group, patterns in found.shares.items():
        yield "share", group, ", ".join(pattern.text for pattern in patterns) or "nothing"
    if not found.shares:
        yield "share", EVERYBODY, EVERYTHING
    quotas = found.quotas
    yield "quota", "an author's entries", f"{quotas.author_entries:,}"
    yield "quota", "an author's bytes", f"{quotas.author_bytes:,} ({size(quotas.author_bytes)})"
    yield "quota", "a peer's new entries a day", f"{quotas.peer_entries:,}"
    yield "quota", "a peer's new bytes a day", f"{quotas.peer_bytes:,} ({size(quotas.peer_bytes)})"


def _as_json(found: Policy, entries: dict[bytes, int]) -> dict[str, object]:
    """See docs/json/policy.json."""
    return {
        "blocked_authors": [
            {"key": key.hex(), "name": found.names.get(key, ""), "entries": count}
            for key, count in entries.items()
        ],
        "blocked_collections": [pattern.text for pattern in found.blocked_collections],
        "writers": {
            pattern.text: [key.hex() for key in sorted(authors)]
            for pattern, authors in found.writers
        },
        "shares": {
            group: [pattern.text for pattern in patterns]
            for group, patterns in found.shares.items()
        },
        "quotas": asdict(found.quotas),
    }
