"""URLs of homes: what is none is refused before anybody is asked anything."""

from __future__ import annotations

import pytest

from bamboo_compat.homes.roads import Web, road_to
from setsync.errors import UsageError
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
