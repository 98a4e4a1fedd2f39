"""The options of `serve` that are about the page, without loading what it is made of."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from setsync.errors import UsageError

if TYPE_CHECKING:
    from setsync.cli.web_serving import PageRun
    from setsync.node.config import DataDirectory
    from setsync.node.dialling import Dialler
    from setsync.node.settings import Settled
    from setsync.node.states import States

READY_FILE = click.option(
    "--web-ready-file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Gets the page's address once it is there; removed at start and at the end.",
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


def page_options(settings: Settled, ready_file: Path | None) -> PageOptions | None:
    """What was asked for; None: no page. Raises UsageError."""
    address, names = settings.text("web"), settings.texts("web-names")
    certificate, key = (settings.text(name) for name in ("web-certificate", "web-key"))
    if address is None:
        if names or certificate or key or ready_file:
            raise UsageError("--web HOST:PORT says where to serve the page.")
        return None
    certificate_path = Path(certificate) if certificate is not None else None
    key_path = Path(key) if key is not None else None
    return PageOptions(address, names, certificate_path, key_path, ready_file)
