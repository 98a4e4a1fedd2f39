"""What bounds decisions, and why it is that."""

from __future__ import annotations

MIB = 1024 * 1024

# People decide; a script that decides ten thousand forks has another problem. When there are
# more, what was taken back or decided anew goes first.
MAX_RECORDS = 10_000
# 10,000 records of the longest reasons, as JSON in ASCII.
MAX_FILE = 32 * MIB
# A login, or whoever the page calls its operator.
MAX_WHO = 100
# The same that a signed decision has room for, in bytes of UTF-8.
MAX_REASON = 200
# A change of the file takes a moment.
LOCK_SECONDS = 10.0
# Forks of one log that are looked at, the lowest first; the next one counts as undecided.
MAX_FORKS = 1_000
# Heads of one log: with more, nobody says which is meant. Each costs a walk of a few steps down
# to where one walked before, however many forks were decided.
MAX_HEADS = 10_000
# Statements and records of one fork that a page tells, the newest.
MAX_HISTORY = 100
