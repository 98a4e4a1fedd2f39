"""A payload for eyes: as JSON, CBOR or text if it is one of these, else as hex.

What it is, is guessed from its bytes: nothing in an entry says. Whatever comes out is text, to be
escaped like any other.
"""

from __future__ import annotations

import base64
import io
import json
from dataclasses import dataclass
from typing import Any

import cbor2

from setsync.limits import MAX_WEB_HEX, MAX_WEB_TEXT

_MOST_DEEP = 32
_ROW = 16


@dataclass(frozen=True, slots=True)
class Shown:
    """`kind`: json, cbor, text, binary or empty. `whole`: whether all of it is in `text`."""

    kind: str
    text: str
    whole: bool = True


def show(payload: bytes) -> Shown:
    """Never raises."""
    if not payload:
        return Shown("empty", "")
    for reads in (_json, _text, _cbor):
        shown = reads(payload)
        if shown is not None:
            return shown
    return _hex(payload)


def _json(payload: bytes) -> Shown | None:
    if payload.lstrip()[:1] not in (b"{", b"[") or len(payload) > MAX_WEB_TEXT:
        return None
    try:
        value = json.loads(payload)
        return _cut("json", json.dumps(value, indent=2, ensure_ascii=False))
    except (ValueError, RecursionError):
        return None


def _cbor(payload: bytes) -> Shown | None:
    """Only what is a map or an array: any bytes begin with some CBOR number."""
    if payload[0] >> 5 not in (4, 5) or len(payload) > MAX_WEB_TEXT:
        return None
    try:
        stream = io.BytesIO(payload)
        value = cbor2.CBORDecoder(stream, max_depth=_MOST_DEEP).decode()
        if stream.tell() != len(payload):
            return None
        return _cut("cbor", json.dumps(_plain(value), indent=2, ensure_ascii=False))
    except Exception:  # whatever a decoder makes of bytes that are none
        return None


def _plain(value: Any) -> Any:
    """What JSON has no word for becomes a text that says what it was."""
    match value:
        case dict():
            return {
                k if isinstance(k, str) else repr(_plain(k)): _plain(v) for k, v in value.items()
            }
        case list() | tuple() | set() | frozenset():
            return [_plain(one) for one in value]
        case bytes():
            return f"h'{value.hex()}'"
        case None | bool() | int() | float() | str():
            return value
        case _:
            return repr(value)


def _text(payload: bytes) -> Shown | None:
    cut = payload[: MAX_WEB_TEXT + 1]
    try:
        text = cut.decode("utf-8")
    except UnicodeDecodeError as error:
        # A character may have been cut through at the end.
        if len(cut) == len(payload) or error.start < len(cut) - 4:
            return None
        text = cut[: error.start].decode("utf-8")
    if not all(character.isprintable() or character in "\t\r\n" for character in text):
        return None
    return _cut("text", text, whole=len(payload) <= MAX_WEB_TEXT)


def _hex(payload: bytes) -> Shown:
    """As `hexdump -C` would: offset, bytes, and what of it is ASCII."""
    lines = []
    for at in range(0, min(len(payload), MAX_WEB_HEX), _ROW):
        row = payload[at : at + _ROW]
        letters = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in row)
        lines.append(f"{at:08x}  {row.hex(' '):<47}  {letters}")
    return Shown("binary", "\n".join(lines), len(payload) <= MAX_WEB_HEX)


def _cut(kind: str, text: str, *, whole: bool = True) -> Shown:
    return Shown(kind, text[:MAX_WEB_TEXT], whole and len(text) <= MAX_WEB_TEXT)


def payload_json(payload: bytes | None) -> dict[str, object] | None:
    """For /api/: how it is shown, and its bytes in base64 as far as a page would show it."""
    if payload is None:
        return None
    shown = show(payload)
    return {
        "kind": shown.kind,
        "text": shown.text,
        "whole": shown.whole,
        "base64": base64.b64encode(payload[:MAX_WEB_TEXT]).decode("ascii"),
    }
