"""What others write into entries is shown as text, wherever it is shown (T27)."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from urllib.parse import quote, urlencode

import pytest

from setsync.errors import InvalidNameError
from setsync.model.collection import check_name
from setsync.node.peers import Peer
from setsync.web.guests import Page as NavPage
from tests.helpers import keys
from tests.web.calling import Answer, Node, page_of

# What browsers, templates and htmx have been fooled with; MARK tells ours from the page's own.
MARK = "qqmark"
PAYLOADS = [
    "<script>MARK</script>",
    "<SCRIPT SRC=//evil.example/MARK.js></SCRIPT>",
    "<scr<script>ipt>MARK</scr</script>ipt>",
    "<script\x0c>MARK</script\x0c>",
    "</script><script>MARK</script>",
    "<script type=module>import 'data:,MARK'</script>",
    "<img src=x onerror=MARK>",
    "<img/src='x'/onerror='MARK'>",
    "<img src=x:MARK onerror=alert(1)//",
    "<svg onload=MARK>",
    "<svg/onload=MARK>",
    "<svg><script>MARK</script></svg>",
    "<svg><animate onbegin=MARK attributeName=x>",
    "<svg><a xlink:href='javascript:MARK'><text>x</text></a></svg>",
    "<svg><use href='data:image/svg+xml,MARK'></svg>",
    "<math><mi//xlink:href='data:x,MARK'>",
    "<math><annotation-xml encoding=text/html><script>MARK</script>",
    "<body onload=MARK>",
    "<iframe src=javascript:MARK>",
    "<iframe srcdoc='<script>MARK</script>'>",
    "<object data=javascript:MARK>",
    "<embed src=javascript:MARK>",
    "<a href=javascript:MARK>x</a>",
    "<a href='jav&#x09;ascript:MARK'>x</a>",
    "<form action=javascript:MARK><button>x</button></form>",
    "<button formaction=javascript:MARK>x</button>",
    "<input autofocus onfocus=MARK>",
    "<select autofocus onfocus=MARK>",
    "<details open ontoggle=MARK>",
    "<video><source onerror=MARK>",
    "<audio src=x onerror=MARK>",
    "<marquee onstart=MARK>",
    "<meta http-equiv=refresh content='0;url=javascript:MARK'>",
    "<base href=//evil.example/MARK>",
    "<link rel=stylesheet href=//evil.example/MARK.css>",
    "<style>@import '//evil.example/MARK'</style>",
    "<div style='background:url(javascript:MARK)'>",
    "<div onpointerenter=MARK>x</div>",
    "<template><script>MARK</script></template>",
    "<noscript><p title='</noscript><img src=x onerror=MARK>'>",
    "<textarea></textarea><script>MARK</script>",
    "</textarea><script>MARK</script>",
    "</pre><script>MARK</script>",
    "</title><script>MARK</script>",
    "--><script>MARK</script>",
    "<!--><script>MARK</script>-->",
    "<![CDATA[<script>MARK</script>]]>",
    "<?xml version='1.0'?><script>MARK</script>",
    '" onmouseover="MARK',
    "' onmouseover='MARK",
    '"><script>MARK</script>',
    "'><script>MARK</script>",
    "` onmouseover=`MARK",
    "{{ 7 * 7 }}MARK{{ web.token }}",
    "{% include '/etc/passwd' %}MARK",
    "{# MARK #}<b>",
    "${MARK}<b>",
    "<div hx-get='/logout' hx-trigger=load>MARK</div>",
    "<div hx-on:load='MARK'>x</div>",
    "<div data-hx-on::load='MARK'>x</div>",
    "<b hx-vals='js:{a: MARK}' hx-post='/logout' hx-trigger=load>",
    "+ADw-script+AD4-MARK+ADw-/script+AD4-",
    "\u2028<script>MARK</script>\u2029",
    "\u202e<script>MARK</script>",
    "\ufeff<script>MARK</script>",
    "&lt;script&gt;MARK&lt;/script&gt;",
    "&#60;script&#62;MARK",
    "javascript:MARK//<b>",
    "data:text/html,<script>MARK</script>",
]
SHOWN = [payload.replace("MARK", MARK) for payload in PAYLOADS]


class Reader(HTMLParser):
    """Reads a page as a browser would, and notes where the mark is anything but text."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.faults: list[str] = []
        self.tags: set[str] = set()
        self._open = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self._open = tag
        for name, value in attrs:
            if name.startswith(("on", "hx-on", "data-hx")) or name in ("style", "srcdoc"):
                self.faults.append(f"{tag} {name}")
            if MARK in name:
                self.faults.append(f"{tag} {name}")
            # In what is typed and in links the mark may stand, as a value and nothing more.
            link = name in ("href", "action", "hx-get") and (value or "").startswith("/")
            plain = (tag, name) in {("input", "value"), ("option", "value")} or name == "aria-label"
            if MARK in (value or "") and not (link or plain):
                self.faults.append(f"{tag} {name}={value}")

    def handle_data(self, data: str) -> None:
        if MARK in data and self._open in ("script", "style"):
            self.faults.append(f"{self._open}: {data}")

    def handle_endtag(self, tag: str) -> None:
        self._open = ""

    def handle_comment(self, data: str) -> None:
        self.faults.append(f"comment {data}")

    def handle_pi(self, data: str) -> None:
        self.faults.append(f"instruction {data}")


