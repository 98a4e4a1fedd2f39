"""Where the page is: the address to listen on, the names it has, and whether it needs TLS."""

from __future__ import annotations

import ipaddress
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

from setsync.errors import LocalError, NotServedError, UsageError
from setsync.node.address import join_address, split_address

_NAME = re.compile(r"(?!-)[a-z0-9.-]{1,253}(?<!-)")
_LOOPBACK_HOSTS = ("127.0.0.1", "localhost", "[::1]")
# Longer than any address.
_MOST_BYTES = 1024


@dataclass(frozen=True, slots=True)
class Place:
    """What `serve --web` was told. `names` are those under which browsers find the page, besides
    the address itself: `host` or `host:port`. With `certificate` and `key` (PEM) it is TLS."""

    host: str
    port: int
    names: tuple[str, ...] = ()
    certificate: Path | None = None
    key: Path | None = None

    @classmethod
    def parse(
        cls,
        address: str,
        names: tuple[str, ...] = (),
        certificate: Path | None = None,
        key: Path | None = None,
    ) -> Place:
        """Raises UsageError for what cannot be an address, and for one away from loopback
        without TLS."""
        host, port = split_address(address)
        if (certificate is None) != (key is None):
            raise UsageError("--web-certificate and --web-key go together.")
        place = cls(host, port, tuple(_name(one) for one in names), certificate, key)
        if not place.is_loopback and not place.is_secure:
            raise UsageError(
                f"{host} is not a loopback address, and there the page needs --web-certificate and "
                "--web-key. From another machine, an SSH tunnel to 127.0.0.1 does without."
            )
        return place

    @property
    def is_loopback(self) -> bool:
        """Whether nobody but this machine reaches it. A name that is not localhost may be
        anybody's, and is not resolved."""
        if self.host.lower() == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def is_secure(self) -> bool:
        """Whether it is TLS."""
        return self.certificate is not None

    @property
    def scheme(self) -> str:
        """http or https."""
        return "https" if self.is_secure else "http"

    def at(self, port: int) -> Place:
        """The same with the port that port 0 became."""
        return Place(self.host, port, self.names, self.certificate, self.key)

    @property
    def hosts(self) -> frozenset[str]:
        """What the Host header may say."""
        own = [join_address(_reachable(self.host), self.port).lower()]
        if self.is_loopback or self.host != _reachable(self.host):
            own += [f"{host}:{self.port}" for host in _LOOPBACK_HOSTS]
        for name in self.names:
            own += [name] if _has_port(name) else [name, f"{name}:{self.port}"]
        usual = ":443" if self.is_secure else ":80"
        # Browsers leave the usual port out.
        return frozenset([*own, *(one.removesuffix(usual) for one in own)])

    @property
    def origins(self) -> frozenset[str]:
        """What Origin may say. Behind a name a proxy may have added TLS."""
        named = {name.split(":")[0] for name in self.names}
        return frozenset(
            f"{scheme}://{host}"
            for host in self.hosts
            for scheme in {self.scheme, *(["https"] if host.split(":")[0] in named else [])}
        )

    @property
    def url(self) -> str:
        """As a browser writes it."""
        host = self.names[0] if self.names else _reachable(self.host)
        return f"{self.scheme}://{host if _has_port(host) else join_address(host, self.port)}"


def _reachable(host: str) -> str:
    """Who listens on all addresses is found on this machine's own."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)


def _name(text: str) -> str:
    name, _, port = text.lower().partition(":")
    if not _NAME.fullmatch(name) or not (port == "" or (port.isdigit() and int(port) < 65536)):
        raise UsageError(f"{text!r} is not the name of a host, nor one with a port.")
    return text.lower()


def _has_port(name: str) -> bool:
    return ":" in name and name.rpartition(":")[2].isdigit() and name.count(":") == 1


# --- where it is told to other commands ---------------------------------------------------


def write_url(path: Path, url: str) -> None:
    """Tell other commands, in a file for the owner only. Raises LocalError."""
    draft = path.with_name(f"{path.name}.{os.getpid()}.new")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            json.dump({"setsync_web": 1, "url": url, "pid": os.getpid()}, file)
            file.write("\n")
        draft.rename(path)
    except OSError as error:
        raise LocalError(f"{path} cannot be written: {error.strerror}.") from error


def read_url(path: Path) -> str:
    """Where the page is. Raises NotServedError where there is none."""
    try:
        with path.open("rb") as file:
            found = json.loads(file.read(_MOST_BYTES))
        os.kill(int(found["pid"]), 0)
        return str(found["url"])
    except PermissionError:
        return str(found["url"])  # it lives, and is somebody else's
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise NotServedError("No page of this directory is being served.") from error
