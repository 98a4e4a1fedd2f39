"""Nobody but the operator reads or acts on the pages about forks and homes, by no route; and what
others wrote is text on all of them (T27)."""

from __future__ import annotations

import json
import re
from pathlib import Path
from urllib.parse import quote, urlencode

import cbor2
import pytest

import bamboo_compat.web
from bamboo_compat.homes.book import Client, homes_file
from bamboo_compat.statements.kinds import MAX_REASON, Decide, Hello
from bamboo_compat.statements.kinds import is_printable as may_be_said
from setsync.model.keys import SecretKey
from setsync.web.guests import Door
from tests.bamboo.decisions.worlds import KEY, forks_in
from tests.bamboo.logs import Author, seed
from tests.bamboo.statements.saying import said, say
from tests.bamboo.web.worlds import bring, forked, page_with, put_records, read
from tests.helpers import MIDNIGHT, keys
from tests.web.calling import Browser, Node, Page, call
from tests.web.test_gate import HOSTILE, paths
from tests.web.test_hostile_entries import MARK, SHOWN


def _ours(page: Page, id_: str) -> list[tuple[str, str]]:
    """Every route of both guests, each with its methods, for one fork."""
    found = [
        (method, route.path.replace("{id}", id_))
        for route in page.routes
        if re.match(r"(/api)?/(forks|homes)", route.path)
        for method in route.methods
    ]
    assert len(found) >= 15
    return found


async def test_every_route_is_the_operators(node: Node) -> None:
    async with page_with(node) as page:
        for route in page.routes:
            if re.match(r"(/api)?/(forks|homes)", route.path):
                assert route.door is Door.OPERATOR


async def test_a_stranger_sees_nothing_and_changes_nothing(node: Node) -> None:
    fork, _, _ = forked(node)
    known = {fork.author.hex(), fork.branches[0].hash.hex(), "laptop", "phone"}
    async with page_with(node) as page:
        for method, path in _ours(page, fork.id.hex()):
            for headers in (
                {},
                {"authorization": "Bearer wrong"},
                {"cookie": "setsync-2020=wrong"},
            ):
                answer = await call(page.app, path, method, headers, b"do=ask")
                assert answer.status == 401, (method, path)
                assert not [text for text in known if text in answer.text]
    assert not (node.directory.path / "forks.json").exists()
    assert not (node.directory.path / "homes.json").exists()


@pytest.mark.parametrize(("host", "origin", "site", "status"), HOSTILE)
async def test_who_comes_from_elsewhere_is_refused_on_every_route(
    node: Node, host: str | None, origin: str | None, site: str | None, status: int
) -> None:
    fork, _, _ = forked(node)
    async with page_with(node) as page:
        browser = await page.log_in()
        csrf = (await browser.get("/")).csrf
        headers = {"cookie": browser.cookie, "x-csrf-token": csrf, **page.bearer}
        headers |= {"origin": origin} if origin is not None else {}
        headers |= {"sec-fetch-site": site} if site is not None else {}
        for method, path in [*_ours(page, fork.id.hex()), *paths(page)]:
            answer = await call(page.app, path, method, headers, host=host)
            assert answer.status == status, (method, path)
    assert not (node.directory.path / "forks.json").exists()
    assert not (node.directory.path / "homes.json").exists()


async def test_no_change_without_the_token_of_the_page(node: Node) -> None:
    fork, laptop, _ = forked(node)
    async with page_with(node) as page:
        browser = await page.log_in()
        other = Browser(page, "setsync-2020=" + page.site.logins.open(node.clock))
        theirs = (await other.get("/")).csrf
        form = f"do=decide&branch={laptop.hashes[4].hex()}&yes=true&csrf="
        for method, path in _ours(page, fork.id.hex()):
            if method != "POST":
                continue
            for csrf in ("", "wrong", theirs):
                answer = await browser.post(path, (form + csrf).encode())
                assert answer.status == 403, path
            by_header = await browser.post(path, form.encode(), **{"x-csrf-token": theirs})
            assert by_header.status == 403
    assert not (node.directory.path / "forks.json").exists()
    assert not (node.directory.path / "homes.json").exists()


async def test_what_changes_something_is_not_done_by_get(node: Node) -> None:
    fork, _, _ = forked(node)
    async with page_with(node) as page:
        for path in (f"/forks/{fork.id.hex()}/decide", "/homes/invites/ab/revoke"):
            assert (await page.get(path + "?do=ask")).status == 405
        await page.get(f"/forks/{fork.id.hex()}/confirm?do=ask")
    assert not (node.directory.path / "forks.json").exists()


