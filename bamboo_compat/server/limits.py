"""Every number that bounds what a client's question can cost us, and why it is that.

Sizes are bytes, times are seconds.
"""

from __future__ import annotations

KIB = 1024

# --- one question -------------------------------------------------------------------------

# Without variables, where the long values are; the longest that tools send, the question for
# the whole schema, has under 2 KiB.
MAX_QUERY = 16 * KIB
# The same question has about 300.
MAX_TOKENS = 1_000
# Fields within fields. Ours are two deep; more is for whoever adds to it.
MAX_DEPTH = 8
# The question for the schema is 13 deep, as types are told as wrappers of wrappers; how often
# lists may repeat within each other there, a rule of the library bounds.
MAX_SCHEMA_DEPTH = 16
# Answers that one question asks for at the top, and names that it gives to fields: each of ours
# may be a commit to the disk.
MAX_ALIASES = 16
# Fields in all, and of these with arguments: checking a question compares every two of one name.
# The question for the schema has about 60, 6 of them with arguments.
MAX_FIELDS = 128
MAX_CALLS = 2 * MAX_ALIASES
# So many mistakes are told of each question.
MAX_ERRORS = 8

# --- its values ---------------------------------------------------------------------------

# The operations that one follows: as many people as may have changed a document at once, and
# their ids are 34 or 66 bytes each.
MAX_PREVIOUS = 256
# A view in hex: as many ids of the longer kind, and what is between them.
MAX_VIEW_TEXT = MAX_PREVIOUS * (2 * 66 + 1)

# --- the work -----------------------------------------------------------------------------

# At once; whoever comes after waits. They share the machine with sessions, and publishing is
# one at a time anyway.
MAX_AT_WORK = 4
# And so many may wait for that; more are told to come again.
MAX_WAITING = 64
# What one publish takes is a commit to the disk; the client waits only so long (L19).
LOCK_SECONDS = 5.0
