"""The page about homes: whose home this is, where mine is, invites that are shown once, and what is
wrong said in sentences."""

from __future__ import annotations

import base64
import re
from html import unescape
from urllib.parse import unquote, urlencode

import pytest
import trio
import trio.testing

from bamboo_compat.core import yamf
from bamboo_compat.core.yamf import Flavour
from bamboo_compat.homes.book import Client, homes_file
from bamboo_compat.homes.ledger import Ledger
from setsync.model.keys import SecretKey, write_key_file
from setsync.node.invites import Standing, parse_code
from setsync.web.place import Place
from tests.bamboo.logs import Author, seed
from tests.bamboo.web.worlds import marry, page_with, put_records, read, send
from tests.cli.running import validate
from tests.helpers import MIDNIGHT, keys
from tests.web.calling import Answer, Node, Page, call

HOST = "notes.example:2020"


async def post(page: Page, path: str, **fields: str) -> Answer:
    """A program with the token."""
    headers = {**page.bearer, "content-type": "application/x-www-form-urlencoded"}
    return await call(page.app, path, "POST", headers, urlencode(fields).encode())


def author_of(node: Node) -> SecretKey:
    return node.directory.author_key()


# --- looking ------------------------------------------------------------------------------


async def test_without_homes_the_page_says_how_to_get_one(node: Node) -> None:
    async with page_with(node) as page:
        answer = await page.get("/homes")
        read(answer)
        assert "No home yet" in answer.text
        assert "setsync home join URL CODE" in answer.text
        found = (await page.get("/api/homes")).json()
        validate(found, "web-homes")
        assert (found["mine"]["home"], found["clients"], found["warnings"]) == (None, [], [])


async def test_my_home_is_named_with_its_node_and_since_when(node: Node) -> None:
    (server,) = keys(1, seed=40)
    marry(node, server, "https://home.example", author_of(node))
    async with page_with(node) as page:
        html = (await page.get("/homes")).text
        assert re.search(r'id="my-home">https://home.example<', html)
        assert server.public.hex() in html
        found = (await page.get("/api/homes")).json()
        validate(found["mine"], "home-status")
        assert found["mine"]["home"]["server"] == server.public.hex()


async def test_two_marriages_of_mine_are_a_warning_with_both_statements(node: Node) -> None:
    one, two = keys(2, seed=40)
    hello = marry(node, one, "https://one.example", author_of(node))
    async with page_with(node) as page:
        assert (await page.get("/api/homes")).json()["warnings"] == []
        assert 'class="badge"' not in (await page.get("/homes")).text
        second = marry(node, two, "https://two.example", author_of(node), hello)
        [warning] = (await page.get("/api/homes")).json()["warnings"]
        assert "2 open marriages" in warning
        html = (await page.get("/homes")).text
        assert unescape(html).count(warning) == 1
        assert hello.id.hex() in html
        assert second.id.hex() in html
        assert '<span class="badge">1<' in html
        assert "setsync_home_warnings 1.0" in (await page.get("/metrics")).text


async def test_a_client_with_another_home_is_a_warning_for_the_server(node: Node) -> None:
    anna, ben = keys(2, seed=41)
    (other,) = keys(1, seed=42)
    me = node.directory.node_key()
    hello = marry(node, me, "", anna)
    marry(node, me, "", ben)
    marry(node, other, "https://other.example", anna, hello)
    async with page_with(node) as page:
        found = (await page.get("/api/homes")).json()
        validate(found, "web-homes")
        validate({"clients": found["clients"]}, "home-clients")
        states = {one["author"]: one["state"] for one in found["clients"]}
        assert states == {anna.public.hex(): "two homes", ben.public.hex(): "at home"}
        [warning] = found["warnings"]
        assert anna.public.hex() in warning
        html = (await page.get("/homes")).text
        assert "2 authors are at home here" in html
        assert "setsync_home_clients 2.0" in (await page.get("/metrics")).text


async def test_a_copied_directory_is_a_warning(node: Node) -> None:
    place = node.directory.path / "place.json"
    text = place.read_text(encoding="utf-8")
    place.write_text(re.sub(r'"inode": \d+', '"inode": 1', text), encoding="utf-8")
    async with page_with(node) as page:
        [warning] = (await page.get("/api/homes")).json()["warnings"]
        assert "is a copy" in warning
        assert warning in (await page.get("/homes")).text
        place.write_text(text, encoding="utf-8")
        assert (await page.get("/api/homes")).json()["warnings"] == []


