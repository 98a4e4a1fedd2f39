"""Measuring a process from outside."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from benchmarks.usage import Meter, anonymous, cpu_seconds, memory

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

SLAVE = """
import sys
for line in sys.stdin:
    block = bytearray(int(line)) if int(line) else sum(range(2_000_000))
    if not isinstance(block, int): block[::4096] = b"x" * len(block[::4096])
    del block
    print("done", flush=True)
"""


def test_the_cpu_clock_of_another_process_is_its_own() -> None:
    assert cpu_seconds(os.getpid()) == pytest.approx(time.process_time(), abs=0.5)
    with pytest.raises(OSError, match="Invalid argument"):
        cpu_seconds(2**22 + 1)


def test_memory_lines_are_bytes() -> None:
    found = memory(os.getpid())
    assert found["VmHWM"] >= found["RssAnon"] > 100_000


def test_a_meter_tells_the_work_of_two_processes_apart() -> None:
    def start() -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", SLAVE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(process: subprocess.Popen[str], size: int) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(f"{size}\n")
        process.stdin.flush()
        assert process.stdout.readline() == "done\n"

    with start() as big, start() as small:
        ask(big, 4096)
        ask(small, 300_000_000)  # a peak before the measurement, which must not count
        with Meter(big=big.pid, small=small.pid) as meter:
            ask(big, 100_000_000)
            ask(big, 0)
        big.communicate("")
        small.communicate("")
    assert meter.usage["big"].peak_rss > 100_000_000 > meter.usage["small"].peak_rss
    assert meter.usage["big"].cpu > meter.usage["small"].cpu


PARENT = f"""
import subprocess, sys, threading
def start():
    global child
    child = subprocess.Popen([sys.executable, "-c", {SLAVE!r}], stdin=0, stdout=1)
thread = threading.Thread(target=start)
thread.start()
thread.join()
child.wait()
"""


def test_memory_of_a_process_includes_what_its_threads_have_started() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("4096\n")
        process.stdin.flush()
        assert process.stdout.readline() == "done\n"
        alone, together = memory(process.pid)["RssAnon"], anonymous(process.pid)
        process.stdin.close()
    assert together > 1.5 * alone
    assert anonymous(process.pid) == 0


def test_a_process_that_dies_has_no_usage() -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    with Meter(gone=process.pid) as meter:
        process.communicate(b"\n")
    assert meter.usage == {}
