"""What docs/deploy holds is right: the unit, the image, the two containers, and their start.

No image is built here: that takes a registry. What can be said of the files without one is.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from setsync.cli.main import cli
from tests.node.processes import PATIENCE

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "docs" / "deploy"
UNIT = (DEPLOY / "setsync.service").read_text(encoding="utf-8")
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yml").read_text(encoding="utf-8"))


def _settings(unit: str) -> dict[str, list[str]]:
    """What a unit sets, by name."""
    found: dict[str, list[str]] = {}
    for line in unit.splitlines():
        name, sign, value = line.partition("=")
        if sign and not line.startswith("#"):
            found.setdefault(name, []).append(value)
    return found


def _instructions() -> list[list[tuple[str, str]]]:
    """The Dockerfile's stages, each as (instruction, rest), continued lines put together."""
    text = (DEPLOY / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    stages: list[list[tuple[str, str]]] = []
    for line in text.splitlines():
        if line and not line.startswith("#"):
            name, _, rest = line.partition(" ")
            if name == "FROM":
                stages.append([])
            stages[-1].append((name, rest))
    return stages


def _parses(words: list[str]) -> None:
    """The command line is one of ours. Raises click's UsageError."""
    name, *rest = words
    with cli.make_context("setsync", ["--", name]) as context:
        command = cli.get_command(context, name)
        assert command is not None, name
        command.make_context(name, rest, parent=context)


# --- systemd ------------------------------------------------------------------------------


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd here")
def test_systemd_has_nothing_to_say_against_the_unit_and_calls_it_ok(tmp_path: Path) -> None:
    program = Path(sys.executable).with_name("setsync")
    unit = tmp_path / "setsync.service"
    unit.write_text(UNIT.replace("/opt/setsync/bin/setsync", str(program)))
    verified = subprocess.run(
        ["systemd-analyze", "verify", unit], text=True, capture_output=True, check=False
    )
    about_us = [line for line in verified.stderr.splitlines() if "setsync" in line]
    assert (verified.returncode, about_us) == (0, [])
    words = ["systemd-analyze", "security", "--offline=true", "--threshold=20", "--no-pager"]
    judged = subprocess.run([*words, unit], text=True, capture_output=True, check=False)
    assert judged.returncode == 0, judged.stdout[-2_000:]


def test_the_unit_asks_for_what_serve_tells() -> None:
    found = _settings(UNIT)
    assert found["Type"] == ["notify"]
    assert found["NotifyAccess"] == ["main"]
    assert "AF_UNIX" in found["RestrictAddressFamilies"][0].split()
    assert int(found["WatchdogSec"][0].removesuffix("s")) > 0
    # One that is wrong is not tried for ever; SIGHUP is what serve reloads by.
    assert found["RestartPreventExitStatus"] == ["2"]
    assert found["ExecReload"] == ["/bin/kill -HUP $MAINPID"]


def test_the_unit_serves_what_it_has_made() -> None:
    found = _settings(UNIT)
    program, *words = found["ExecStart"][0].split()
    assert program == "/opt/setsync/bin/setsync"
    assert words.pop() == "$SETSYNC_SERVE"
    _parses(words)
    assert found["Environment"] == [f"SETSYNC_DATA=%S/{found['StateDirectory'][0]}"]
    assert f"exec {program} init" in found["ExecStartPre"][0]


# --- containers ---------------------------------------------------------------------------


def test_the_image_is_made_in_two_stages_and_runs_as_nobody_in_particular() -> None:
    build, image = _instructions()
    assert build[0][1] == "python:3.12-slim AS build"
    assert image[0][1] == "python:3.12-slim"
    names = [name for name, _ in image]
    assert names.index("USER") > max(i for i, name in enumerate(names) if name in ("RUN", "COPY"))
    user = dict(image)["USER"]
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)
    assert f"--uid {user.split(':')[0]}" in dict(image)["RUN"]
    assert dict(image)["VOLUME"] == "/data"
    assert "SETSYNC_DATA=/data" in dict(image)["ENV"]


def test_what_the_image_copies_is_here_and_enough_for_a_build() -> None:
    build, image = _instructions()
    sources = [word for name, rest in build if name == "COPY" for word in rest.split()[:-1]]
    sources += [
        word
        for name, rest in image
        if name == "COPY" and "--from" not in rest
        for word in rest.split()[:-1]
        if not word.startswith("--")
    ]
    assert [one for one in sources if not (ROOT / one).exists()] == []
    assert {"pyproject.toml", "README.md", "LICENSE", "setsync", "bamboo_compat"} <= set(sources)


def test_the_image_runs_a_command_of_ours_and_asks_where_it_is_served() -> None:
    _, image = _instructions()
    about = dict(image)
    words = json.loads(about["CMD"])
    _parses(words)
    page = words[words.index("--web") + 1]
    check = about["HEALTHCHECK"]
    assert f"http://{page}/readyz" in check
    program = json.loads(check[check.index("[") :])
    assert program[:2] == ["python", "-c"]
    compile(program[2], "HEALTHCHECK", "exec")
    port = words[words.index("--listen") + 1].rpartition(":")[2]
    assert about["EXPOSE"] == port


@pytest.mark.parametrize("name", ["a", "b"])
def test_each_container_has_a_disk_of_its_own_and_nothing_else_to_write_to(name: str) -> None:
    service = COMPOSE["services"][name]
    _parses([str(word) for word in service["command"]])
    assert f"{name}:/data" in service["volumes"]
    assert "/etc/machine-id:/etc/machine-id:ro" in service["volumes"]
    assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])
    assert name in COMPOSE["volumes"]
    context = (DEPLOY / service["build"]["context"]).resolve()
    assert context == ROOT
    assert (context / service["build"]["dockerfile"]).is_file()


def test_the_start_makes_a_directory_once_and_then_runs_the_command(tmp_path: Path) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "setsync").symlink_to(Path(sys.executable).with_name("setsync"))
    around = {"PATH": f"{programs}:/usr/bin:/bin", "SETSYNC_DATA": str(tmp_path / "data")}

    def start(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [DEPLOY / "start", *words],
            env=around,
            text=True,
            capture_output=True,
            check=False,
            timeout=PATIENCE,
        )

    first, second = start("status", "--json"), start("status", "--json")
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert "address" in first.stderr
    assert second.stderr == ""
    assert json.loads(first.stdout)["node_id"] == json.loads(second.stdout)["node_id"]
    assert start("get", "00000000").returncode == 10
