"""Every number that bounds what a file of strangers' entries can cost, and why it is that."""

from __future__ import annotations

KIB = 1024
MIB = 1024 * KIB

# What a node takes at most, whatever it is set to; a longer one could not be ingested.
MAX_PAYLOAD = 16 * MIB
# A line holds an entry and its payload in hex, and short keys for reading along.
MAX_LINE = 2 * MAX_PAYLOAD + 64 * KIB
# What is handed to a worker at a time: large beside the cost of handing it over, small
# enough that many under way take little memory.
JOB_BYTES = 128 * KIB
# So many jobs of a small input are done in this process: starting others takes as long.
JOBS_ALONE = 8
# So many wait at every other process, that it has work while this one does a job itself.
JOBS_AHEAD = 3
# So many answers a process, or as many bytes in fewer, wait for one that is late, before all
# wait for it.
JOBS_BEHIND = 16
# Each stays in memory as about 400 bytes until all links are known.
MAX_ENTRIES = 2_000_000
# Files of one directory, and of one command line.
MAX_FILES = 100_000
# Of the refused and broken so many are told one by one; all are counted.
MAX_PROBLEMS = 10_000
