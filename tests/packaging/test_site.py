"""The documentation is a site, offline and without a dead link."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from docs.site import decisions, schemas, with_links_of_the_site

ROOT = Path(__file__).parents[2]
FOREIGN = re.compile(r"<(?:script|link|img|iframe)\b[^>]*(?:src|href)=[\"']?(https?:)?//", re.I)


def test_links_out_of_the_documentation_become_names_and_links_to_folders_lists() -> None:
    shown = (
        "[limits](../setsync/limits.py), [schemas](json), [why](../docs/why.md), [up](../web.md)"
    )
    assert with_links_of_the_site(shown) == (
        "limits, [schemas](json/index.md), [why](../docs/why.md), [up](../web.md)"
    )


def test_every_schema_and_every_decision_is_listed() -> None:
    docs = ROOT / "docs"
    for path in (docs / "json").glob("*.json"):
        assert f"]({path.name})" in schemas(docs / "json")
    for path in (docs / "decisions").glob("*.md"):
        assert f"]({path.name})" in decisions(docs / "decisions")


def test_the_site_is_built_strictly_and_loads_nothing_from_outside(tmp_path: Path) -> None:
    """Without a network: whoever tries to use one is told that there is none.

    Not with --quiet, which would keep the warnings from --strict.
    """
    nowhere = "http://127.0.0.1:1"
    around = {"http_proxy": nowhere, "https_proxy": nowhere, "NO_MKDOCS_2_WARNING": "1"}
    words = ["-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    built = subprocess.run(
        [sys.executable, *words],
        cwd=ROOT,
        env=os.environ | around,
        text=True,
        capture_output=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    pages = list((tmp_path / "site").rglob("*.html"))
    assert len(pages) > 30
    assert [one.name for one in pages if FOREIGN.search(one.read_text(encoding="utf-8"))] == []
    broken = [one.name for one in pages if "<p>|" in one.read_text(encoding="utf-8")]
    assert broken == [], "a table with a blank line in it is none"
    assert not list((tmp_path / "site").rglob("*.py"))
