"""What a process costs, read from outside it: CPU time, peak resident and anonymous memory.

The process measured takes no part, so one meter serves every system in the benchmark. Linux only:

- CPU is the kernel's per-process clock, all threads, user and system, to the nanosecond. Its clock
  id is computed as clock_getcpuclockid(3) does, `(~pid << 3) | 2` (kernel, `posix-timers.h`).
- `VmHWM` in /proc/PID/status is the peak resident set. It counts mapped database pages too, which
  the kernel can drop at any moment. Writing 5 to /proc/PID/clear_refs sets it back to the present.
- `RssAnon` is what only the process itself can give back. It has no high-water mark, so a thread
  samples it; a peak shorter than the interval may be missed.
"""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

SAMPLE_SECONDS = 0.02
_SCHED_CLOCK = 2
_RESET_PEAK = "5"


@dataclass(frozen=True)
class Usage:
    """CPU in seconds, memory in bytes."""

    cpu: float
    peak_rss: int
    peak_anon: int


def cpu_seconds(pid: int) -> float:
    """CPU time of a running process so far, all its threads. Raises OSError if there is none."""
    return time.clock_gettime((~pid << 3) | _SCHED_CLOCK)


def memory(pid: int) -> dict[str, int]:
    """The memory lines of /proc/PID/status in bytes, by name: VmHWM, VmRSS, RssAnon and others."""
    found = {}
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if value.endswith(" kB"):
            found[name] = int(value.removesuffix(" kB")) * 1024
    return found


def anonymous(pid: int) -> int:
    """RssAnon in bytes of a process and of all below it, whichever of its threads started them.

    A child that has not begun its own program yet has its parent's memory, and is left out.
    """
    total = 0
    with suppress(OSError):
        total = memory(pid).get("RssAnon", 0)
        mine = _command(pid)
        for children in Path(f"/proc/{pid}/task").glob("*/children"):
            with suppress(OSError):
                below = [int(child) for child in children.read_text().split()]
                total += sum(anonymous(child) for child in below if _command(child) != mine)
    return total


def _command(pid: int) -> bytes:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def reset_peak(pid: int) -> None:
    """Start the peak resident set anew. Raises OSError if the process belongs to somebody else."""
    Path(f"/proc/{pid}/clear_refs").write_text(_RESET_PEAK)


class Meter:
    """Measures some processes over the time of a with block.

        with Meter(initiator=123, responder=124) as meter:
            ...
        meter.usage["initiator"].cpu

    The processes must still run when the block ends or `stop` is called, whichever is first.
    """

    def __init__(self, **pids: int) -> None:
        self.usage: dict[str, Usage] = {}
        self._pids = pids
        self._cpu: dict[str, float] = {}
        self._anon: dict[str, int] = {}
        self._stop = threading.Event()
        self._sampler = threading.Thread(target=self._sample, name="meter", daemon=True)

    def __enter__(self) -> Meter:
        for name, pid in self._pids.items():
            reset_peak(pid)
            self._anon[name] = memory(pid)["RssAnon"]
        self._sampler.start()
        self._cpu = {name: cpu_seconds(pid) for name, pid in self._pids.items()}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """End the measurement now. Calling it again changes nothing."""
        if self._stop.is_set():
            return
        spent: dict[str, float] = {}
        with suppress(OSError):  # a process that died reports its own error elsewhere
            spent = {name: cpu_seconds(pid) - self._cpu[name] for name, pid in self._pids.items()}
        self._stop.set()
        self._sampler.join()
        with suppress(OSError):
            self._look()
        for name, cpu in spent.items():
            peak = memory(self._pids[name])["VmHWM"]
            self.usage[name] = Usage(cpu, peak, self._anon[name])

    def _sample(self) -> None:
        while not self._stop.wait(SAMPLE_SECONDS):
            with suppress(OSError):
                self._look()

    def _look(self) -> None:
        for name, pid in self._pids.items():
            self._anon[name] = max(self._anon[name], memory(pid).get("RssAnon", 0))
