"""The playground in real Chromium, under the page's own Content-Security-Policy."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from bamboo_compat.core import keys
from tests.bamboo.logs import seed
from tests.bamboo.server.clients import create, hash_of
from tests.bamboo.server.serving import serving
from tests.node.processes import run

playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
CHROMIUM = shutil.which("chromium")
VENDOR = Path(__file__).parents[3] / "bamboo_compat" / "server" / "page" / "static" / "vendor"


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_an_operator_asks_in_the_playground_and_nothing_is_loaded_from_outside(
    tmp_path: Path,
) -> None:
    """The question is typed, the answer shown, the schema explained; no script is refused by the
    policy and no request leaves the node."""
    with serving(tmp_path / "node") as node, playwright.sync_playwright() as browsers:
        header, _ = node.act(1, create())
        link = run("web", "open", "--data", node.data).stdout.strip().splitlines()[-1]
        browser = browsers.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page()
        asked: list[str] = []
        complaints: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda told: complaints.append(told.text) if told.type == "error" else 0)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(re.sub(r"^[^h]*", "", link))
        page.goto(f"{node.url}/graphql/playground")
        page.locator(".graphiql-query-editor .CodeMirror").click()
        page.keyboard.press("Control+A")
        author, view = keys.public_key(seed(1)).hex(), hash_of(header).hex()
        question = f'{{ nextArgs(publicKey: "{author}", viewId: "{view}") {{ seqNum backlink'
        page.keyboard.insert_text(question + " } }")
        page.locator(".graphiql-execute-button").click()
        page.locator(".graphiql-response", has_text=view).wait_for()
        page.locator('button[aria-label="Show Documentation Explorer"]').click()
        page.locator(".graphiql-doc-explorer", has_text="Mutation").wait_for()
        browser.close()
    assert complaints == []
    assert all(url.startswith((node.url, "data:")) for url in asked)


def test_what_others_wrote_has_its_licence_beside_it() -> None:
    folders = [folder for folder in VENDOR.iterdir() if folder.is_dir()]
    assert len(folders) == 3
    for folder in folders:
        assert "MIT License" in (folder / "LICENSE").read_text(encoding="utf-8")
        assert all("@font-face" not in file.read_text("utf-8") for file in folder.glob("*.css"))
