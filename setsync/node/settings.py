"""What an operator may set, in one table, and which of several sources has the last word.

A flag of `serve` is stronger than an environment variable, that is stronger than the file
`setsync.toml` in the data directory, and that than the default. A list is taken whole from the
strongest source that has one. Everything said about a setting elsewhere (help, docs/settings.md,
`config show`) is made from the table.

Other packages add settings for their options of `serve` with the entry point group
`setsync.settings`, which names a sequence of `Setting`; they are looked for only when they are
needed.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from setsync.errors import (
    EnvironmentVariableError,
    SetsyncError,
    SettingsFileError,
    UsageError,
)
from setsync.limits import (
    DEFAULT_MAX_PAYLOAD,
    MAP_SIZE,
    MAX_CONNECTIONS,
    MAX_MAP_SIZE,
    MAX_PATTERN_SEGMENTS,
    MAX_PATTERNS,
    MAX_PAYLOAD,
    MAX_SETTINGS_FILE,
    MAX_VERIFIERS,
    MOST_CONNECTIONS,
    MOST_VERIFIERS,
)
from setsync.model.collection import Pattern, check_fits

FILE = "setsync.toml"
PREFIX = "SETSYNC_"
ENTRY_POINT_GROUP = "setsync.settings"

Plain = str | int | bool | tuple[str, ...] | None
"""A setting's value; None: nothing is set, where that is possible."""


class Kind(enum.Enum):
    """What values a setting may have, in words."""

    TEXT = "text"
    ADDRESS = "HOST:PORT"
    PATH = "the path of a file"
    SWITCH = "true or false"
    BYTES = "a number of bytes"
    COUNT = "a number"
    CHOICE = "one of"
    TEXTS = "a list of texts"
    PATTERNS = (
        f"a list of up to {MAX_PATTERNS} patterns of collections, "
        f"of {MAX_PATTERN_SEGMENTS:,} segments in all"
    )

    @property
    def is_list(self) -> bool:
        """Whether it has several values."""
        return self in (Kind.TEXTS, Kind.PATTERNS)


class Setting(NamedTuple):
    """One row of the table. `name` is the key in the file; `flag` is that of `serve`, if there is
    one. `least` and `most` bound a number. `reloads`: a running `serve` takes a new value from the
    file when it gets SIGHUP. `empty` says in words what nothing means."""

    name: str
    kind: Kind
    default: Plain
    sentence: str
    flag: str | None = None
    metavar: str = ""
    choices: tuple[str, ...] = ()
    least: int = 1
    most: int = 0
    reloads: bool = False
    empty: str = ""

    @property
    def variable(self) -> str:
        """The environment variable."""
        return PREFIX + self.name.upper().replace("-", "_")

    @property
    def wanted(self) -> str:
        """What a value has to be, as half a sentence."""
        match self.kind:
            case Kind.BYTES | Kind.COUNT:
                return f"{self.kind.value} from {self.least} to {self.most}"
            case Kind.CHOICE:
                return f"{self.kind.value} {', '.join(self.choices)}"
            case _:
                return str(self.kind.value)

    def from_file(self, found: object) -> Plain:
        """What the file says. Raises ValueError."""
        if found == "" and self.default is None:
            return None
        if self.kind.is_list:
            if not isinstance(found, list) or not all(type(one) is str for one in found):
                raise ValueError(found)
            return self._checked(tuple(found))
        types = {Kind.SWITCH: bool, Kind.BYTES: int, Kind.COUNT: int}
        if type(found) is not types.get(self.kind, str):
            raise ValueError(found)
        assert isinstance(found, str | int)
        return self._checked(found)

    def from_environment(self, text: str) -> Plain:
        """What an environment variable says; the parts of a list are split as a shell would.

        Raises ValueError.
        """
        if text == "" and self.default is None:
            return None
        text.encode()  # what is not UTF-8 is a ValueError, too
        match self.kind:
            case Kind.TEXTS | Kind.PATTERNS:
                from shlex import split

                return self._checked(tuple(split(text)))
            case Kind.SWITCH:
                if text not in _SWITCHES:
                    raise ValueError(text)
                return _SWITCHES[text]
            case Kind.BYTES | Kind.COUNT:
                if not text.isascii() or not text.isdigit():
                    raise ValueError(text)
                return self._checked(int(text))
            case _:
                return self._checked(text)

    def from_flag(self, value: Plain) -> Plain:
        """What the command line says. Raises ValueError."""
        return self._checked(value)

    def _checked(self, value: Plain) -> Plain:
        match self.kind:
            case Kind.ADDRESS:
                from setsync.node.address import split_address

                split_address(str(value))
            case Kind.BYTES | Kind.COUNT:
                if not isinstance(value, int) or not self.least <= value <= self.most:
                    raise ValueError(value)
            case Kind.CHOICE if value not in self.choices:
                raise ValueError(value)
            case Kind.PATTERNS:
                assert isinstance(value, tuple)
                check_fits([Pattern(text) for text in value])
            case _:
                pass
        return value


