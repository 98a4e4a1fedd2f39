"""The page in `serve`: opened before the node, run beside it, told of its sessions."""

from __future__ import annotations

import ssl
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from setsync.cli import logging
from setsync.cli.web_options import PageOptions
from setsync.errors import LocalError, WebLibraryMissingError
from setsync.node.config import DataDirectory
from setsync.node.dialling import Dialler
from setsync.node.live import Keeper, PeerState
from setsync.node.local import Local
from setsync.node.report import Report
from setsync.node.server import Served
from setsync.node.states import States
from setsync.store.lmdb_store import Store
from setsync.web.place import Place, write_url
from setsync.web.token import Token, ensure_token

if TYPE_CHECKING:
    from setsync.web.site import Site

_LIBRARIES = ("hypercorn", "starlette", "jinja2", "prometheus_client", "cbor2")


def check_libraries() -> None:
    """Raises WebLibraryMissingError."""
    missing = [name for name in _LIBRARIES if find_spec(name) is None]
    if missing:
        raise WebLibraryMissingError(f"The page needs {', '.join(missing)}, not installed here.")


@dataclass
class PageRun:
    """One page, from before the node is there to after its end."""

    place: Place
    token: Token
    ready_file: Path | None
    directory: DataDirectory
    states: States
    dialler: Dialler
    tls: ssl.SSLContext | None = None
    _listeners: list[trio.SocketListener] = field(default_factory=list)
    _site: Site | None = None

    @classmethod
    def of(
        cls, options: PageOptions, directory: DataDirectory, states: States, dialler: Dialler
    ) -> PageRun:
        """Raises UsageError, WebTokenError, WebListenError."""
        from setsync.web.listening import tls_context

        place = Place.parse(options.address, options.names, options.certificate, options.key)
        token = ensure_token(directory.web_token_path)
        tls = tls_context(place)
        return cls(place, token, options.ready_file, directory, states, dialler, tls)

    async def open(self) -> None:
        """Take the port. Raises WebListenError."""
        from setsync.web.listening import open_listeners

        self._listeners = await open_listeners(self.place)
        self.place = self.place.at(self._listeners[0].socket.getsockname()[1])

    async def run(self, store: Store, local: Local) -> None:
        """Serve the page until cancelled. Raises LocalError, and what a guest raises."""
        from setsync.web.app import make_app
        from setsync.web.listening import listen

        self._site = site = self._make_site(store, local)
        app = make_app(site)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(site.run)
                nursery.start_soon(listen, app, self._listeners, self.tls)
                self._announce()
                site.is_ready = True
        finally:
            self._remove_files()

    def _make_site(self, store: Store, local: Local) -> Site:
        from setsync.web.guests import load_guests
        from setsync.web.site import Site
        from setsync.web.tally import Tally

        log = logging.logger()
        guests = load_guests(
            lambda name, why: log.warning("web_guest_failed", guest=name, reason=why)
        )
        tally = Tally()
        local.writer.on_batch = tally.batches.note
        return Site(
            store,
            local,
            self.directory,
            self.states,
            self.dialler,
            tally,
            self.place,
            self.token,
            guests,
            log.info,
            log.warning,
        )

    def _announce(self) -> None:
        url = self.place.url
        write_url(self.directory.web_url_path, url)
        if self.ready_file is not None:
            draft = self.ready_file.with_name(f"{self.ready_file.name}.new")
            try:
                draft.write_text(url + "\n", encoding="ascii")
                draft.rename(self.ready_file)
            except OSError as error:
                raise LocalError(
                    f"{self.ready_file} cannot be written: {error.strerror}."
                ) from error
        logging.logger().info("web_listening", address=url)

    def _remove_files(self) -> None:
        for path in (self.directory.web_url_path, self.ready_file):
            if path is not None:
                with suppress(OSError):
                    path.unlink()

    # --- what the node tells --------------------------------------------------------------

    def served(self, served: Served) -> None:
        """A session that another node opened is over."""
        if self._site is not None:
            self._site.served(served)

    def watch(self, keeper: Keeper) -> None:
        """Hear how it goes with a peer that is kept up with."""
        key = next(key for key, one in self.states.keepers.items() if one is keeper)
        heard = keeper.on_change

        def changed(state: PeerState) -> None:
            heard(state)
            if self._site is not None:
                self._site.events.publish("peers")

        def over(report: Report, reason: str) -> None:
            if self._site is not None:
                self._site.dialled(key, report, reason)

        keeper.on_change, keeper.on_session = changed, over
