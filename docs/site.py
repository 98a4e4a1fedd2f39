"""What mkdocs is told beyond mkdocs.yml: two lists made from folders, and links to source files.

In the repository a link may name a folder or a file of the program. The site has neither: a link
to a folder leads to a list of what is in it, and one to a source file becomes its name.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files

_TO_SOURCE = re.compile(
    r"\[([^\]]+)\]\((?:\.\./)+(?:setsync|bamboo_compat|benchmarks|tests|\.ci)/[^)]*\)"
)
_TO_FOLDER = re.compile(r"\]\(((?:\.\./)*(?:json|decisions))/?\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the lists of what `--json` prints and of the decisions."""
    from mkdocs.structure.files import File

    docs = Path(config.docs_dir)
    for name, text in (
        ("json/index.md", schemas(docs / "json")),
        ("decisions/index.md", decisions(docs / "decisions")),
    ):
        files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """A page with links that the site has."""
    return with_links_of_the_site(markdown)


def with_links_of_the_site(markdown: str) -> str:
    """Links to folders lead to their lists; links out of docs/ become what they were called."""
    return _TO_FOLDER.sub(r"](\1/index.md)", _TO_SOURCE.sub(r"\1", markdown))


def schemas(folder: Path) -> str:
    """The list of schemas: name and what it is about."""
    rows = ["# What `--json` prints", "", "| schema | of |", "|---|---|"]
    for path in sorted(folder.glob("*.json")):
        schema = json.loads(path.read_text(encoding="utf-8"))
        about = schema.get("description") or schema.get("title") or ""
        rows.append(f"| [{path.stem}]({path.name}) | {' '.join(about.split())} |")
    return "\n".join([*rows, ""])


def decisions(folder: Path) -> str:
    """The list of decisions, by number."""
    found = [path for path in sorted(folder.glob("*.md")) if path.name != "index.md"]
    titles = (path.read_text(encoding="utf-8").split("\n", 1)[0] for path in found)
    rows = [
        f"- [{title.lstrip('# ')}]({path.name})" for path, title in zip(found, titles, strict=True)
    ]
    return "\n".join(["# Decisions", "", *rows, ""])
