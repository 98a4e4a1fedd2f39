"""Write all of it: `python -m docs.reference`."""

from __future__ import annotations

from docs.reference import DOCS, pages

for name, text in pages().items():
    (DOCS / name).write_text(text, encoding="utf-8")
