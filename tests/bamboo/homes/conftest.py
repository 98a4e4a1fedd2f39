"""The shim of the fault tests, for the ledger."""

from tests.faults.conftest import shim

__all__ = ["shim"]
