"""The page in real headless Chromium, before a real `serve --web`.

Skipped where there is no Chromium; `.ci/run` installs it. Nothing here waits for time to pass,
only for what a page shows.
"""

from __future__ import annotations

import http.server
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.node.processes import Serving, make_node, run
from tests.web.serving import WebServing

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # A name that somebody points at this machine.
    "--host-resolver-rules=MAP rebound.example 127.0.0.1",
]
PATIENCE = 30_000

playwright = pytest.importorskip(
    "playwright.sync_api", reason="pip install 'setsync[browser]' looks at the page with Chromium"
)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium on this machine")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with playwright.sync_playwright() as started:
        running = started.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield running
        running.close()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[WebServing]:
    with WebServing(make_node(tmp_path / "node")) as serving:
        yield serving


@pytest.fixture
def context(browser: Browser, server: WebServing) -> Iterator[BrowserContext]:
    """A browser that is logged in, and what went wrong in it."""
    made = browser.new_context()
    made.set_default_timeout(PATIENCE)
    page = made.new_page()
    page.goto(server.link())
    page.close()
    yield made
    made.close()


@pytest.fixture
def page(context: BrowserContext) -> Iterator[Page]:
    """A page whose console stays empty and that asks nobody else for anything."""
    opened = context.new_page()
    said: list[str] = []
    asked: list[str] = []
    opened.on("console", lambda message: said.append(message.text))
    opened.on("pageerror", lambda error: said.append(str(error)))
    opened.on("request", lambda request: asked.append(request.url))
    yield opened
    assert said == []
    elsewhere = [url for url in asked if not url.startswith(("http://127.0.0.1:", "data:"))]
    assert elsewhere == []


def _put(server: WebServing, text: bytes, collection: str = "notes") -> None:
    file = server.data / "put"
    file.write_bytes(text)
    assert run("put", collection, file, "--data", server.data).code == 0


# --- live ---------------------------------------------------------------------------------


def test_open_pages_show_entries_as_they_arrive(server: WebServing, page: Page) -> None:
    page.goto(server.url)
    page.get_by_text("Nothing is here yet").wait_for()
    page.locator("#pulse.on").wait_for()
    _put(server, b"hello there")
    page.locator("#entry-count", has_text="1").wait_for()
    page.get_by_role("link", name="notes").wait_for()
    page.get_by_role("link", name="Entries", exact=True).click()
    page.get_by_text("hello there").wait_for()
    page.locator("#pulse.on").wait_for()
    _put(server, b"and again")
    page.get_by_text("and again").wait_for()


def test_the_plot_is_drawn(server: WebServing, page: Page) -> None:
    page.goto(server.url)
    page.locator("#plot canvas").wait_for()
    drawn = (
        "() => { const c = document.querySelector('#plot canvas');"
        " return c.getContext('2d').getImageData(0, 0, c.width, c.height).data.some(x => x); }"
    )
    page.wait_for_function(drawn)


def test_a_page_comes_back_to_life_when_it_is_shown_again(server: WebServing, page: Page) -> None:
    page.goto(server.url)
    page.locator("#pulse.on").wait_for()
    hide = "Object.defineProperty(document, 'hidden', {value: %s, configurable: true});"
    tell = "document.dispatchEvent(new Event('visibilitychange'))"
    page.evaluate(hide % "true" + tell)
    page.get_by_text("paused").wait_for()
    _put(server, b"meanwhile")
    page.evaluate(hide % "false" + tell)
    page.locator("#entry-count", has_text="1").wait_for()


# --- acting -------------------------------------------------------------------------------


def test_sync_now_makes_both_sets_equal_and_tells_what_it_cost(
    server: WebServing, page: Page, tmp_path: Path
) -> None:
    _put(server, b"mine")
    there = make_node(tmp_path / "there", seed=1)
    (tmp_path / "x").write_bytes(b"theirs")
    assert run("put", "notes", tmp_path / "x", "--data", there).code == 0
    with Serving(there) as other:
        server.stop()
        with WebServing(server.data, "--peer", other.address) as mine:
            page.goto(mine.link())
            page.goto(mine.url + "/peers")
            page.get_by_text("In sync with the one peer").wait_for()
            page.get_by_role("button", name="Sync now").click()
            page.locator("tbody tr", has_text="done").first.wait_for()
            page.get_by_role("link", name="Overview", exact=True).click()
            page.locator("#entry-count", has_text="2").wait_for()


def test_the_keyboard_is_enough(server: WebServing, page: Page) -> None:
    _put(server, b"found by keys")
    page.goto(server.url)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    names = []
    for _ in range(5):
        page.keyboard.press("Tab")
        names.append(page.evaluate("document.activeElement.textContent.trim()"))
        outline = "getComputedStyle(document.activeElement).outlineStyle"
        assert page.evaluate(outline) == "solid"  # one sees where one is
    assert names[0].endswith("setsync")
    assert "Entries" in names
    while page.evaluate("document.activeElement.textContent.trim()") != "Entries":
        page.keyboard.press("Shift+Tab")
    page.keyboard.press("Enter")
    page.get_by_text("found by keys").wait_for()
    while page.evaluate("document.activeElement.id") != "f-collection":
        page.keyboard.press("Tab")
    page.keyboard.type("notes")
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Entries of notes").wait_for()
    while page.evaluate("document.activeElement.className") != "id":
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Payload").wait_for()


