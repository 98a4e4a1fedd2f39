"""Every number that bounds what a peer can cost us while replicating, and why it is that.

Sizes are bytes, times are seconds.
"""

from __future__ import annotations

from bamboo_compat.core.entry import MAX_ENTRY
from bamboo_compat.core.profiles import MAX_OPERATION

KIB = 1024
MIB = 1024 * KIB

# --- one message ------------------------------------------------------------------------

# What surrounds the fields of a message: array heads, type, session, the heads of two strings.
_HEADS = 64
# A name and the ids of a view of a few operations, 68 characters each. It is also what is
# taken for a schema in an operation.
MAX_SCHEMA = 1024
# Far above what one server is used for; of usual length they are 330 KiB.
MAX_SCHEMAS = 4_096
# Were all as long as one may be they would be 4 MiB; nobody has so many of that length.
MAX_SCHEMAS_MESSAGE = 1 * MIB
# Nothing longer than MAX_OPERATION is an operation, and what is none has no schema, so
# nobody can have asked for it.
MAX_ENTRY_MESSAGE = MAX_ENTRY + MAX_OPERATION + _HEADS
MAX_DONE_MESSAGE = _HEADS
# The protocol has no second `have`, so one holds all: a log takes 3 to 19 bytes, an author
# 35 and more, so that this is room for the logs below in every usual spelling.
MAX_HAVE_MESSAGE = 16 * MIB
# aquadoggo has a log for each document. Decoded, a log takes 130 bytes: 65 MiB in all.
MAX_LOGS = 524_288
# Each costs 35 bytes on the wire, and a dictionary here.
MAX_AUTHORS = 65_536
# CBOR items: three a log, three an author, and what surrounds them.
MAX_HAVE_ITEMS = 3 * MAX_LOGS + 3 * MAX_AUTHORS + 8
# `[10, session, [[key, [[log id, seq num]]]]]`: nothing is nested deeper.
MAX_DEPTH = 5

# --- one connection ---------------------------------------------------------------------

# An honest initiator opens two: one for system schemas, one for the others.
MAX_SESSIONS = 64
# Entries that break a rule or were not asked for. A mistake is no reason to end, so many are:
# each costs us a signature to check. What only our own rules refuse is not counted, because
# an honest peer cannot know them and brings it each time.
MAX_REFUSED = 10_000
# Different sentences why entries were refused; what comes on top is counted under one.
MAX_REASONS = 64
# Places at which logs part that are told one by one; all are counted.
MAX_DIVERGENCES = 1_000

# --- one step ---------------------------------------------------------------------------

# Logs that the source is asked for at a time: some 10 ms of reading an index.
LOGS_PER_PAGE = 4_096
# Entries read, or taken and committed, at a time: large enough that a commit costs little
# beside its content, small enough that a cut loses little.
BATCH_BYTES = 256 * KIB
BATCH_ENTRIES = 1_024
# Batches waiting to be written; then no more is read from the disk.
UNSENT_WRITES = 4
READ_BYTES = 64 * KIB

# --- waiting ----------------------------------------------------------------------------

# A peer that owes us a message may think this long: it may have to look at all its logs.
ANSWER_TIMEOUT = 60.0
# One batch handed to the network must be taken within this.
SEND_TIMEOUT = 60.0
