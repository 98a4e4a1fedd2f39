"""The pages and tables of the documentation that are made from the program.

`python -m docs.reference` writes them; a test compares what is there with what this would write.
"""

from __future__ import annotations

from pathlib import Path

from docs.reference import commands, limits, metrics, protocol
from docs.reference.markdown import with_parts
from setsync.cli import settings_page
from setsync.node.settings import all_settings

DOCS = Path(__file__).parents[1]


def pages() -> dict[str, str]:
    """What every page has to be, by its name in docs/."""
    by_hand = (DOCS / "protocol.md").read_text(encoding="utf-8")
    return {
        "commands.md": commands.page(),
        "settings.md": settings_page.page(all_settings()),
        "metrics.md": metrics.page(),
        "limits.md": limits.page(),
        "protocol.md": with_parts(by_hand, protocol.parts()),
    }