_SWITCHES = {"true": True, "1": True, "false": False, "0": False}

# Choices stand here as text, since what they choose is slow to load; a test holds them together.
SETTINGS = (
    Setting(
        "listen",
        Kind.ADDRESS,
        "127.0.0.1:7717",
        "Where to listen; port 0 picks a free one.",
        "--listen",
        "HOST:PORT",
    ),
    Setting(
        "interests",
        Kind.PATTERNS,
        (),
        "Only collections like this; everything by default.",
        "--interest",
        "PATTERN",
        reloads=True,
        empty="everything",
    ),
    Setting(
        "shares",
        Kind.TEXTS,
        (),
        "For this run also share collections like this, with a group of peers or everybody; "
        "from the first share on nothing else is. See 'policy share'.",
        "--share",
        "[GROUP:]PATTERN",
        empty="what 'policy share' says",
    ),
    Setting(
        "peers",
        Kind.TEXTS,
        (),
        "Keep up with this node: catch up, then exchange what is new as it comes.",
        "--peer",
        "ADDRESS|NAME",
        reloads=True,
        empty="nobody",
    ),
    Setting(
        "access",
        Kind.CHOICE,
        "listed",
        "Whom to talk to: everybody but the blocked, those whom 'peers' lists, or those and "
        "who brings an invite.",
        "--access",
        choices=("open", "listed", "invited"),
    ),
    Setting(
        "discover",
        Kind.SWITCH,
        False,
        "Announce this node in the local network, and keep up with those that 'peers' lists "
        "and that are found there.",
        "--discover",
    ),
    Setting(
        "web",
        Kind.ADDRESS,
        None,
        "Also serve the page there, for example at 127.0.0.1:2020; see 'web open'.",
        "--web",
        "HOST:PORT",
        empty="no page",
    ),
    Setting(
        "web-names",
        Kind.TEXTS,
        (),
        "A name under which browsers find the page, besides its address.",
        "--web-name",
        "HOST[:PORT]",
        empty="none",
    ),
    Setting(
        "web-certificate",
        Kind.PATH,
        None,
        "PEM, for TLS away from loopback.",
        "--web-certificate",
        "FILE",
        empty="no TLS",
    ),
    Setting(
        "web-key",
        Kind.PATH,
        None,
        "PEM, of the certificate.",
        "--web-key",
        "FILE",
        empty="no TLS",
    ),
    Setting(
        "on-entry",
        Kind.TEXT,
        None,
        "Run this once and hand it new entries, a JSON object a line on its standard input. "
        "Split into words like a shell would, and not expanded.",
        "--on-entry",
        "COMMAND",
        empty="nothing",
    ),
    Setting(
        "log",
        Kind.CHOICE,
        "auto",
        "How to tell what happens, on standard error; auto: pretty on a terminal, else JSON.",
        "--log",
        choices=("auto", "pretty", "json"),
    ),
    Setting(
        "max-payload",
        Kind.BYTES,
        DEFAULT_MAX_PAYLOAD,
        "The largest payload that this node takes, by every command.",
        most=MAX_PAYLOAD,
        reloads=True,
    ),
    Setting(
        "max-connections",
        Kind.COUNT,
        MAX_CONNECTIONS,
        "Connections of other nodes that this one has at a time, those that stay included.",
        most=MOST_CONNECTIONS,
        reloads=True,
    ),
    Setting(
        "verifiers",
        Kind.COUNT,
        None,
        "Processes that check signatures when many entries come at once, by every command; with 0 "
        "there is none beside the command itself.",
        least=0,
        most=MOST_VERIFIERS,
        empty=f"one a core, {MAX_VERIFIERS} at most",
    ),
    Setting(
        "map-size",
        Kind.BYTES,
        MAP_SIZE,
        "Address space for the store, which doubles when it is full; it takes no room on the disk.",
        most=MAX_MAP_SIZE,
    ),
)


def guest_settings() -> Iterator[Setting]:
    """Those of other packages, as far as they can be loaded."""
    from importlib.metadata import entry_points

    for point in sorted(entry_points(group=ENTRY_POINT_GROUP), key=lambda one: one.name):
        try:
            yield from point.load()
        except Exception:  # ours are none the worse for it
            continue


def all_settings() -> tuple[Setting, ...]:
    """The whole table, guests' rows last."""
    return (*SETTINGS, *guest_settings())


# --- the three sources --------------------------------------------------------------------


class Origin(enum.Enum):
    """Which source had the last word."""

    FLAG = "flag"
    ENVIRONMENT = "environment"
    FILE = "file"
    DEFAULT = "default"


