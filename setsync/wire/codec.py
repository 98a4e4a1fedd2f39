"""Strict checking of decoded msgpack: every field has a kind, every kind a bound.

One value has one byte string: `decode` packs again what it unpacked and compares, so no
second spelling of a number, a length or a key gets through, and nothing is left over.
Maps, floats, booleans and extension types do not occur.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import msgpack

from setsync.errors import PeerError
from setsync.limits import MAX_ARRAY

T = TypeVar("T")
Kind = Callable[[object], T]
"""Takes a decoded value, returns it checked, raises FieldError."""


class FieldError(ValueError):
    """A value is not of its field's kind. `args[0]` says what was expected."""


def uint(most: int = 2**64 - 1, least: int = 0) -> Kind[int]:
    """A whole number within bounds."""

    def check(value: object) -> int:
        if type(value) is not int or not least <= value <= most:
            raise FieldError(f"a number from {least} to {most}")
        return value

    return check


def blob(most: int, least: int = 0) -> Kind[bytes]:
    """A byte string of bounded length."""

    def check(value: object) -> bytes:
        if type(value) is not bytes or not least <= len(value) <= most:
            raise FieldError(f"{least} to {most} bytes")
        return value

    return check


def exactly(length: int) -> Kind[bytes]:
    """A byte string of one length."""
    return blob(length, length)


def text(most: int) -> Kind[str]:
    """UTF-8 text of at most `most` bytes."""

    def check(value: object) -> str:
        if type(value) is not str or len(value.encode("utf-8")) > most:
            raise FieldError(f"text of at most {most} bytes")
        return value

    return check


def array(of: Kind[T], most: int = MAX_ARRAY, least: int = 0) -> Kind[tuple[T, ...]]:
    """So many values of one kind."""

    def check(value: object) -> tuple[T, ...]:
        if type(value) is not tuple or not least <= len(value) <= most:
            raise FieldError(f"an array of {least} to {most}")
        return tuple(of(item) for item in value)

    return check


def record(*kinds: Kind[Any]) -> Kind[tuple[Any, ...]]:
    """As many values as kinds, one of each."""

    def check(value: object) -> tuple[Any, ...]:
        if type(value) is not tuple or len(value) != len(kinds):
            raise FieldError(f"an array of {len(kinds)} fields")
        return tuple(kind(item) for kind, item in zip(kinds, value, strict=True))

    return check


def either(*kinds: Kind[Any]) -> Kind[Any]:
    """A value of any of the kinds."""

    def check(value: object) -> Any:
        expected: list[str] = []
        for kind in kinds:
            try:
                return kind(value)
            except FieldError as error:
                expected.append(str(error))
        raise FieldError(" or ".join(expected))

    return check


def nil(value: object) -> None:
    """Nothing."""
    if value is not None:
        raise FieldError("nothing")


def encode(value: tuple[Any, ...]) -> bytes:
    """Pack a tuple of values. They are ours: nothing is checked."""
    packed: bytes = msgpack.packb(value, use_bin_type=True)
    return packed


def decode(body: bytes, kind: Kind[T], what: str) -> T:
    """Unpack `body` as `kind`. Raises PeerError, which names `what` and the expectation."""
    try:
        value = msgpack.unpackb(
            body,
            use_list=False,
            raw=False,
            object_pairs_hook=_refuse_map,
            max_array_len=MAX_ARRAY,
            max_map_len=0,
            max_ext_len=0,
        )
        checked = kind(value)
    except FieldError as error:
        raise PeerError(f"A field of {what} is wrong; expected {error}.") from error
    except (ValueError, TypeError, RecursionError, msgpack.UnpackException) as error:
        raise PeerError(f"{what} is not readable: {str(error) or type(error).__name__}.") from error
    if encode(value) != body:
        raise PeerError(f"{what} is not in its one canonical spelling.")
    return checked


def _refuse_map(pairs: object) -> object:
    raise FieldError("no map at all")
