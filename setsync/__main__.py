"""`python -m setsync` is `setsync`."""

import sys

from setsync.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
