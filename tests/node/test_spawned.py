"""Processes of a pool: none outlives the one that spawned it."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys

import pytest

POOL = """
import os
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from setsync.node.spawned import begin

with ProcessPoolExecutor(2, get_context("spawn"), begin) as pool:
    first, second = pool.submit(os.getpid), pool.submit(os.getpid)
    print(first.result(), second.result(), flush=True)
    input()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="waits for processes by their descriptors")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_processes_of_a_pool_end_with_a_command_that_is_killed(how: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", POOL], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as command:
        assert command.stdout is not None
        processes = {int(word) for word in command.stdout.readline().split()}
        descriptors = [os.pidfd_open(process) for process in processes]
        assert descriptors
        command.send_signal(how)
        for descriptor in descriptors:
            assert select.select([descriptor], [], [], 60)[0]
            os.close(descriptor)
