"""The wheel has everything that runs and nothing else, and works alone."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tarfile
import zipfile
from email import message_from_bytes
from email.message import Message
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

from tests.packaging.conftest import ROOT, copy_parts
from tests.test_readme import INSTALLING, TUTORIAL, blocks, with_free_ports

PACKAGES = ("setsync", "bamboo_compat")
KINDS = {".py", ".typed", ".html", ".css", ".js", ".svg", ""}
PATIENCE = 300


def _names(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


def _metadata(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [one for one in archive.namelist() if one.endswith(".dist-info/METADATA")]
        return message_from_bytes(archive.read(name))


# --- what is in it ------------------------------------------------------------------------


def test_every_file_of_both_packages_is_in_the_wheel(wheel: Path) -> None:
    """Templates, static files, licences and py.typed too."""
    there = {
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {f"{package}/py.typed" for package in PACKAGES} <= there
    assert {name for name in _names(wheel) if ".dist-info/" not in name} == there


def test_nothing_else_is_in_the_wheel(wheel: Path) -> None:
    """No tests, no documentation, no file of a kind that nobody asked for."""
    assert {name.split("/")[0].split("-")[0] for name in _names(wheel)} == set(PACKAGES)
    ours = [name for name in _names(wheel) if ".dist-info/" not in name]
    assert {Path(name).suffix for name in ours} == KINDS
    assert [name for name in ours if Path(name).suffix == "" and Path(name).name != "LICENSE"] == []


def test_the_licence_of_every_vendored_library_is_in_the_wheel_and_named(wheel: Path) -> None:
    vendored = {name.rsplit("/", 1)[0] for name in _names(wheel) if "/vendor/" in name}
    vendored = {name for name in vendored if ".dist-info/" not in name}
    named = set(_metadata(wheel).get_all("License-File") or [])
    assert vendored
    assert named == {"LICENSE", *(f"{folder}/LICENSE" for folder in vendored)}


def test_no_two_extras_are_needed_for_a_plain_node(wheel: Path) -> None:
    """What is heavy is asked for by an extra, and these are all."""
    about = _metadata(wheel)
    extras = {"lan", "web", "browser", "bench", "docs", "test", "dev"}
    assert set(about.get_all("Provides-Extra") or []) == extras
    plain = [one for one in about.get_all("Requires-Dist") or [] if "extra ==" not in one]
    heavy = ("starlette", "hypercorn", "jinja2", "matplotlib", "zeroconf", "mkdocs", "playwright")
    assert [one for one in plain if one.startswith(heavy)] == []


def test_a_wheel_can_be_built_from_the_source_archive(built: Path, wheel: Path) -> None:
    (source,) = built.glob("*.tar.gz")
    unpacked = built / "unpacked"
    with tarfile.open(source) as archive:
        archive.extractall(unpacked, filter="data")
    (tree,) = unpacked.iterdir()
    words = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(unpacked)]
    subprocess.run(words, cwd=tree, check=True, capture_output=True)
    (again,) = unpacked.glob("*.whl")
    assert _names(again) == _names(wheel)


# --- what it does, alone in a virtual environment -----------------------------------------


def _venv(folder: Path, *what: str) -> Path:
    """A fresh virtual environment with `what` in it; its folder of programs."""
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
    programs = folder / "venv" / "bin"
    subprocess.run([programs / "pip", "install", "-q", *what], check=True, timeout=PATIENCE)
    return programs


def _run(programs: Path, folder: Path, *words: str, stdin: str = "") -> str:
    """Run `setsync WORDS` with nothing of this tree in its way; its standard output."""
    done = subprocess.run(
        [programs / "setsync", *words],
        cwd=folder,
        input=stdin,
        env={"HOME": str(folder), "PATH": f"{programs}:/usr/bin:/bin"},
        text=True,
        capture_output=True,
        check=False,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, (words, done.stdout, done.stderr)
    return done.stdout


def _serve_and_sync(programs: Path, folder: Path, *words: str) -> None:
    """Two nodes become equal; what serves ends in order."""
    serving = subprocess.Popen(
        [programs / "setsync", "serve", "--data", "a", "--listen", "127.0.0.1:0", *words],
        cwd=folder,
        env={"HOME": str(folder), "PATH": f"{programs}:/usr/bin:/bin"},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert serving.stderr is not None
    try:
        events: dict[str, str] = {}
        while "listening" not in events:
            line = serving.stderr.readline()
            assert line.startswith("{"), line
            event = json.loads(line)
            events[event["event"]] = event.get("address", "")
        if "web_listening" in events:
            place = events["web_listening"].rstrip("/")
            assert _run(programs, folder, "web", "open", "--data", "a").startswith(place)
            shown = {"Authorization": f"Bearer {(folder / 'a' / 'web.token').read_text().strip()}"}
            for path in ("/", "/forks", "/api/overview", "/static/page.css"):
                with urlopen(Request(place + path, headers=shown)) as answer:
                    assert answer.status == 200
        assert "in sync" in _run(programs, folder, "sync", "--data", "b", events["listening"])
    finally:
        serving.send_signal(signal.SIGTERM)
        assert serving.wait(PATIENCE) == 0
        serving.stderr.close()


@pytest.mark.soak
def test_the_wheel_alone_is_a_node(wheel: Path, tmp_path: Path) -> None:
    programs = _venv(tmp_path, str(wheel))
    for name in ("a", "b"):
        _run(programs, tmp_path, "init", "--data", name)
    _run(programs, tmp_path, "put", "--data", "a", "notes", stdin="hello")
    _run(programs, tmp_path, "key", "new", "anna.key")
    append = ("bamboo", "append", "--data", "a", "anna.key", "0", "-")
    _run(programs, tmp_path, *append, stdin="one")
    _serve_and_sync(programs, tmp_path, "--access", "open")
    assert "all is well" in _run(programs, tmp_path, "check", "--data", "b")
    assert json.loads(_run(programs, tmp_path, "bamboo", "logs", "--data", "b", "--json"))["logs"]
    assert (
        json.loads(_run(programs, tmp_path, "fork", "list", "--data", "b", "--json"))["forks"] == []
    )
    _run(programs, tmp_path, "home", "clients", "--data", "b")
    refused = subprocess.run(
        [programs / "setsync", "serve", "--data", "a", "--web", "127.0.0.1:0"],
        cwd=tmp_path,
        text=True,
        capture_output=True,
        check=False,
        timeout=PATIENCE,
    )
    assert refused.returncode == 1
    assert "setsync[web]" in refused.stderr
    # The same environment, with the extra.
    subprocess.run([programs / "pip", "install", "-q", f"{wheel}[web]"], check=True)
    _run(programs, tmp_path, "put", "--data", "a", "notes", stdin="more")
    _serve_and_sync(programs, tmp_path, "--access", "open", "--web", "127.0.0.1:0")


@pytest.mark.soak
def test_a_program_that_uses_it_is_checked_against_its_types(wheel: Path, tmp_path: Path) -> None:
    programs = _venv(tmp_path, str(wheel), "mypy")
    right, wrong = tmp_path / "right.py", tmp_path / "wrong.py"
    right.write_text(blocks("python")[0] + "\n\nfrom bamboo_compat.core import verify_log\n")
    wrong.write_text(
        "from setsync import Store\n\nwith Store.open(3) as store:\n    store.add('x')\n"
    )
    found = {}
    for program in (right, wrong):
        found[program] = subprocess.run(
            [programs / "mypy", "--strict", program],
            cwd=tmp_path,
            text=True,
            capture_output=True,
            check=False,
            timeout=PATIENCE,
        )
    assert found[right].returncode == 0, found[right].stdout
    assert found[wrong].stdout.count("[arg-type]") == 2, found[wrong].stdout


@pytest.mark.soak
def test_the_tutorial_runs_from_its_installation_on(tmp_path: Path) -> None:
    """Every command as it stands, but for the ports, in a copy of the repository."""
    tree = copy_parts(tmp_path / "tree")
    commands = "".join(blocks("sh", TUTORIAL))
    assert commands.startswith(INSTALLING)
    commands = f"set -eu -o pipefail\n{with_free_ports(commands, 7000, 7001, 2020)}"
    python = f"{Path(sys.executable).resolve().parent}"
    about_pip = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
    with (tmp_path / "said").open("wb") as said:
        shell = subprocess.Popen(
            ["bash", "-c", commands],
            cwd=tree,
            env={"HOME": str(Path.home()), "PATH": f"{python}:/usr/bin:/bin", **about_pip},
            stdout=said,
            stderr=said,
            start_new_session=True,
        )
        try:
            assert shell.wait(PATIENCE) == 0, (tmp_path / "said").read_text()
        finally:
            _end(shell.pid)


def _end(group: int) -> None:
    try:
        os.killpg(group, signal.SIGTERM)
    except ProcessLookupError:
        return
