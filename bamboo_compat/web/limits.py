"""What bounds the pages about forks and homes, and why it is that."""

from __future__ import annotations

# Forks whose state is counted and ordered; a state takes some 70 us. More are counted, no more.
MAX_SURVEYED = 10_000
# On one page of the list; each tells all its branches' lengths.
FORKS_SHOWN = 50
# Branches that stand in the list under a fork, and hashes on the page that asks for a yes.
BRANCHES_SHOWN = 8
# Beside each other on the page of a fork, and as many as somebody may ask for.
ENTRIES_SHOWN = 5
MAX_ENTRIES = 100
# Clients and hellos on one page.
CLIENTS_SHOWN = 50
# A log of mine is compared with its ledger, a look-up each.
MAX_LEDGERS = 1_000
# Files of the data directory that commands change are looked at so often.
LOOK_SECONDS = 2.0
# A survey is made again after this pause, and after this many times what the last one took:
# a tenth of one core.
PAUSE_SECONDS = 0.25
PAUSE_SHARE = 9
