"""URLs of homes: what is none is refused before anybody is asked anything."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from bamboo_compat.homes.messages import Who
from bamboo_compat.homes.roads import Web, road_to
from setsync.errors import PeerError, PeerGoneError, UsageError
from setsync.node.identity import Identity
from tests.bamboo.homes.scenes import key_of

ME = Identity(bytes(32), b"", b"")
KEY = key_of(1).public.hex()


@pytest.mark.parametrize("host", ["a..b", "a" * 64 + ".org", "a." + "b" * 70, "."])
@pytest.mark.parametrize("form", ["https://{}", "https://{}:8443", f"setsync://{KEY}@{{}}:7717"])
def test_a_host_that_nobody_could_look_up_is_a_wrong_url(form: str, host: str) -> None:
    with pytest.raises(UsageError, match="no name of a host"):
        road_to(form.format(host), ME, None)


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://example.org.", "example.org."),
        ("https://bücher.example", "bücher.example"),
        ("https://[2001:db8::1]:8443", "2001:db8::1"),
        ("http://[::1]", "::1"),
        ("https://" + "a" * 63 + ".org", "a" * 63 + ".org"),
    ],
)
def test_names_and_addresses_of_hosts_are_taken_as_they_are(url: str, host: str) -> None:
    road = road_to(url, ME, None)
    assert isinstance(road, Web)
    assert road.host == host


@pytest.mark.parametrize(
    ("status", "kind"), [(404, PeerError), (429, PeerGoneError), (503, PeerGoneError)]
)
def test_a_page_that_is_busy_is_none_without_homes(status: int, kind: type[PeerError]) -> None:
    """Later it will answer; nobody has to do without it."""

    class Page(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            """Only the status."""
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Nothing."""

    with HTTPServer(("127.0.0.1", 0), Page) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        road = road_to(f"http://127.0.0.1:{server.server_port}", ME, None)
        with pytest.raises(PeerError, match=f"answers {status}") as caught:
            road.ask(Who())
        thread.join(10)
    assert type(caught.value) is kind
