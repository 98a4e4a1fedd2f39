"""Templates as text: ours, and each guest's under its name. All that is put in is escaped."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jinja2 import ChoiceLoader, Environment, FileSystemLoader, PrefixLoader, StrictUndefined
from markupsafe import Markup

from setsync.web.guests import Guest

_HERE = Path(__file__).parent / "templates"
_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB")


class Templates:
    """All templates of one page."""

    def __init__(self, guests: Sequence[Guest]) -> None:
        folders = {
            guest.name: FileSystemLoader(folder / "templates")
            for guest in guests
            if (folder := guest.folder()) is not None
        }
        self._environment = Environment(
            loader=ChoiceLoader([FileSystemLoader(_HERE), PrefixLoader(folders)]),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.filters |= {
            "moment": moment,
            "clock": clock,
            "size": size,
            "number": number,
            "short": short,
        }

    def render(self, template: str, **values: Any) -> str:
        """One template."""
        return self._environment.get_template(template).render(**values)


def moment(at: int | None) -> Markup:
    """Milliseconds since 1970 as an element that a browser shows in its own time zone."""
    if not at:
        return Markup("never")
    try:
        when = datetime.fromtimestamp(at / 1000, tz=UTC)
    except (ValueError, OverflowError, OSError):
        return Markup("{}").format(at)  # no calendar has it
    return Markup('<time datetime="{}">{} UTC</time>').format(
        when.isoformat(timespec="milliseconds"), when.strftime("%Y-%m-%d %H:%M:%S")
    )


def clock(at: int) -> Markup:
    """The same, without the day where that is today."""
    when = datetime.fromtimestamp(at / 1000, tz=UTC)
    return Markup('<time class="clock" datetime="{}">{} UTC</time>').format(
        when.isoformat(timespec="milliseconds"), when.strftime("%H:%M:%S")
    )


def size(count: float) -> str:
    """Bytes for people: `312 bytes`, `4.2 MiB`."""
    unit = 0
    while count >= 1024 and unit < len(_UNITS) - 1:
        count /= 1024
        unit += 1
    return f"{count:.0f} {_UNITS[unit]}" if unit == 0 else f"{count:.1f} {_UNITS[unit]}"


def number(value: float) -> str:
    """With blanks between thousands that do not break."""
    return f"{value:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def short(text: str) -> str:
    """The first digits of a key or an id."""
    return text[:12] + "…" if len(text) > 16 else text
