"""Forks and homes in real headless Chromium, before a real `serve --web`.

Skipped where there is no Chromium; `.ci/run` installs it. Nothing here waits for time to pass, only
for what a page shows.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.bamboo.decisions.test_resolving import parted
from tests.bamboo.decisions.worlds import members
from tests.bamboo.logs import Author
from tests.bamboo.web.worlds import hash_at
from tests.cli.running import validate
from tests.node.processes import Process, fill, make_node, run
from tests.web.serving import WebServing
from tests.web.test_browser import _CONTRAST, browser, context, page, pytestmark

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page

__all__ = ["browser", "context", "page", "pytestmark"]


class HomeServing(WebServing):
    """A `serve --web` with its secure channel, which `home join` speaks."""

    def __init__(self, data: Path) -> None:
        words = ("--listen", "127.0.0.1:0", "--web", "127.0.0.1:0", "--log", "json")
        Process.__init__(self, "serve", "--data", data, *words, "--access", "open")
        self.data = data
        try:
            self.address = str(self._event("listening")["address"])
            self.url = str(self._event("web_listening")["address"])
        except BaseException:
            self.__exit__()
            raise
        self.port = int(self.url.rpartition(":")[2])


@pytest.fixture
def server(tmp_path: Path) -> Iterator[HomeServing]:
    """The node whose pages are looked at; it has what the laptop signed."""
    data = make_node(tmp_path / "node")
    fill(data, members(parted(3, 4, 2)[0][:7]))
    with HomeServing(data) as serving:
        yield serving


@pytest.fixture
def there(tmp_path: Path) -> Path:
    """Another node, which has what the phone signed."""
    records, _, _ = parted(3, 4, 2)
    data = make_node(tmp_path / "there", seed=1)
    fill(data, members([*records[:3], *records[7:]]))
    return data


def authors() -> tuple[Author, Author]:
    """Laptop and phone."""
    _, laptop, phone = parted(3, 4, 2)
    return laptop, phone


def sync(there: Path, server: WebServing) -> None:
    """A session that the other node opens."""
    outcome = run("sync", "--data", there, server.address)
    assert outcome.code == 0, outcome.stderr


def told(schema: str, *words: str | Path) -> Any:
    """What a command says."""
    outcome = run(*words, "--json")
    assert outcome.code == 0, outcome.stderr
    validate(outcome.json, schema)
    return outcome.json


def decide(server: WebServing, fork: str) -> None:
    """For the first branch, by command."""
    outcome = run("fork", "decide", fork, "--branch", "1", "--data", server.data, "--yes")
    assert outcome.code == 0, outcome.stderr


def tab_to(page: Page, id_: str) -> None:
    """With the keyboard alone, and one sees where one is."""
    for _ in range(200):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.id") == id_:
            outline = "getComputedStyle(document.activeElement).outlineStyle"
            assert page.evaluate(outline) == "solid"
            return
    raise AssertionError(f"no Tab leads to {id_}")


# --- forks --------------------------------------------------------------------------------


def test_a_fork_appears_on_the_open_page_is_decided_by_clicking_and_the_command_line_agrees(
    server: HomeServing, page: Page, there: Path
) -> None:
    _, phone = authors()
    page.goto(server.url + "/forks")
    page.get_by_role("heading", name="No forks").wait_for()
    page.locator("#pulse.on").wait_for()
    sync(there, server)
    page.get_by_role("heading", name="One fork needs a decision").wait_for()
    page.get_by_role("link", name="Log 1024 parts after entry 3").click()
    side = page.locator("article", has_text=hash_at(phone, 4))
    side.get_by_text("through node").wait_for()
    side.get_by_role("button", name="This one is right").click()
    page.get_by_text("It binds this node only.").wait_for()
    for author in authors():
        page.get_by_text(hash_at(author, 4)).wait_for()
    page.get_by_label("Why").fill("the phone was right")
    page.get_by_role("button", name="Yes, this one is right").click()
    page.locator("#state", has_text="decided here").wait_for()
    page.locator("#trusted", has_text="log 1024 up to entry 5").wait_for()
    [fork] = told("fork-list", "fork", "list", "--data", server.data)["forks"]
    shown = told("fork-show", "fork", "show", fork["id"], "--data", server.data)
    assert shown["decision"]["by"] == "here"
    assert shown["decision"]["hash"] == hash_at(phone, 4)
    assert shown["history"][0]["reason"] == "the phone was right"
    assert server.json(f"/api/forks/{fork['id']}")["fork"] == shown
    run("fork", "undecide", fork["id"], "--data", server.data)
    page.locator("#state", has_text="needs a decision").wait_for()  # the open page heard of it


def test_a_fork_is_decided_with_the_keyboard_alone(
    server: HomeServing, page: Page, there: Path
) -> None:
    sync(there, server)
    [fork] = told("fork-list", "fork", "list", "--data", server.data)["forks"]
    page.goto(server.url + "/forks")
    tab_to(page, f"f-{fork['id']}")
    page.keyboard.press("Enter")
    page.locator("#right-2").wait_for()
    tab_to(page, "right-2")
    page.keyboard.press("Enter")
    page.locator("#reason").wait_for()
    tab_to(page, "reason")
    page.keyboard.type("by keys")
    tab_to(page, "yes")
    page.keyboard.press("Enter")
    page.locator("#state", has_text="decided here").wait_for()
    page.get_by_text("by keys").first.wait_for()
    tab_to(page, "ask")
    page.keyboard.press("Enter")
    page.locator("#yes").wait_for()
    tab_to(page, "yes")
    page.keyboard.press("Enter")
    page.locator("#state", has_text="needs a decision").wait_for()
    shown = told("fork-show", "fork", "show", fork["id"], "--data", server.data)
    assert [one["did"] for one in shown["history"]] == ["decide", "undecide"]


def test_the_downloaded_proof_is_checked_by_the_command_line(
    server: HomeServing, page: Page, there: Path, tmp_path: Path
) -> None:
    sync(there, server)
    page.goto(server.url + "/forks")
    page.get_by_role("link", name="parts after entry 3").click()
    with page.expect_download() as download:
        page.get_by_role("link", name="Download the proof").click()
    file = tmp_path / "fork.proof"
    download.value.save_as(file)
    outcome = run("fork", "check-proof", file)
    assert outcome.code == 0, outcome.stderr


def test_focus_stays_where_it_is_while_the_page_of_a_fork_changes(
    server: HomeServing, page: Page, there: Path
) -> None:
    sync(there, server)
    page.goto(server.url + "/forks")
    page.get_by_role("link", name="parts after entry 3").click()
    page.locator("#pulse.on").wait_for()
    page.locator("#ignore").focus()
    [fork] = told("fork-list", "fork", "list", "--data", server.data)["forks"]
    assert (
        run("fork", "decide", fork["id"], "--branch", "1", "--data", server.data, "--yes").code == 0
    )
    page.locator("#state", has_text="decided here").wait_for()
    page.wait_for_function("document.activeElement.id === 'ignore'")


# --- homes --------------------------------------------------------------------------------


def _make_invite(server: HomeServing, page: Page) -> list[str]:
    """By clicking; the words that the author types."""
    page.goto(server.url + "/homes")
    page.get_by_label("Name, for you").fill("anna")
    page.get_by_label("Where others reach this node").fill(server.address.rpartition("@")[2])
    page.get_by_role("button", name="Create").click()
    command = page.locator("#invite-command").inner_text()
    return command.split(" ")


def test_an_invite_is_made_on_the_page_and_used_from_the_command_line(
    server: HomeServing, page: Page, tmp_path: Path
) -> None:
    me = make_node(tmp_path / "me", 3)
    setsync, *words = _make_invite(server, page)
    assert setsync == "setsync"
    page.locator("#pulse.on").wait_for()
    joined = run(*words, "--data", me)
    assert joined.code == 0, joined.stderr
    page.locator(".clients", has_text="anna").get_by_text("at home").wait_for()
    page.locator(".invites", has_text="used up").wait_for()
    page.locator("#invite-command").wait_for()  # still there: only what changed was asked for anew
    status = told("home-status", "home", "status", "--data", me)
    assert status["home"]["server"] == server.json("/api/homes")["node"]
    assert run(*words, "--data", make_node(tmp_path / "ben", 4)).code != 0


def test_the_copy_button_puts_the_command_on_the_clipboard_and_the_qr_code_is_drawn(
    server: HomeServing, context: BrowserContext, page: Page
) -> None:
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    words = _make_invite(server, page)
    page.get_by_role("button", name="Copy").click()
    page.get_by_text("Copied.").wait_for()
    assert page.evaluate("navigator.clipboard.readText()") == " ".join(words)
    picture = page.get_by_alt_text("The same as a QR code")
    assert picture.evaluate("(img) => img.complete && img.naturalWidth > 50")


def test_an_invite_is_made_and_taken_back_with_the_keyboard_alone(
    server: HomeServing, page: Page
) -> None:
    page.goto(server.url + "/homes")
    tab_to(page, "uses")
    page.keyboard.press("ArrowUp")
    tab_to(page, "name")
    page.keyboard.type("by keys")
    page.keyboard.press("Enter")
    page.locator("#made", has_text="2 authors").wait_for()
    [invite] = server.json("/api/homes")["invites"]
    assert (invite["uses"], invite["name"]) == (2, "by keys")
    tab_to(page, f"revoke-{invite['id']}")
    page.keyboard.press("Enter")
    page.locator(".invites", has_text="revoked").wait_for()
    assert server.json("/api/homes")["invites"][0]["state"] == "revoked"


# --- how it looks -------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [380, 1400])
def test_nothing_stands_out_of_the_window_and_text_can_be_read(
    server: HomeServing, page: Page, there: Path, width: int, scheme: Any
) -> None:
    laptop, _ = authors()
    sync(there, server)
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": 800})
    [fork] = told("fork-list", "fork", "list", "--data", server.data)["forks"]
    path = f"/forks/{fork['id']}"
    confirm = f"{path}/confirm?do=decide&branch={hash_at(laptop, 4)}"
    for shown in ("/forks", path, confirm, f"{path}/confirm?do=ask", "/homes"):
        page.goto(server.url + shown)
        _fits(page, width, shown)
    page.locator("#create").click()
    page.locator("#invite-command").wait_for()
    _fits(page, width, "an invite")
    assert (
        run("fork", "decide", fork["id"], "--branch", "1", "--data", server.data, "--yes").code == 0
    )
    for shown in ("/forks", path):
        page.goto(server.url + shown)
        page.get_by_text("decided here").first.wait_for()
        _fits(page, width, shown)


def _fits(page: Page, width: int, what: str) -> None:
    page.wait_for_load_state("load")  # or what was clicked for may be there without its style
    assert page.evaluate("document.documentElement.scrollWidth") <= width, what
    assert page.evaluate(_CONTRAST) >= 4.5, what