async def test_a_log_of_mine_of_which_more_was_signed_than_is_here_is_a_warning(
    node: Node,
) -> None:
    log = Author(9)
    me = SecretKey(seed(9))
    records = log.grow(2)
    put_records(node, records[:1])
    for number, (header, payload) in enumerate(records, start=1):
        assert payload is not None
        hash_ = yamf.hash_of(Flavour.YASMF, header)
        Ledger(node.directory.path, me.public, log.log_id).use(number, header, payload, hash_)
    node.directory.author_key_path.unlink()
    write_key_file(node.directory.author_key_path, me)
    async with page_with(node) as page:
        [warning] = (await page.get("/api/homes")).json()["warnings"]
        assert "Entry 2 of log 1024 was signed here" in warning
        assert "Sync before you publish" in warning
        put_records(node, records[1:])
        assert (await page.get("/api/homes")).json()["warnings"] == []


async def test_many_clients_are_shown_a_page_at_a_time(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bamboo_compat.web.homes.CLIENTS_SHOWN", 2)
    me = node.directory.node_key()
    for author in keys(3, seed=43):
        marry(node, me, "", author)
    async with page_with(node) as page:
        found = (await page.get("/api/homes")).json()
        assert (found["client_count"], len(found["clients"]), found["next"]) == (3, 2, 2)
        assert "More of them" in (await page.get("/homes")).text
        rest = (await page.get("/api/homes?after=2")).json()
        assert (len(rest["clients"]), rest["next"]) == (1, None)
        assert (await page.get("/homes?after=-1")).status == 400


# --- invites ------------------------------------------------------------------------------


async def test_a_code_is_shown_once_with_a_qr_code_of_the_command_and_kept_nowhere(
    node: Node,
) -> None:
    async with page_with(node) as page:
        browser = await page.log_in()
        csrf = (await browser.get("/homes")).csrf
        fields = {"uses": "3", "expires": "1d", "name": "anna", "at": "example.org:7000"}
        made = await send(browser, "/homes/invites", csrf, **fields)
        assert made.status == 201
        read(made)
        found = re.search(r'id="invite-command"[^>]*>([^<]+)<', made.text)
        assert found
        *words, url, code = found[1].split(" ")
        assert words == ["setsync", "home", "join"]
        assert url == f"setsync://{node.directory.node_key().public.hex()}@example.org:7000"
        invite = homes_file(node.directory.path).read().invites.find(parse_code(code), node.clock)
        assert (invite.uses, invite.name) == (3, "anna")
        assert invite.expires - invite.made == 86_400_000
        source = re.search(
            r'<img src="(data:image/svg\+xml[^"]+)" alt="The same as a QR', made.text
        )
        assert source
        assert _picture(unescape(source[1])).startswith("<svg")
        for path in ("/homes", "/api/homes"):
            again = await browser.get(path)
            assert code not in again.text
            assert parse_code(code).hex() not in again.text
        assert (await browser.get("/homes/invites")).header("location") == "/homes"
        kept = b"".join(
            one.read_bytes() for one in node.directory.path.glob("*.json") if one.is_file()
        )
        assert code.encode() not in kept
        assert invite.id in (await browser.get("/homes")).text
        assert not [fields for _, fields in page.told if code in str(fields)]


def _picture(source: str) -> str:
    head, _, body = source.partition(",")
    return base64.b64decode(body).decode() if head.endswith("base64") else unquote(body)


def test_the_qr_code_holds_the_command_and_nothing_else() -> None:
    import segno

    from bamboo_compat.web.homes import Made
    from setsync.node.invites import Invite

    made = Made(Invite(b"d" * 32, 0, 1), "abcd-efgh", "setsync://00@host:1", has_host=True)
    wanted = segno.make("setsync home join setsync://00@host:1 abcd-efgh", error="m", micro=False)
    assert made.picture == wanted.svg_data_uri(scale=4, border=2, dark="#000", light="#fff")
    other = segno.make("another", error="m", micro=False)
    assert made.picture != other.svg_data_uri(scale=4, border=2, dark="#000", light="#fff")


async def test_an_invite_of_a_page_with_tls_names_its_address_and_the_key(node: Node) -> None:
    files = node.directory.path
    place = Place("0.0.0.0", 2020, ("notes.example",), files, files)
    async with page_with(node, place) as page:
        headers = {**page.bearer, "content-type": "application/json"}
        made = await call(page.app, "/api/homes/invites", "POST", headers, b"{}", host=HOST)
        validate(made.json(), "web-invite")
        key = node.directory.node_key().public.hex()
        assert made.json()["url"] == f"https://{key}@notes.example:2020"


async def test_a_program_makes_an_invite_and_takes_it_back(node: Node) -> None:
    async with page_with(node) as page:
        made = await post(page, "/api/homes/invites")
        assert made.status == 201
        found = made.json()
        validate(found, "web-invite")
        assert "@HOST:7717" in found["command"]
        assert found["code"] in found["command"]
        [listed] = (await page.get("/api/homes")).json()["invites"]
        assert (listed["id"], listed["state"], listed["uses"]) == (found["id"], "open", 1)
        gone = await post(page, f"/api/homes/invites/{found['id']}/revoke")
        assert gone.json() == {"revoked": found["id"]}
        [listed] = (await page.get("/api/homes")).json()["invites"]
        assert listed["state"] == Standing.REVOKED
        assert "revoke-" not in (await page.get("/homes")).text
        again = await post(page, "/api/homes/invites/ffffffff/revoke")
        assert again.status in (404, 409)
        validate(again.json(), "web-error")


async def test_the_revoke_button_takes_an_invite_back(node: Node) -> None:
    async with page_with(node) as page:
        browser = await page.log_in()
        id_ = (await post(page, "/api/homes/invites")).json()["id"]
        shown = await browser.get("/homes")
        assert f'id="revoke-{id_}"' in shown.text
        done = await send(browser, f"/homes/invites/{id_}/revoke", shown.csrf)
        assert (done.status, done.header("location")) == (303, "/homes")
        [invite] = homes_file(node.directory.path).read().invites.all()
        assert invite.revoked


@pytest.mark.parametrize(
    "fields",
    [
        {"uses": "0"},
        {"uses": "1001"},
        {"uses": "one"},
        {"uses": "-1"},
        {"expires": "0m"},
        {"expires": "91d"},
        {"expires": "soon"},
        {"expires": "999999w"},
        {"name": "a" * 65},
        {"name": "a\nb"},
        {"at": "nowhere"},
        {"at": "host:99999"},
        {"at": "<script>:1:2"},
    ],
)
async def test_what_is_no_invite_is_refused_and_none_is_made(
    node: Node, fields: dict[str, str]
) -> None:
    async with page_with(node) as page:
        answer = await post(page, "/api/homes/invites", **fields)
        assert answer.status == 400
        validate(answer.json(), "web-error")
    assert homes_file(node.directory.path).read().invites.all() == []


async def test_a_damaged_file_of_homes_is_named_and_the_other_pages_stay(node: Node) -> None:
    (node.directory.path / "homes.json").write_text("{")
    async with page_with(node) as page:
        answer = await page.get("/homes")
        assert answer.status == 409
        assert "homes.json" in answer.text
        assert (await post(page, "/api/homes/invites")).status == 409
        assert (await page.get("/")).status == 200
        assert (await page.get("/metrics")).status == 200
    assert (node.directory.path / "homes.json").read_text() == "{"


# --- live ---------------------------------------------------------------------------------


async def test_somebody_who_joins_is_heard_of_by_open_pages(
    node: Node, autojump_clock: trio.testing.MockClock
) -> None:
    (anna,) = keys(1, seed=45)
    async with page_with(node) as page:
        with page.site.events.listening() as listener:
            await trio.testing.wait_all_tasks_blocked()
            with homes_file(node.directory.path).changing() as draft:
                client = Client(anna.public, MIDNIGHT, "", "anna", b"h", b"w")
                draft.value.clients[anna.public] = client
            with trio.fail_after(60):
                while "homes" not in await listener.next():
                    pass
        assert "anna" in (await page.get("/homes")).text
