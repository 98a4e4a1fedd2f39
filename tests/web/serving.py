"""A real `serve --web`, and plain HTTP to it."""

from __future__ import annotations

import http.client
import json
import signal
import socket
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from setsync.web.token import read_token
from tests.node.processes import PATIENCE, Outcome, Process, run
from tests.web.calling import Answer


class WebServing(Process):
    """A `setsync serve` with a page on a port of its own choice."""

    def __init__(self, data: Path, *words: str | Path) -> None:
        base = ("serve", "--data", data, "--listen", "127.0.0.1:0", "--plain")
        super().__init__(*base, "--web", "127.0.0.1:0", "--log", "json", *words)
        self.data = data
        try:
            self.address = str(self._event("listening")["address"])
            self.url = str(self._event("web_listening")["address"])
        except BaseException:
            self.__exit__()
            raise
        self.port = urlsplit(self.url).port or 0

    def _event(self, name: str) -> dict[str, Any]:
        """By this name, whether it was said already or not: the two come in any order."""
        for line in self.heard:
            event: dict[str, Any] = json.loads(line)
            if event["event"] == name:
                return event
        return self.wait_for_event(name)

    @property
    def bearer(self) -> dict[str, str]:
        token = read_token(self.data / "web.token")
        return {"authorization": f"Bearer {token.text}"}

    def ask(self, path: str, method: str = "GET", **headers: str) -> Answer:
        """One request with the token."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        try:
            connection.request(method, path, headers={**self.bearer, **headers})
            response = connection.getresponse()
            found = [(name.lower(), value) for name, value in response.getheaders()]
            return Answer(response.status, found, response.read())
        finally:
            connection.close()

    def json(self, path: str) -> Any:
        """What /api/ says."""
        return json.loads(self.ask(path).body)

    def connect(self) -> socket.socket:
        """A bare connection."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE)

    def link(self) -> str:
        """What `web open` prints."""
        return str(run("web", "open", "--data", self.data, "--json").json["link"])

    def stop(self) -> Outcome:
        """End it in order."""
        self.kill(signal.SIGTERM)
        return self.end()
