"""One end of setsync whose entries are those of logs: `setsync_node`, with all imported before.

A node loads the formats of entries with the first entry that it meets, here Bamboo's. That
would count as work of the session, which other imports do not.
"""

from __future__ import annotations

import trio

from benchmarks.setsync_node import work
from setsync.model.formats import formats

if __name__ == "__main__":
    formats()
    trio.run(work)
