"""Where a data directory is: the machine, and the folder on its disk.

Kept in the directory when it is made, so that a copy of it, which has the same keys and would go
on where the original goes on, is told from it. `adopt` makes a copy the original.

A machine is known by the id that its system gave it when it was installed, and not by anything
that changes when it starts again. The number of a disk may change then; so it only counts as long
as the machine has not been started since.
"""

from __future__ import annotations

import json
import os
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path

from setsync.errors import PlaceFileError
from setsync.store.durable import sync_to_disk

PLACE_FILE = "place.json"
_FORMAT = 1
# The file has about 200 bytes.
_MOST = 4_096
_MACHINE_IDS = (Path("/etc/machine-id"), Path("/var/lib/dbus/machine-id"))
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True)
class Place:
    """One folder on one machine. `boot`: since when the machine is up, empty if unknown."""

    machine: str
    boot: str
    device: int
    inode: int

    @classmethod
    def of(cls, directory: Path) -> Place:
        """Where a directory is now. Raises PlaceFileError."""
        try:
            about = directory.stat()
        except OSError as error:
            raise PlaceFileError(f"{directory} cannot be looked at: {error.strerror}.") from error
        return cls(machine_id(), _first_line(_BOOT_ID), about.st_dev, about.st_ino)

    def is_same(self, other: Place) -> bool:
        """Whether both are one folder, moved at most."""
        if (self.machine, self.inode) != (other.machine, other.inode):
            return False
        return self.device == other.device or self.boot != other.boot


def machine_id() -> str:
    """What tells this machine from others; not secret, and not told to anybody."""
    found = (_first_line(path) for path in _MACHINE_IDS)
    return next((text for text in found if text), f"{uuid.getnode():012x}")


def _first_line(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()[:64]
    except (OSError, ValueError):
        return ""


# Written into a backup: no folder is there.
NOWHERE = Place("", "", 0, 0)


def record_place(directory: Path, place: Place | None = None) -> None:
    """Note that the directory belongs where it is now, or in `place`. Raises PlaceFileError."""
    content = json.dumps({"setsync_place": _FORMAT} | asdict(place or Place.of(directory)))
    draft = directory / (PLACE_FILE + ".new")
    try:
        with draft.open("w", encoding="ascii") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(content + "\n")
            file.flush()
            os.fsync(file.fileno())
        draft.rename(directory / PLACE_FILE)
        sync_to_disk(directory)
    except OSError as error:
        raise PlaceFileError(f"{draft} cannot be written: {error.strerror}.") from error


def recorded_place(directory: Path) -> Place | None:
    """Where the directory belongs; None for one made before this was noted.

    Raises PlaceFileError.
    """
    path = directory / PLACE_FILE
    try:
        with path.open("rb") as file:
            found = json.loads(file.read(_MOST))
        if found.pop("setsync_place") != _FORMAT:
            raise ValueError("it is of another format")
        place = Place(**found)
        kinds = [type(value) for value in asdict(place).values()]
        if kinds != [str, str, int, int]:
            raise ValueError("a field is of another kind")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise PlaceFileError(f"{path} cannot be read: {error.strerror}.") from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise PlaceFileError(f"{path} does not say where the directory belongs.") from error
    return place


def is_in_place(directory: Path) -> bool:
    """Whether the directory is where it belongs. One that nothing is noted of yet is noted now.

    Raises PlaceFileError.
    """
    place = recorded_place(directory)
    if place is None:
        record_place(directory)
        return True
    return place.is_same(Place.of(directory))
