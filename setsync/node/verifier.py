"""A process that verifies entries for another one, which starts and ends it.

    python -m setsync.node.verifier

reads jobs from its standard input until that ends, and answers each in its order: see
`setsync.model.checking` for their bytes, `setsync.node.verifying` for who asks.
"""

from __future__ import annotations

import gc
import os
import sys
from typing import BinaryIO

from setsync.model.checking import LENGTH, answer
from setsync.model.formats import formats


def serve(inbox: BinaryIO, outbox: BinaryIO) -> None:
    """Answer jobs until the input ends, also if that is in the middle of one."""
    while len(head := inbox.read(LENGTH.size)) == LENGTH.size:
        (size,) = LENGTH.unpack(head)
        if len(job := inbox.read(size)) < size:
            return
        outbox.write(answer(job))
        outbox.flush()


def main() -> None:
    """Load what is needed, and serve."""
    formats()
    # What is made here holds no circles, and looking for them would take a tenth of the time.
    gc.freeze()
    gc.disable()
    try:
        serve(sys.stdin.buffer, sys.stdout.buffer)
    except BrokenPipeError:
        # Who asked was killed. What is left unsaid goes nowhere, and without a word.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    main()