# All that our own templates are made of.
_TAGS = (
    "html head meta title link script body a header nav ul li span div form input button main "
    "img h1 h2 p pre code dl dt dd section small time label datalist option em table caption "
    "thead tbody tr th td article"
)
OWN_TAGS = frozenset(_TAGS.split())


def read(answer: Answer) -> Reader:
    """Fails where a page has more than text of what is not its own."""
    reader = Reader()
    reader.feed(answer.text)
    assert not reader.faults, reader.faults
    assert reader.tags <= OWN_TAGS, reader.tags - OWN_TAGS
    assert answer.text.count("<script") == answer.text.count('<script src="/static/')
    return reader


def test_the_corpus_is_large_enough_and_the_reader_sees_what_it_should() -> None:
    assert len(set(SHOWN)) >= 50
    dangerous = 0
    for payload in SHOWN:
        reader = Reader()
        reader.feed(f"<p>{payload}</p>")
        dangerous += bool(reader.faults or reader.tags - OWN_TAGS)
    assert dangerous >= 45  # the others are for templates, other encodings, or attributes


@pytest.mark.parametrize("payload", SHOWN)
async def test_a_payload_is_text_in_every_list_and_on_its_own_page(
    node: Node, payload: str
) -> None:
    (entry,) = node.put("notes", payload.encode())
    async with page_of(node) as page:
        for path in ("/", "/entries", "/entries?collection=notes", f"/entries?id={entry.id.hex()}"):
            read(await page.get(path))
        shown = await page.get(f"/entries/{entry.id.hex()}")
        read(shown)
        assert MARK in shown.text or "shown as hex" in shown.text


@pytest.mark.parametrize("payload", SHOWN)
async def test_a_payload_is_downloaded_as_what_no_browser_runs(node: Node, payload: str) -> None:
    (entry,) = node.put("notes", payload.encode())
    async with page_of(node) as page:
        answer = await page.get(f"/entries/{entry.id.hex()}/payload")
    assert answer.body == payload.encode()
    assert answer.header("content-type").startswith("text/plain")
    assert answer.header("content-disposition").startswith("attachment;")
    assert answer.header("x-content-type-options") == "nosniff"


async def test_as_json_and_as_cbor_it_is_text_too(node: Node) -> None:
    import json

    import cbor2

    wrapped = [
        *(json.dumps({payload: [payload]}).encode() for payload in SHOWN),
        *(cbor2.dumps({payload: payload.encode()}) for payload in SHOWN),
    ]
    made = node.put("notes", *wrapped)
    async with page_of(node) as page:
        for entry in made:
            read(await page.get(f"/entries/{entry.id.hex()}"))


async def test_names_of_collections_are_text_and_their_links_lead_there(node: Node) -> None:
    names = []
    for payload in SHOWN:
        name = payload.replace("/", "|")
        try:
            check_name(name)
        except InvalidNameError:
            continue
        names.append(name)
        node.put(name, b"x")
    assert len(names) >= 40
    async with page_of(node) as page:
        read(await page.get("/"))
        read(await page.get("/entries"))
        for name in names:
            listed = await page.get("/entries?" + urlencode({"collection": name}))
            assert listed.status == 200
            read(listed)


async def test_names_and_failures_of_peers_are_text(node: Node) -> None:
    with node.directory.peers.changing() as book:
        for payload, key in zip(SHOWN, keys(len(SHOWN), seed=5), strict=True):
            book.put(Peer(key.public, name=payload))
    async with page_of(node) as page:
        read(await page.get("/peers"))


@pytest.mark.parametrize("payload", SHOWN)
async def test_what_somebody_asks_for_is_text_in_the_answer(node: Node, payload: str) -> None:
    node.put("notes", b"x")
    async with page_of(node) as page:
        for path in (
            "/entries?" + urlencode({"collection": payload}),
            "/entries?" + urlencode({"id": payload}),
            "/entries?" + urlencode({"author": payload, "after": payload}),
            "/entries/" + quote(payload, safe=""),
            "/?" + urlencode({"after": payload}),
            "/login?" + urlencode({"code": payload}),
        ):
            answer = await page.get(path)
            if answer.header("content-type").startswith("text/html"):
                read(answer)
            else:
                assert answer.header("content-type").startswith("text/plain")


async def test_what_a_guest_says_is_text_too(node: Node) -> None:
    class Guest:
        name = "guest"
        figures = ()

        def pages(self) -> tuple[NavPage, ...]:
            return (NavPage(SHOWN[0], "/guest"),)

        def folder(self) -> None:
            return None

        def routes(self, web: object) -> tuple[()]:
            return ()

        def describe(self, entry: object) -> list[tuple[str, str]]:
            return [(payload, payload) for payload in SHOWN]

        async def measures(self, web: object) -> tuple[()]:
            return ()

        async def run(self, web: object) -> None:
            """Nothing."""

    (entry,) = node.put("notes", b"x")
    async with page_of(node, [Guest()]) as page:
        answer = await page.get(f"/entries/{entry.id.hex()}")
        read(answer)
        assert answer.text.count(MARK) >= 2 * len(SHOWN)


async def test_no_template_is_allowed_to_switch_escaping_off() -> None:
    from setsync.web.templates import _HERE

    for template in _HERE.glob("*.html"):
        text = template.read_text(encoding="utf-8")
        assert not re.search(r"\|\s*safe|autoescape|Markup", text), template
        assert not re.search(r"\bstyle=|\bon\w+=|<script(?! src=\"/static/)", text), template
