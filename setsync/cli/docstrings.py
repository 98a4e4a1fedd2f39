"""Real text that every machine has: the docstrings of Python's own standard library.

Read with `ast` from the source files; nothing of them is imported or run.
"""

from __future__ import annotations

import ast
import json
import os
import sysconfig
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

from setsync.node.spawned import begin

_FILES_PER_TASK = 40
_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


@dataclass(frozen=True, slots=True)
class Text:
    """One docstring: the top-level module it belongs to, and a payload of JSON."""

    module: str
    payload: bytes


def source_files() -> list[tuple[str, Path]]:
    """(dotted name, file) of every module of the running interpreter's standard library."""
    root = Path(sysconfig.get_path("stdlib"))
    found: list[tuple[str, Path]] = []
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        if not {"site-packages", "dist-packages", "__pycache__"} & set(parts):
            found.append((".".join(part for part in parts if part != "__init__"), path))
    return found


def read_docstrings(on_files: Callable[[int, int], None]) -> list[Text]:
    """Every docstring, in the order of files and lines; `on_files` hears (done, total).

    Parsing takes about 6 ms a file, so the files are shared out to all processors.
    """
    files = source_files()
    tasks = [files[at : at + _FILES_PER_TASK] for at in range(0, len(files), _FILES_PER_TASK)]
    parts: dict[int, list[Text]] = {}
    done = 0
    on_files(0, len(files))
    with ProcessPoolExecutor(os.cpu_count() or 1, get_context("spawn"), begin) as pool:
        pending = {pool.submit(_read_files, task): at for at, task in enumerate(tasks)}
        for future in as_completed(pending):
            at = pending[future]
            parts[at] = future.result()
            done += len(tasks[at])
            on_files(done, len(files))
    return [text for at in range(len(tasks)) for text in parts[at]]


def _read_files(files: Sequence[tuple[str, Path]]) -> list[Text]:
    return [text for name, path in files for text in _read_file(name, path)]


def _read_file(name: str, path: Path) -> Iterator[Text]:
    """A file that is no Python (some of the library's tests are that on purpose) has none."""
    try:
        with warnings.catch_warnings(action="ignore"):
            tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError, RecursionError, MemoryError, OSError):
        return
    pending: list[tuple[str, ast.AST]] = [(name, tree)]
    while pending:
        place, node = pending.pop(0)
        if isinstance(node, _DOCUMENTED):
            text = ast.get_docstring(node)
            if text:
                fields = {"name": place, "line": getattr(node, "lineno", 1), "text": text}
                # Some docstrings hold lone surrogates, which UTF-8 cannot: ASCII JSON can.
                yield Text(name.partition(".")[0], json.dumps(fields).encode("ascii"))
        pending += [(_inside(place, child), child) for child in ast.iter_child_nodes(node)]


def _inside(place: str, node: ast.AST) -> str:
    name = getattr(node, "name", None)
    return f"{place}.{name}" if isinstance(node, _DOCUMENTED) and name else place
