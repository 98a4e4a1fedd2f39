"""Reading and acting need the operator: a link that works once, a cookie, or the token."""

from __future__ import annotations

import pytest

from setsync.limits import WEB_LOGIN_SECONDS, WEB_SESSION_SECONDS
from setsync.web.guests import Door
from setsync.web.place import Place
from tests.helpers import keys
from tests.web.calling import Browser, Node, Page, call, page_of

FRESH = bytes(range(16))


def _paths(page: Page, door: Door) -> list[tuple[str, str]]:
    return [
        (method, route.path.replace("{id}", "ab" * 32))
        for route in page.routes
        for method in route.methods
        if route.door is door
    ]


async def test_a_stranger_sees_nothing_on_any_route(node: Node) -> None:
    (entry,) = node.put("private/notes", b"a secret recipe")
    known = {
        entry.id.hex(),
        "private/notes",
        "secret recipe",
        node.directory.node_key().public.hex(),
    }
    async with page_of(node) as page:
        for method, path in _paths(page, Door.OPERATOR):
            for headers in (
                {},
                {"authorization": "Bearer wrong"},
                {"authorization": "Basic " + node.token.text},
                {"cookie": "setsync-2020=wrong"},
                {"cookie": "setsync-2020=" + node.token.text},
            ):
                answer = await call(page.app, path, method, headers)
                assert answer.status == 401, (method, path, headers)
                assert answer.header("www-authenticate").startswith("Bearer")
                assert not [text for text in known if text in answer.text]


async def test_only_whether_it_lives_and_the_login_are_open(node: Node) -> None:
    async with page_of(node) as page:
        assert {path for _, path in _paths(page, Door.OPEN)} == {"/healthz", "/readyz", "/login"}
        assert (await call(page.app, "/healthz")).body == b"ok\n"
        assert (await call(page.app, "/readyz")).body == b"ok\n"
        page.site.is_ready = False
        assert (await call(page.app, "/readyz")).status == 503


async def test_the_token_reads_and_acts_without_a_cookie(node: Node) -> None:
    async with page_of(node) as page:
        assert (await page.get("/api/overview")).status == 200
        assert (await page.get("/metrics")).status == 200
        headers = {**page.bearer, "content-type": "application/json"}
        body = b'{"key": "ab"}'
        answer = await call(page.app, "/api/peers/sync", "POST", headers, body)
        assert (answer.status, answer.json()["error"]["code"]) == (404, "no_such_peer")


async def test_a_link_logs_in_once_and_then_never_again(node: Node) -> None:
    async with page_of(node) as page:
        link = f"/login?code={node.token.code(node.clock, FRESH)}"
        first = await call(page.app, link, headers={"sec-fetch-site": "none"})
        assert (first.status, first.header("location")) == (303, "/")
        assert (await Browser(page, first.cookie).get("/")).status == 200
        again = await call(page.app, link, headers={"sec-fetch-site": "none"})
        assert again.status == 403
        assert "set-cookie" not in dict(again.headers)
        assert "used up" in again.text


async def test_the_code_can_be_typed_instead(node: Node) -> None:
    async with page_of(node) as page:
        code = node.token.code(node.clock, FRESH)
        headers = {"content-type": "application/x-www-form-urlencoded"}
        body = f"code={code}".encode()
        assert (await call(page.app, "/login", "POST", headers, body)).status == 303
        assert (await call(page.app, "/login", "POST", headers, body)).status == 403


async def test_a_link_is_good_for_two_minutes(node: Node) -> None:
    async with page_of(node) as page:
        late = f"/login?code={node.token.code(node.clock, FRESH)}"
        node.clock += int(WEB_LOGIN_SECONDS * 1000) + 1
        assert (await call(page.app, late)).status == 403
        early = f"/login?code={node.token.code(node.clock + 60_000, FRESH)}"
        assert (await call(page.app, early)).status == 403


async def test_a_link_from_before_the_node_started_is_refused(node: Node) -> None:
    code = node.token.code(node.clock - 1, FRESH)  # it may have been used with the run before
    async with page_of(node) as page:
        assert (await call(page.app, f"/login?code={code}")).status == 403


@pytest.mark.parametrize("code", ["", "a", "=", "é", "A" * 75, "A" * 10_000, "%00"])
async def test_what_is_no_code_is_refused_in_words(node: Node, code: str) -> None:
    async with page_of(node) as page:
        assert (await call(page.app, "/login?code=" + code.replace("é", "%C3%A9"))).status == 403


async def test_the_cookie_is_out_of_reach_of_scripts_and_of_other_sites(node: Node) -> None:
    async with page_of(node) as page:
        code = node.token.code(node.clock, FRESH)
        answer = await call(page.app, f"/login?code={code}")
        parts = {part.strip().lower() for part in answer.header("set-cookie").split(";")[1:]}
        assert parts == {"httponly", "samesite=strict", "path=/", "max-age=43200"}


async def test_over_tls_the_cookie_stays_there(node: Node) -> None:
    place = Place("0.0.0.0", 2020, ("notes.example",), node.directory.path, node.directory.path)
    async with page_of(node, place=place) as page:
        code = node.token.code(node.clock, FRESH)
        answer = await call(page.app, f"/login?code={code}", host="notes.example:2020")
        assert answer.cookie.startswith("__Host-setsync-2020=")
        assert "; secure" in answer.header("set-cookie").lower()


async def test_who_has_logged_in_is_out_after_a_working_day(node: Node) -> None:
    async with page_of(node) as page:
        browser = await page.log_in()
        node.clock += int(WEB_SESSION_SECONDS * 1000)
        assert (await browser.get("/")).status == 200
        node.clock += 1
        assert (await browser.get("/")).status == 401


async def test_logging_out_ends_it_for_that_cookie_alone(node: Node) -> None:
    async with page_of(node) as page:
        browser = await page.log_in()
        other = Browser(page, "setsync-2020=" + page.site.logins.open(node.clock))
        csrf = (await browser.get("/")).csrf
        assert (await browser.post("/logout", f"csrf={csrf}".encode())).status == 303
        assert (await browser.get("/")).status == 401
        assert (await other.get("/")).status == 200


async def test_no_change_without_the_token_of_the_page(node: Node) -> None:
    (key,) = keys(1, seed=9)
    async with page_of(node) as page:
        browser = await page.log_in()
        mine = (await browser.get("/")).csrf
        other = Browser(page, "setsync-2020=" + page.site.logins.open(node.clock))
        theirs = (await other.get("/")).csrf
        form = f"key={key.public.hex()}&csrf="
        for path in [path for method, path in _paths(page, Door.OPERATOR) if method == "POST"]:
            for csrf in ("", "wrong", theirs, "é"):
                answer = await browser.post(path, (form + csrf).encode())
                assert answer.status == 403, path
            assert (
                await browser.post(path, form.encode(), **{"x-csrf-token": theirs})
            ).status == 403
        shown = await browser.post("/peers/sync", (form + mine).encode())
        assert shown.status == 404
        by_header = await browser.post("/peers/sync", form.encode(), **{"x-csrf-token": mine})
        assert by_header.status == 404


async def test_what_changes_something_is_not_done_by_get(node: Node) -> None:
    async with page_of(node) as page:
        browser = await page.log_in()
        for path in ("/peers/sync", "/logout"):
            assert (await browser.get(path)).status == 405
        assert (await browser.get("/")).status == 200


async def test_no_secret_is_told_in_the_log(node: Node) -> None:
    async with page_of(node) as page:
        await page.log_in()
        assert page.told == [("web_login", {})]