class Value(NamedTuple):
    """What holds. `where`: the flag, the variable or the file; empty for a default."""

    value: Plain
    origin: Origin
    where: str = ""


class Settled(dict[str, Value]):
    """What holds for each setting, by its name."""

    def text(self, name: str) -> str | None:
        """Of a setting that is a text of any kind."""
        value = self[name].value
        assert value is None or isinstance(value, str)
        return value

    def needed(self, name: str) -> str:
        """Of a text that always says something."""
        value = self.text(name)
        assert value is not None
        return value

    def texts(self, name: str) -> tuple[str, ...]:
        """Of a list."""
        value = self[name].value
        assert isinstance(value, tuple)
        return value

    def number(self, name: str) -> int:
        """Of a number."""
        value = self[name].value
        assert isinstance(value, int)
        return value

    def number_if_set(self, name: str) -> int | None:
        """Of a number that may not be set."""
        value = self[name].value
        assert value is None or isinstance(value, int)
        return value

    def switch(self, name: str) -> bool:
        """Of a switch."""
        return bool(self[name].value)

    def changed(self, other: Settled) -> list[str]:
        """The settings that have another value there, in the order of the table."""
        return [name for name, value in self.items() if value.value != other[name].value]


def read_file(directory: Path) -> dict[str, Plain]:
    """What DIR/setsync.toml sets; nothing where there is none. Paths are from the directory on.

    Raises SettingsFileError.
    """
    path = directory / FILE
    try:
        with path.open("rb") as file:
            content = file.read(MAX_SETTINGS_FILE + 1)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise SettingsFileError(f"{path} cannot be read: {error.strerror}.") from error
    if len(content) > MAX_SETTINGS_FILE:
        raise SettingsFileError(f"{path} has more than {MAX_SETTINGS_FILE:,} bytes.")
    found = _decoded(path, content)
    ours = {one.name: one for one in SETTINGS}
    if not found.keys() <= ours.keys():
        ours = {one.name: one for one in all_settings()}
    values = {name: _of_file(path, ours, name, value) for name, value in found.items()}
    return {name: _placed(ours[name], value, directory) for name, value in values.items()}


def _decoded(path: Path, content: bytes) -> dict[str, object]:
    import tomllib

    try:
        return tomllib.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:  # not UTF-8, or not TOML
        raise SettingsFileError(f"{path} is not TOML: {error}.") from error


def _of_file(path: Path, table: Mapping[str, Setting], name: str, value: object) -> Plain:
    setting = table.get(name)
    if setting is None:
        raise SettingsFileError(f"{path}: there is no setting {name!r}{suggestion(name, table)}.")
    try:
        return setting.from_file(value)
    except (ValueError, SetsyncError) as error:
        raise SettingsFileError(f"{path}: {_refusal(setting, name, value, error)}") from error


def _placed(setting: Setting, value: Plain, directory: Path) -> Plain:
    if setting.kind is Kind.PATH and isinstance(value, str):
        return str(directory / value)
    return value


def suggestion(name: str, known: Iterable[str]) -> str:
    """What may have been meant, as the end of a sentence; empty if nothing is like it."""
    from difflib import get_close_matches

    close = get_close_matches(name.lower().replace("_", "-"), list(known), 1)
    return f"; {close[0]!r} may be meant" if close else ""


def _said(
    setting: Setting,
    where: str,
    read: Callable[[Any], Plain],
    found: Plain,
    wrong: type[UsageError],
) -> Plain:
    try:
        return read(found)
    except (ValueError, SetsyncError) as error:
        raise wrong(_refusal(setting, where, found, error)) from error


def _refusal(setting: Setting, where: str, found: object, error: Exception) -> str:
    if isinstance(error, SetsyncError):
        return f"{where}: {error.message}"
    return f"{where} is {setting.wanted}, not {found!r}."


def settle(
    table: Sequence[Setting],
    *,
    flags: Mapping[str, Plain],
    environment: Mapping[str, str],
    file: Mapping[str, Plain],
    path: Path | None = None,
) -> Settled:
    """What holds: of each source what it says, by the setting's name (the environment's by its
    variable); `path` is the file's. Raises UsageError."""
    settled = Settled()
    for setting in table:
        if setting.name in flags:
            where = setting.flag or setting.name
            flag = flags[setting.name]
            value = _said(setting, where, setting.from_flag, flag, UsageError)
            settled[setting.name] = Value(value, Origin.FLAG, where)
        elif setting.variable in environment:
            where, text = setting.variable, environment[setting.variable]
            read = setting.from_environment
            value = _said(setting, where, read, text, EnvironmentVariableError)
            settled[setting.name] = Value(value, Origin.ENVIRONMENT, where)
        elif setting.name in file:
            settled[setting.name] = Value(file[setting.name], Origin.FILE, str(path or FILE))
        else:
            settled[setting.name] = Value(setting.default, Origin.DEFAULT)
    return settled
