"""A small JSON file in the data directory, read and written whole.

Commands change it while a node runs, and the node looks at it again when it has changed. One
writer at a time; a reader sees what was there before a change or after it, nothing between.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from setsync.errors import LocalError, NewerFormatError, SetsyncError
from setsync.node.filelock import lock_file
from setsync.store.durable import sync_to_disk

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Format(Generic[T]):
    """What is in a file, and which error says that it is not.

    The file is one JSON object; its member `mark` is the format's version, `version` at most.
    `what` names it in a sentence ("a list of peers"). `empty` makes what a missing file says.
    `parse` gets the object and may raise ValueError, KeyError, TypeError, AttributeError or an
    error of ours for what is none; `dump` gives the other members. `limit` in bytes.
    """

    mark: str
    version: int
    what: str
    limit: int
    error: type[LocalError]
    empty: Callable[[], T]
    parse: Callable[[dict[str, Any]], T]
    dump: Callable[[T], dict[str, Any]]

    def decode(self, path: Path, content: bytes) -> T:
        """Raises the format's error, NewerFormatError."""
        try:
            if len(content) > self.limit:
                raise ValueError("it is too long")
            found = json.loads(content)
            self._check_version(path, found[self.mark])
            return self.parse(found)
        except NewerFormatError:
            raise
        except (
            ValueError,
            KeyError,
            TypeError,
            AttributeError,
            RecursionError,
            SetsyncError,
        ) as error:
            raise self.error(f"{path} is not {self.what}: {_reason(error)}.") from error

    def _check_version(self, path: Path, version: object) -> None:
        if type(version) is not int or version < 1:
            raise ValueError(f"{version!r} is no format")
        if version > self.version:
            raise NewerFormatError(
                f"{path} has format {version}; this version reads up to {self.version}."
            )

    def encode(self, path: Path, value: T) -> bytes:
        """Raises the format's error when it would be too long to be read again."""
        found = {self.mark: self.version} | self.dump(value)
        content = json.dumps(found, indent=1).encode("ascii") + b"\n"
        if len(content) > self.limit:
            raise self.error(f"{path} would be longer than {self.limit:,} bytes.")
        return content


def _reason(error: Exception) -> str:
    return str(error).removesuffix(".")


@dataclass(slots=True)
class Draft(Generic[T]):
    """What is being changed: put another value into it, or change the one that is there."""

    value: T


class LockedFile(Generic[T]):
    """The file, for readers and for one writer at a time.

    The lock is NAME.lock beside it, see `filelock`; a writer waits `lock_seconds` for it.
    """

    def __init__(self, path: Path, format_: Format[T], lock_seconds: float) -> None:
        self.path = path
        self._format = format_
        self._lock_seconds = lock_seconds
        self._seen: tuple[int, int, int] | None = None
        self._value = format_.empty()

    def read(self) -> T:
        """What is in the file, parsed again only when it has changed. Not to be changed.

        Raises the format's error, NewerFormatError.
        """
        try:
            with self.path.open("rb") as file:
                about = os.fstat(file.fileno())
                seen = (about.st_ino, about.st_size, about.st_mtime_ns)
                if seen == self._seen:
                    return self._value
                content = file.read(self._format.limit + 1)
        except FileNotFoundError:
            return self._format.empty()
        except OSError as error:
            raise self._format.error(f"{self.path} cannot be read: {error.strerror}.") from error
        self._value, self._seen = self._format.decode(self.path, content), seen
        return self._value

    @contextlib.contextmanager
    def changing(self) -> Iterator[Draft[T]]:
        """Change what is in the draft inside the block; it is on the disk afterwards.

        Raises the format's error, NewerFormatError; then nothing has changed.
        """
        descriptor = self._lock()
        try:
            # Other threads may look at what was read last, and must not see half a change.
            draft = Draft(LockedFile(self.path, self._format, self._lock_seconds).read())
            yield draft
            self._write(self._format.encode(self.path, draft.value))
        finally:
            os.close(descriptor)

    def _lock(self) -> int:
        """A change takes a moment; whoever holds the lock longer is stopped, not busy."""
        lock = self.path.with_suffix(".lock")
        try:
            return lock_file(lock, self._lock_seconds)
        except TimeoutError as error:
            raise self._format.error(
                f"Another process has been changing {self.path} for {self._lock_seconds:g} seconds."
            ) from error
        except OSError as error:
            raise self._format.error(f"{lock} cannot be opened: {error.strerror}.") from error

    def _write(self, content: bytes) -> None:
        draft = self.path.with_name(self.path.name + ".new")
        try:
            with draft.open("wb") as file:
                os.fchmod(file.fileno(), 0o600)
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            draft.rename(self.path)
            sync_to_disk(self.path.parent)
        except OSError as error:
            raise self._format.error(f"{self.path} cannot be written: {error.strerror}.") from error
