"""No page from elsewhere reads or acts, on any address; and every answer says what browsers may
do with it (T27)."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from setsync.limits import MAX_WEB_BODY, MAX_WEB_HEADERS, WEB_SECONDS
from setsync.web.gate import POLICY
from setsync.web.place import Place
from tests.web.calling import HOST, ORIGIN, Node, Page, call, page_of

EVIL = "http://evil.example"

# Host, Origin, Sec-Fetch-Site (None: not sent), and what comes of it.
HOSTILE: list[tuple[str | None, str | None, str | None, int]] = [
    ("evil.example", None, None, 421),
    ("evil.example:2020", "http://evil.example:2020", "same-origin", 421),
    ("127.0.0.1:2021", None, "none", 421),
    ("127.0.0.1", None, None, 421),
    ("localhost.evil.example:2020", None, None, 421),
    ("127.0.0.1:2020.evil.example", ORIGIN, "same-origin", 421),
    (None, None, None, 421),
    ("", ORIGIN, "same-origin", 421),
    (HOST, EVIL, None, 403),
    (HOST, EVIL, "same-origin", 403),
    (HOST, "null", None, 403),
    (HOST, "null", "cross-site", 403),
    (HOST, "https://127.0.0.1:2020", None, 403),
    (HOST, "http://127.0.0.1:2021", "same-site", 403),
    (HOST, "http://127.0.0.1:2020.evil.example", None, 403),
    (HOST, None, "cross-site", 403),
    (HOST, None, "same-site", 403),
    (HOST, ORIGIN, "cross-site", 403),
    (HOST, None, "anything else", 403),
]


def paths(page: Page) -> list[tuple[str, str]]:
    """Every route that there is, with each of its methods; and the static files."""
    found = [
        (method, route.path.replace("{id}", "ab" * 32))
        for route in page.routes
        for method in route.methods
    ]
    return [*found, ("GET", "/static/page.js"), ("GET", "/nowhere"), ("POST", "/nowhere")]


@pytest.mark.parametrize(("host", "origin", "site", "status"), HOSTILE)
async def test_who_comes_from_elsewhere_is_refused_on_every_route(
    node: Node, host: str | None, origin: str | None, site: str | None, status: int
) -> None:
    node.put("notes", b"private")
    async with page_of(node) as page:
        browser = await page.log_in()
        csrf = (await browser.get("/")).csrf
        headers = {"cookie": browser.cookie, "x-csrf-token": csrf, **page.bearer}
        if origin is not None:
            headers["origin"] = origin
        if site is not None:
            headers["sec-fetch-site"] = site
        for method, path in paths(page):
            answer = await call(page.app, path, method, headers, host=host)
            assert answer.status == status, (method, path)
            assert b"private" not in answer.body
            assert not [name for name, _ in answer.headers if name.startswith("access-control")]
            assert "set-cookie" not in dict(answer.headers), path


async def test_what_the_user_types_or_our_own_page_asks_gets_through(node: Node) -> None:
    allowed = [
        (HOST, None, None),
        (HOST, None, "none"),
        (HOST, None, "same-origin"),
        (HOST, ORIGIN, "same-origin"),
        ("localhost:2020", "http://localhost:2020", "same-origin"),
        ("LOCALHOST:2020", None, "none"),
        ("[::1]:2020", "http://[::1]:2020", "same-origin"),
    ]
    async with page_of(node) as page:
        for host, origin, site in allowed:
            headers = dict(page.bearer)
            if origin is not None:
                headers["origin"] = origin
            if site is not None:
                headers["sec-fetch-site"] = site
            assert (await call(page.app, "/", headers=headers, host=host)).status == 200


async def test_a_form_of_ours_whose_origin_is_hidden_by_our_own_policy_gets_through(
    node: Node,
) -> None:
    async with page_of(node) as page:
        browser = await page.log_in()
        csrf = (await browser.get("/")).csrf
        answer = await browser.post("/logout", f"csrf={csrf}".encode(), origin="null")
        assert answer.status == 303


async def test_no_change_is_taken_for_something_the_user_typed(node: Node) -> None:
    async with page_of(node) as page:
        headers = {**page.bearer, "sec-fetch-site": "none"}
        assert (await call(page.app, "/peers/sync", "POST", headers)).status == 403


async def test_every_answer_has_the_strict_policy_and_no_door_for_other_origins(
    node: Node,
) -> None:
    node.put("notes", b"one")
    async with page_of(node) as page:
        for headers in ({}, page.bearer):
            for method, path in paths(page):
                if (path, headers) == ("/events", page.bearer):
                    continue  # it never ends; see test_serving
                answer = await call(page.app, path, method, headers)
                assert answer.header("content-security-policy") == POLICY, path
                assert answer.header("x-content-type-options") == "nosniff"
                assert answer.header("referrer-policy") == "no-referrer"
                names = {name for name, _ in answer.headers}
                assert not [name for name in names if name.startswith("access-control")]
                wanted = "no-cache" if path.startswith("/static/") else "no-store"
                if answer.status < 400:
                    assert answer.header("cache-control") == wanted
        refused = await call(page.app, "/", host="evil.example")
        assert refused.header("content-security-policy") == POLICY


def test_the_policy_allows_nothing_inline_and_nothing_from_outside() -> None:
    rules = dict(part.strip().split(" ", 1) for part in POLICY.split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["script-src"] == rules["style-src"] == rules["connect-src"] == "'self'"
    assert rules["frame-ancestors"] == rules["base-uri"] == "'none'"
    assert rules["form-action"] == "'self'"
    assert "unsafe" not in POLICY
    assert "http" not in POLICY


@pytest.mark.parametrize("method", ["OPTIONS", "PUT", "DELETE", "PATCH", "TRACE", "CONNECT"])
async def test_other_methods_and_so_preflights_are_refused(node: Node, method: str) -> None:
    async with page_of(node) as page:
        assert (await call(page.app, "/api/overview", method, page.bearer)).status == 405


async def test_a_header_that_is_there_twice_decides_nothing(node: Node) -> None:
    async with page_of(node) as page:
        for name, value in (("host", "evil.example"), ("origin", EVIL), ("origin", ORIGIN)):
            headers = [("origin", ORIGIN), *page.bearer.items(), (name, value)]
            assert (await call(page.app, "/", headers=headers)).status == 400


async def test_too_long_headers_and_bodies_are_refused(node: Node) -> None:
    async with page_of(node) as page:
        long = {**page.bearer, "x-anything": "a" * MAX_WEB_HEADERS}
        assert (await call(page.app, "/", headers=long)).status == 431
        told = {**page.bearer, "content-length": str(MAX_WEB_BODY + 1)}
        assert (await call(page.app, "/peers/sync", "POST", told)).status == 413
        odd = {**page.bearer, "content-length": "-1"}
        assert (await call(page.app, "/peers/sync", "POST", odd)).status == 413
        parts = [b"a" * 65_536] * (MAX_WEB_BODY // 65_536 + 1)
        assert (await call(page.app, "/peers/sync", "POST", page.bearer, parts)).status == 413


async def test_a_body_where_none_belongs_is_refused(node: Node) -> None:
    async with page_of(node) as page:
        headers = {**page.bearer, "content-length": "5"}
        assert (await call(page.app, "/", "GET", headers, b"hello")).status == 400


async def test_a_body_that_does_not_come_is_waited_for_ten_seconds(
    node: Node, autojump_clock: trio.testing.MockClock
) -> None:
    async with page_of(node) as page:
        before = trio.current_time()
        answer = await call(page.app, "/peers/sync", "POST", page.bearer, [])
        assert answer.status == 408
        assert WEB_SECONDS <= trio.current_time() - before < WEB_SECONDS + 1


async def test_websockets_are_closed_before_they_open(node: Node) -> None:
    async with page_of(node) as page:
        sent: list[object] = []

        async def send(message: object) -> None:
            sent.append(message)

        async def receive() -> dict[str, object]:
            return {"type": "websocket.connect"}

        await page.app({"type": "websocket", "headers": []}, receive, send)
        assert sent == [{"type": "websocket.close", "code": 1008}]


async def test_behind_a_name_only_that_name_is_known(node: Node) -> None:
    place = Place("127.0.0.1", 2020, ("notes.example",))
    async with page_of(node, place=place) as page:
        for host, origin in (
            ("notes.example", "https://notes.example"),
            ("notes.example:2020", "http://notes.example:2020"),
            (HOST, ORIGIN),
        ):
            headers = {**page.bearer, "origin": origin, "sec-fetch-site": "same-origin"}
            assert (await call(page.app, "/", headers=headers, host=host)).status == 200
        assert (await call(page.app, "/", headers=page.bearer, host="other.example")).status == 421
