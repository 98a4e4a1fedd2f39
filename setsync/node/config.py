"""Where a node keeps its things, and how much it may keep.

DIR/setsync.json      says that the directory is ours, and its format
DIR/node.key          the node's identity, mode 0600
DIR/author.key        the default author, mode 0600
DIR/store/            LMDB
DIR/serve.lock        held by the one process that serves
DIR/network.key       the key of the network that the node belongs to, if it has one, mode 0600
DIR/peers.json        whom the node knows, and who may talk to it
DIR/policy.json       what the node takes and shows, besides what is valid
DIR/setsync.toml      what the operator has set, if anything
DIR/place.json        where the directory belongs, so that a copy of it is told from it
DIR/web.token         the operator's token for the page, mode 0600
DIR/web.json          where the page is while it is served
DIR/peers-state.json  how it stood with each of them when the serving process last wrote it
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from setsync.errors import (
    DataDirectoryError,
    DirectoryTakenError,
    NewerFormatError,
    StoreLockedError,
)
from setsync.limits import DEFAULT_MAX_PAYLOAD, MAP_SIZE
from setsync.model.keys import SecretKey, read_key_file, write_key_file
from setsync.node.network import NetworkKey, read_network_key, write_network_key
from setsync.node.peers import PeersFile
from setsync.node.place import NOWHERE, record_place
from setsync.node.policy import PolicyFile
from setsync.node.settings import SETTINGS, read_file, settle
from setsync.store.environment import DATA_FILE
from setsync.store.lmdb_store import Store

FORMAT_VERSION = 1
_MARKER = "setsync.json"


# What an operator has said, which is nowhere else; the last belongs to the guest.
_RULES = ("peers.json", "policy.json", "forks.json", "setsync.toml")


# Settings of every command; all others are of `serve`.
_EVERYWHERE = ("max-payload", "map-size", "verifiers")


def default_directory() -> Path:
    """The platform's folder for a user's data."""
    return Path(platformdirs.user_data_dir("setsync", appauthor=False))


@dataclass(frozen=True, slots=True)
class Settings:
    """What every command needs of an operator's settings; see `setsync.node.settings`."""

    max_payload: int = DEFAULT_MAX_PAYLOAD
    map_size: int = MAP_SIZE
    verifiers: int | None = None

    @classmethod
    def read(cls, directory: Path, environment: Mapping[str, str]) -> Settings:
        """From the directory's file and the environment. Raises SettingsFileError, UsageError."""
        table = [one for one in SETTINGS if one.name in _EVERYWHERE]
        file = read_file(directory)
        found = settle(table, flags={}, environment=environment, file=file)
        return cls(
            found.number("max-payload"), found.number("map-size"), found.number_if_set("verifiers")
        )


