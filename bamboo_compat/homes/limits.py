"""Every number that bounds what strangers, files and servers can cost us here, and why."""

from __future__ import annotations

from setsync.limits import KIB, MAX_CONTROL_FRAME, MIB

# A question or an answer: sixteen statements, or the heads of 128 logs, fit several times.
MAX_MESSAGE = MAX_CONTROL_FRAME
# Statements in one message: an author who moved more often sends the latest.
MAX_STATEMENTS = 16
# The shortest and the longest statement there can be.
MAX_STATEMENT = 4 * KIB
# Logs that one question asks the heads of: each answer is an entry's header, under 400 bytes.
MAX_HEADS = 128
# Questions on one connection; joining takes three, and moving asks for heads in batches.
MAX_QUESTIONS = 64
# One question and its answer, in all.
QUESTION_SECONDS = 10.0
# A home that has answered, and then takes no connection, is dialled again so often, each time
# after so long: five connections a second are taken from one address.
REDIALS = 5
REDIAL_SECONDS = 1.0
# Pages of logs that one look at a home's clock is good for: all of them, each within
# QUESTION_SECONDS, end in half the window that is signed with it.
MAX_PAGES = 16
# How long a home, or a peer, is waited for before an entry is signed. A person waits too.
HEADS_SECONDS = 3.0
# Peers that are asked for our own head before it is followed; the home is asked besides.
MAX_ASKED = 8
# A signed request is good for so long by the server's own clock, which it tells.
WINDOW_MS = 600_000
# Authors at home on one server. Each is about 600 bytes in a file read whole.
MAX_CLIENTS = 10_000
MAX_HOMES_FILE = 16 * MIB
# Who changes that file waits so long for another who does; fifty may stand in a queue.
LOCK_SECONDS = 30.0
# Numbers that a ledger can hold, 128 bytes each in a file that has holes where nothing was
# signed. Nobody signs four thousand million entries; a server may well ask for such a number.
MAX_LEDGER_NUMBER = 2**32 - 1
# Sections of an archive are held whole; a payload has 16 MiB at most.
MAX_SECTION = 16 * MIB + 16 * KIB
# Logs of one author whose heads an archive names, or a home tells.
MAX_ARCHIVE_HEADS = 1_000_000
# What opening a key may cost, by what a stranger's archive says: libsodium's own "moderate".
MAX_KEY_OPERATIONS = 3
MAX_KEY_MEMORY = 256 * MIB
# A passphrase is typed by a person, or made by a program.
MAX_PASSPHRASE = 1_024
# What the state of a move takes, and an archive's own address.
MAX_STATE_FILE = 64 * KIB
# What a home says of one entry over GraphQL: four values and a receipt, a few KiB.
MAX_GRAPHQL_ANSWER = 64 * KIB
# A refusal's sentence and advice, as far as they are shown.
MAX_SHOWN = 1_000
