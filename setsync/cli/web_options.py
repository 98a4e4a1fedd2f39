"""The options of `serve` that are about the page, without loading what it is made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from setsync.errors import UsageError

if TYPE_CHECKING:
    from setsync.cli.web_serving import PageRun
    from setsync.node.config import DataDirectory
    from setsync.node.dialling import Dialler
    from setsync.node.states import States

_FILE = click.Path(path_type=Path, dir_okay=False)
_OPTIONS = (
    click.option(
        "--web",
        "web_address",
        metavar="HOST:PORT",
        help="Also serve the page there, for example at 127.0.0.1:2020; see 'web open'.",
    ),
    click.option(
        "--web-name",
        "web_names",
        multiple=True,
        metavar="HOST[:PORT]",
        help="A name under which browsers find the page, besides its address. Repeatable.",
    ),
    click.option(
        "--web-certificate", type=_FILE, metavar="FILE", help="PEM, for TLS away from loopback."
    ),
    click.option("--web-key", type=_FILE, metavar="FILE", help="PEM, of the certificate."),
    click.option(
        "--web-ready-file",
        type=_FILE,
        metavar="FILE",
        help="Gets the page's address once it is there; removed at start and at the end.",
    ),
)


@dataclass(frozen=True, slots=True)
class PageOptions:
    """What was asked for."""

    address: str
    names: tuple[str, ...]
    certificate: Path | None
    key: Path | None
    ready_file: Path | None

    def prepare(self, directory: DataDirectory, states: States, dialler: Dialler) -> PageRun:
        """Raises UsageError, WebLibraryMissingError, WebTokenError, WebListenError."""
        from setsync.cli.web_serving import PageRun, check_libraries

        check_libraries()
        return PageRun.of(self, directory, states, dialler)


def web_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options, given to the command together as `web: PageOptions | None`."""

    @wraps(command)
    def with_page(*args: Any, **values: Any) -> Any:
        names = ("web_address", "web_names", "web_certificate", "web_key", "web_ready_file")
        address, *others = (values.pop(name) for name in names)
        if address is None and any(others):
            raise UsageError("--web HOST:PORT says where to serve the page.")
        web = PageOptions(address, *others) if address is not None else None
        return command(*args, web=web, **values)

    for option in reversed(_OPTIONS):
        with_page = option(with_page)
    return with_page