@dataclass(frozen=True, slots=True)
class DataDirectory:
    """A node's directory, which `init` made and `open` found to be ours."""

    path: Path

    @classmethod
    def init(cls, path: Path, node: SecretKey, author: SecretKey) -> DataDirectory:
        """Make the directory and put both keys into it.

        Raises DataDirectoryError when it is not empty, StoreError when it cannot be made.
        """
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            found = sorted(item.name for item in path.iterdir())
        except OSError as error:
            raise DataDirectoryError(f"{path} cannot be made: {error.strerror}.") from error
        if _MARKER in found:
            raise DirectoryTakenError(f"{path} is a setsync data directory already.")
        if found:
            raise DirectoryTakenError(f"{path} is not empty and not ours: it holds {found[0]!r}.")
        directory = cls(path)
        write_key_file(directory.node_key_path, node)
        write_key_file(directory.author_key_path, author)
        Store.open(directory.store_path).close()
        record_place(path)
        # Last, so that a directory with this mark is complete.
        directory._write_marker()
        return directory

    @classmethod
    def open(cls, path: Path) -> DataDirectory:
        """Raises DataDirectoryError (missing or foreign), NewerFormatError."""
        try:
            marker = json.loads((path / _MARKER).read_text(encoding="utf-8"))
            version = int(marker["setsync"])
        except FileNotFoundError as error:
            what = "is not a setsync data directory" if path.exists() else "does not exist"
            raise DataDirectoryError(f"{path} {what}.") from error
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataDirectoryError(f"{path / _MARKER} cannot be read: {error}.") from error
        if version > FORMAT_VERSION:
            raise NewerFormatError(
                f"{path} has format {version}; this version reads up to {FORMAT_VERSION}."
            )
        return cls(path)

    def copy(self, store: Store, target: Path) -> DataDirectory:
        """Copy one moment of this directory, keys included, into a missing or empty folder.

        `store` is this directory's, open. Raises DataDirectoryError, KeyFileError, StoreError.
        """
        try:
            target.mkdir(mode=0o700, parents=True, exist_ok=True)
            found = sorted(item.name for item in target.iterdir())
        except OSError as error:
            raise DataDirectoryError(f"{target} cannot be made: {error.strerror}.") from error
        if found:
            raise DirectoryTakenError(f"{target} is not empty: it holds {found[0]!r}.")
        directory = DataDirectory(target)
        store.copy(directory.store_path, compact=True)
        (directory.store_path / DATA_FILE).chmod(0o600)
        write_key_file(directory.node_key_path, self.node_key())
        write_key_file(directory.author_key_path, self.author_key())
        network = self.network_key()
        if network is not None:
            write_network_key(directory.network_key_path, network)
        for name in _RULES:
            _copy_file(self.path / name, target / name)
        record_place(target, NOWHERE)
        # Last, as in `init`: a copy that was interrupted is no data directory.
        directory._write_marker()
        return directory

    def _write_marker(self) -> None:
        draft = self.path / (_MARKER + ".new")
        with draft.open("w", encoding="utf-8") as file:
            json.dump({"setsync": FORMAT_VERSION}, file)
            file.flush()
            os.fsync(file.fileno())
        draft.rename(self.path / _MARKER)

    @property
    def store_path(self) -> Path:
        """Where LMDB's files are."""
        return self.path / "store"

    @property
    def node_key_path(self) -> Path:
        """The node's identity."""
        return self.path / "node.key"

    @property
    def author_key_path(self) -> Path:
        """The default author's key."""
        return self.path / "author.key"

    @property
    def network_key_path(self) -> Path:
        """The key of the node's network; no file where it belongs to none."""
        return self.path / "network.key"

    @property
    def peers(self) -> PeersFile:
        """Whom this node knows."""
        return PeersFile(self.path / "peers.json")

    @property
    def policy(self) -> PolicyFile:
        """What this node takes and shows."""
        return PolicyFile(self.path / "policy.json")

    def groups_of(self, key: bytes) -> tuple[str, ...]:
        """The groups of the peer with this key. Raises PeersFileError."""
        return self.peers.read().groups_of(key)

    @property
    def states_path(self) -> Path:
        """How it stands with each peer."""
        return self.path / "peers-state.json"

    @property
    def web_token_path(self) -> Path:
        """The operator's token for the page."""
        return self.path / "web.token"

    @property
    def web_url_path(self) -> Path:
        """Where the page is while it is served."""
        return self.path / "web.json"

    def node_key(self) -> SecretKey:
        """Raises KeyFileError."""
        return read_key_file(self.node_key_path)

    def author_key(self) -> SecretKey:
        """Raises KeyFileError."""
        return read_key_file(self.author_key_path)

    def network_key(self) -> NetworkKey | None:
        """None where the node belongs to no network. Raises KeyFileError."""
        return read_network_key(self.network_key_path)

    def open_store(self, settings: Settings) -> Store:
        """Raises StoreError and its kinds."""
        return Store.open(self.store_path, create=False, map_size=settings.map_size)

    def lock_for_serving(self) -> int:
        """Hold the serve lock until the returned descriptor is closed or this process ends.

        Raises StoreLockedError when another process serves this directory.
        """
        descriptor = os.open(self.path / "serve.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
            os.close(descriptor)
            raise StoreLockedError(
                f"{self.path} is being served already, by process {holder or 'unknown'}."
            ) from error
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        return descriptor


def _copy_file(source: Path, target: Path) -> None:
    """Copy a small file for its owner only, if it is there. Raises DataDirectoryError."""
    try:
        content = source.read_bytes()
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except FileNotFoundError:
        return
    except OSError as error:
        raise DataDirectoryError(f"{source} cannot be copied: {error.strerror}.") from error
