"""`python -m tests.simulation`; see `runner`, which spawned processes can import and this not."""

import sys

from tests.simulation.runner import main

if __name__ == "__main__":
    sys.exit(main())
