"""What a fuzz target is: a decoder, the exceptions that are its answer, and its law.

It knows nothing of where inputs come from. Three things are findings: an exception that is
no answer, a law that does not hold, and a value much larger than the bytes it came from.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import numpy as np

MAX_INPUT = 4096
"""Longer inputs only take longer: every ceiling above this has a test of its own."""

# Python's own room for the smallest of objects: what a tuple of nothing, an int or an empty
# byte string weighs beside its content.
_BASE_WEIGHT = 16 * 1024


class LawBrokenError(Exception):
    """A decoder took bytes and then did not do what it promises."""


class FindingError(Exception):
    """An input that a decoder does not answer as it should; the cause is the exception."""

    def __init__(self, target: str, data: bytes, cause: Exception) -> None:
        super().__init__(f"{target}: {type(cause).__name__}: {cause}")
        self.target = target
        self.data = data
        self.sign = f"{type(cause).__name__} {_where(cause)}"


@dataclass(frozen=True)
class Target:
    """One decoder. `law` gets the bytes and what they were read as; `samples` are bytes that
    it takes; a value weighs at most `factor` times its bytes, and a constant."""

    name: str
    promise: str
    decode: Callable[[bytes], Any]
    answers: tuple[type[Exception], ...]
    samples: Callable[[], Sequence[bytes]]
    law: Callable[[bytes, Any], None] = lambda _data, _value: None
    factor: int = 64


def examine(target: Target, data: bytes) -> str:
    """Give the bytes to the decoder. Raises FindingError.

    Returns "taken", or the refusal's sentence without its numbers: two inputs of one answer
    went about the same way.
    """
    try:
        try:
            value = target.decode(data)
        except target.answers as error:
            return f"{type(error).__name__}: {_plain(str(error))}"
        target.law(data, value)
        _check_weight(target, data, value)
    except Exception as error:
        raise FindingError(target.name, data, error) from error
    return "taken"


def must(holds: bool, law: str) -> None:
    """Complain of a law that does not hold."""
    if not holds:
        raise LawBrokenError(law)


def must_equal(found: object, expected: object, law: str) -> None:
    """Complain, with both, where two things are not the same."""
    if found != expected:
        raise LawBrokenError(f"{law}: expected {expected!r:.300}, found {found!r:.300}")


def weight(value: object) -> int:
    """Bytes of memory that a decoded value takes, its parts included. Small numbers and empty
    strings exist once and are counted each time: it is an upper bound, and near enough."""
    if isinstance(value, np.ndarray):
        return int(value.nbytes)
    size = sys.getsizeof(value)
    if isinstance(value, tuple | list | set | frozenset):
        return size + sum(weight(one) for one in value)
    if isinstance(value, dict):
        return size + sum(weight(key) + weight(of) for key, of in value.items())
    if is_dataclass(value) and not isinstance(value, type):
        return size + sum(weight(getattr(value, field.name)) for field in fields(value))
    return size


def _check_weight(target: Target, data: bytes, value: object) -> None:
    found, most = weight(value), target.factor * len(data) + _BASE_WEIGHT
    must(found <= most, f"{len(data)} bytes became {found}; at most {most} are allowed")


def _plain(sentence: str) -> str:
    """What stays the same of a refusal when only its numbers and quotations change."""
    return re.sub(r"(?s)'.*'|\".*\"|0x[0-9a-f]+|[0-9a-f]{8,}|\d+", "N", sentence)[:80]


def _where(error: Exception) -> str:
    """The line that raised, so that one fault is told once."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return "nowhere"
    # Of a law only its name: what was expected and found is another for each input.
    told = _plain(str(error).partition(": expected")[0])
    return f"{trace.tb_frame.f_code.co_name}:{trace.tb_lineno} {told}"
