"""The tables of protocol.md that follow from the program; the words around them are by hand."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from dataclasses import fields
from typing import Any, get_args

import setsync.errors
from docs.reference import quantities
from docs.reference.comments import members
from docs.reference.markdown import plain, prose, table
from setsync.errors import Abort
from setsync.limits import KIB, MAX_CONTROL_FRAME
from setsync.model.refusal import Refusal
from setsync.session.table import PHASES, TABLE, Role, State
from setsync.wire.codec import Kind
from setsync.wire.messages import LAYOUTS, AbortMessage, Layout, Message

# How the docstring of a message begins. Where it says nothing, both send it.
_SENDERS = {"Initiator": "I", "Responder": "R", "Either": "both"}
_SENDER = re.compile(f"({'|'.join(_SENDERS)})(,[^:]*)?: ")


def parts() -> dict[str, str]:
    """Every table by its name in the page."""
    return {
        "messages": _messages(),
        "fields": _fields(),
        "states": _states(),
        "reasons": _reasons(),
        "aborts": _aborts(),
    }


# --- messages -----------------------------------------------------------------------------


def _messages() -> str:
    rows = (
        (
            str(layout.type),
            name_of(message) + (", large" if layout.ceiling > MAX_CONTROL_FRAME else ""),
            sender(message),
            said(message),
            PHASES[message],
        )
        for message, layout in _in_order()
    )
    return table(("type", "message", "from", "says", "counted as"), rows)


def _in_order() -> list[tuple[type, Layout]]:
    """As a session goes."""
    return [(message, LAYOUTS[message]) for message in get_args(Message)]


def name_of(message: type) -> str:
    """ASK_IDS for AskIds."""
    words = re.findall("[A-Z][a-z]*", message.__name__.removesuffix("Message"))
    return "_".join(words).upper()


def sender(message: type) -> str:
    """I, R or both, by the table of states."""
    if message is AbortMessage:
        return "both"
    roles = {role for moves in TABLE.values() for role, kind in moves if kind is message}
    return {Role.INITIATOR: "I", Role.RESPONDER: "R"}[roles.pop()] if len(roles) == 1 else "both"


def claimed_sender(message: type) -> str:
    """Who sends it by the message's own docstring."""
    found = _SENDER.match(inspect.cleandoc(message.__doc__ or ""))
    return _SENDERS[found[1]] if found else "both"


def said(message: type) -> str:
    """A message's docstring; who sends it stands elsewhere."""
    text = _SENDER.sub("", inspect.cleandoc(message.__doc__ or ""), count=1)
    return prose(text[0].upper() + text[1:])


def _fields() -> str:
    rows = (
        (name_of(message), f"`{field.name}`", plain(words(kind)))
        for message, layout in _in_order()
        for field, kind in zip(fields(message), _bounds(layout.kind)["kinds"], strict=True)
    )
    return table(("message", "field", "is"), rows)


def words(kind: Kind[Any]) -> str:
    """What a field may be. Raises KeyError for a kind that this page does not know."""
    return _WORDS[kind.__qualname__.split(".")[0]](**_bounds(kind))


def _bounds(kind: Kind[Any]) -> dict[str, Any]:
    """What a kind was made with: kinds are functions, closed over their bounds."""
    return dict(inspect.getclosurevars(kind).nonlocals)


def _number(most: int, least: int) -> str:
    if most - least == 1:
        return f"{least} or {most}"
    return f"{least} to {quantities.count(most)}"


def _bytes(most: int, least: int) -> str:
    if least == most:
        return quantities.size(most)
    if not least:
        return f"up to {quantities.size(most)}"
    return f"{least} to {quantities.size(most)}" if most < KIB else _between(least, most)


def _between(least: int, most: int) -> str:
    return f"{least} byte{'s' * (least != 1)} to {quantities.size(most)}"


def _array(of: Kind[Any], most: int, least: int) -> str:
    if least == most:
        return f"{most:,} of: {words(of)}"
    return f"{f'{least:,}' if least else 'up'} to {most:,} of: {words(of)}"


def _record(kinds: tuple[Kind[Any], ...]) -> str:
    return f"({'; '.join(map(words, kinds))})"


_WORDS: dict[str, Callable[..., str]] = {
    "uint": _number,
    "blob": _bytes,
    "text": lambda most: f"text of up to {most:,} bytes",
    "array": _array,
    "record": _record,
    "either": lambda kinds: ", or ".join(map(words, kinds)),
    "nil": lambda: "nil",
}


# --- what may come when -------------------------------------------------------------------


def _states() -> str:
    rows = (
        (state.value, _moves(state, Role.INITIATOR), _moves(state, Role.RESPONDER))
        for state, moves in TABLE.items()
        if moves
    )
    return table(("state", "I may send", "R may send"), rows)


def _moves(state: State, role: Role) -> str:
    """What leaves the state as it is comes first."""
    moves = [(kind, after) for (who, kind), after in TABLE[state].items() if who is role]
    stay = ", ".join(name_of(kind) for kind, after in moves if after is state)
    leave = (f"{name_of(kind)} → {after.value}" for kind, after in moves if after is not state)
    return plain("; ".join(part for part in (stay, *leave) if part))


# --- numbers with a meaning ---------------------------------------------------------------


def _reasons() -> str:
    return table(
        ("reason", "of the entry"), ((str(one.value), plain(one.sentence)) for one in Refusal)
    )


def _aborts() -> str:
    told = dict(_abort_comments())
    rows = (
        (str(one.value), one.name.lower().replace("_", " "), prose(told[one.name])) for one in Abort
    )
    return table(("code", "ABORT", "when"), rows)


def _abort_comments() -> Iterator[tuple[str, str]]:
    for group in members(inspect.getsource(setsync.errors), "Abort"):
        for constant in group.constants:
            yield constant.name, group.comment