def test_focus_stays_when_a_page_is_brought_up_to_date(server: WebServing, page: Page) -> None:
    _put(server, b"one")
    page.goto(server.url + "/entries")
    page.locator("#pulse.on").wait_for()
    page.locator("#e-1").focus()
    _put(server, b"two")
    page.locator("#e-2").wait_for()
    page.wait_for_function("document.activeElement.id === 'e-1'")


def test_logging_out_shows_how_to_log_in(server: WebServing, page: Page) -> None:
    page.goto(server.url)
    page.get_by_role("button", name="Log out").click()
    page.get_by_role("heading", name="Log in").wait_for()
    code = server.link().partition("code=")[2]
    page.get_by_label("Code").fill(code)
    page.get_by_role("button", name="Log in").click()
    page.get_by_role("heading", name="No peers yet").wait_for()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [380, 1400])
def test_nothing_stands_out_of_the_window_and_text_can_be_read(
    server: WebServing, context: BrowserContext, page: Page, width: int, scheme: Any
) -> None:
    _put(server, b"\x00" * 100 + b"a" * 500, "a/" + "very-long-name" * 10)
    _put(server, b"word " * 500)
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": 800})
    rows = server.json("/api/entries")["entries"]
    for path in ("/", "/peers", "/entries", *(f"/entries/{row['id']}" for row in rows)):
        page.goto(server.url + path)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path
        assert page.evaluate(_CONTRAST) >= 4.5, path


# The lowest contrast of text with what is behind it, as WCAG computes it.
_CONTRAST = """() => {
  const parse = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const part = (v) => (v /= 255) <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => .2126 * part(r) + .7152 * part(g) + .0722 * part(b);
  const behind = (el) => {
    for (; el; el = el.parentElement) {
      const c = parse(getComputedStyle(el).backgroundColor);
      if (c.length < 4 || c[3] === 1) return c;
    }
    return [255, 255, 255];
  };
  let least = 21;
  for (const el of document.querySelectorAll('main *, header *')) {
    const own = [...el.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    if (!own || el.disabled || el.closest('.unseen')) continue;
    const both = [light(parse(getComputedStyle(el).color)), light(behind(el))];
    const [a, b] = both.sort((x, y) => y - x);
    least = Math.min(least, (a + .05) / (b + .05));
  }
  return least;
}"""


# --- others -------------------------------------------------------------------------------


_FETCH = """async ([url, method, mode]) => {
  try { return await (await fetch(url, {method, mode, credentials: 'include'})).text(); }
  catch (error) { return 'blocked'; }
}"""


class _Evil(http.server.BaseHTTPRequestHandler):
    """A page of another origin on this machine."""

    def do_GET(self) -> None:
        body = b"<!doctype html><title>evil</title><p>evil"
        self.send_response(200)
        self.send_header("content-type", "text/html")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@pytest.fixture
def evil() -> Iterator[str]:
    """Where another program of this machine has a page."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Evil) as running:
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "rebound.example"])
def test_a_page_of_another_origin_can_neither_read_nor_act(
    server: WebServing, context: BrowserContext, evil: str, host: str
) -> None:
    page = context.new_page()
    page.goto(evil.replace("127.0.0.1", host))
    target = server.url
    for path, method, mode in (
        ("/api/overview", "GET", "cors"),
        ("/api/overview", "GET", "no-cors"),
        ("/peers/sync", "POST", "cors"),
        ("/logout", "POST", "no-cors"),
    ):
        assert page.evaluate(_FETCH, [target + path, method, mode]) == "blocked"
    page.evaluate(
        "(url) => { const f = document.createElement('form'); f.method = 'post'; f.action = url;"
        " document.body.append(f); f.submit(); }",
        target + "/logout",
    )
    page.get_by_text("asked for this").wait_for()
    framed = context.new_page()
    framed.goto(evil.replace("127.0.0.1", host))
    framed.evaluate(
        "(url) => new Promise((done) => { const f = document.createElement('iframe'); f.src = url;"
        " f.onload = done; document.body.append(f); })",
        target,
    )
    frame = framed.frames[-1]
    assert "setsync" not in (frame.title() or "")
    still = context.new_page()
    still.goto(target)
    still.get_by_role("button", name="Log out").wait_for()  # nobody was logged out


def test_a_name_that_somebody_points_here_is_nobody(
    server: WebServing, context: BrowserContext
) -> None:
    page = context.new_page()
    answer = page.goto(f"http://rebound.example:{server.port}/")
    assert answer is not None
    assert answer.status == 421
    read = page.evaluate("async () => (await fetch('/api/overview')).status")
    assert read == 421


def test_hostile_payloads_run_nowhere(server: WebServing, page: Page) -> None:
    from tests.web.test_hostile_entries import PAYLOADS

    code = "window.pwned=1"
    made = [payload.replace("MARK", code).replace("//evil.example", "") for payload in PAYLOADS]
    file = server.data / "lines"
    file.write_text("\n".join(one.replace("\n", " ") for one in made), encoding="utf-8")
    assert run("put", "notes", file, "--lines", "--data", server.data).code == 0
    page.goto(server.url + "/entries")
    page.locator(".rows.entries li").first.wait_for()
    assert page.evaluate("window.pwned") is None
    for row in server.json("/api/entries")["entries"]:
        page.goto(f"{server.url}/entries/{row['id']}")
        assert page.evaluate("window.pwned") is None