# --- what others wrote --------------------------------------------------------------------


async def _read_all(page: Page) -> str:
    """Every page about what is here, read as a browser would; their text."""
    text = ""
    found = (await page.get("/api/forks")).json()["forks"]
    shown = ["/forks", "/homes"]
    for one in found:
        path = f"/forks/{one['fork']['id']}"
        branch = one["fork"]["branches"][0]["hash"]
        shown += [path, f"{path}/confirm?do=decide&branch={branch}", f"{path}/confirm?do=ignore"]
    for path in shown:
        answer = await page.get(path)
        assert answer.status == 200, answer.text
        read(answer)
        text += answer.text
    return text


@pytest.mark.parametrize("payload", SHOWN)
async def test_payloads_and_schemas_of_forked_logs_are_text(node: Node, payload: str) -> None:
    laptop = Author()
    made = laptop.grow(1)
    phone = laptop.copy()
    made += [
        laptop.append(payload.encode()),
        phone.append(json.dumps({payload: payload}).encode()),
        phone.append(cbor2.dumps([1, 0, payload, {payload: payload}])),
    ]
    for log_id in (1030, 1040):
        log = Author(2, log_id)
        made.append(log.append(cbor2.dumps([1, 0, payload, {"log": log_id}])))
    put_records(node, made)
    assert len(forks_in(node.store)) == 2
    async with page_with(node) as page:
        assert MARK in await _read_all(page)


@pytest.mark.parametrize("payload", [one for one in SHOWN if may_be_said(one)])
async def test_reasons_urls_and_names_are_text(node: Node, payload: str) -> None:
    fork, laptop, _ = forked(node)
    assert len(payload.encode()) <= MAX_REASON
    bring(node, say(KEY, Decide(fork.id, laptop.hashes[4], payload)))
    one, two = keys(2, seed=50)
    me = node.directory.author_key()
    for author in (me, KEY):
        first = say(author, Hello(one.public, payload))
        bring(node, [*first, *say(author, Hello(two.public, payload), before=said(first[0]))])
    with homes_file(node.directory.path).changing() as draft:
        anna = SecretKey(seed(77)).public
        draft.value.clients[anna] = Client(anna, MIDNIGHT, payload, payload, b"h", b"w")
    async with page_with(node) as page:
        headers = {**page.bearer, "content-type": "application/json"}
        body = json.dumps({"name": payload[:64]}).encode()
        made = await call(page.app, "/homes/invites", "POST", headers, body)
        assert made.status == 201
        read(made)
        decide = {"do": "decide", "branch": laptop.hashes[4].hex(), "reason": payload}
        path = f"/forks/{fork.id.hex()}/decide"
        asked = await call(page.app, path, "POST", headers, json.dumps(decide).encode())
        assert asked.status == 409
        read(asked)
        done = json.dumps({**decide, "yes": True}).encode()
        assert (await call(page.app, "/api" + path, "POST", headers, done)).status == 200
        assert MARK in await _read_all(page)


@pytest.mark.parametrize("payload", SHOWN)
async def test_what_somebody_asks_for_is_text_in_the_answer(node: Node, payload: str) -> None:
    fork, _, _ = forked(node)
    path = f"/forks/{fork.id.hex()}"
    async with page_with(node) as page:
        for asked in (
            "/forks?" + urlencode({"after": payload}),
            "/homes?" + urlencode({"after": payload}),
            "/forks/" + quote(payload, safe=""),
            f"{path}?" + urlencode({"left": payload, "right": payload}),
            f"{path}?" + urlencode({"x": payload}),
            f"{path}/confirm?" + urlencode({"do": payload}),
            f"{path}/confirm?" + urlencode({"do": "decide", "branch": payload}),
            f"{path}/confirm?" + urlencode({"do": "ask", "reason": payload}),
        ):
            answer = await page.get(asked)
            if answer.header("content-type").startswith("text/html"):
                read(answer)


def test_no_template_switches_escaping_off_or_needs_what_the_policy_forbids() -> None:
    folder = Path(bamboo_compat.web.__file__).parent / "templates"
    templates = sorted(folder.glob("*.html"))
    assert len(templates) >= 5
    for template in templates:
        text = template.read_text(encoding="utf-8")
        assert not re.search(r"\|\s*safe|autoescape|Markup", text), template
        assert not re.search(r"\bstyle=|\bon\w+=|<script(?! src=\"/static/)", text), template
