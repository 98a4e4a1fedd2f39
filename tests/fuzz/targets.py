"""The table of targets, by name: every decoder of setsync and its guest that reads bytes of
strangers, and the two that read what a disk may have damaged."""

from __future__ import annotations

from tests.fuzz.bamboo_targets import BAMBOO_TARGETS
from tests.fuzz.file_targets import FILE_TARGETS
from tests.fuzz.target import Target
from tests.fuzz.wire_targets import WIRE_TARGETS

TARGETS: dict[str, Target] = {
    target.name: target for target in [*WIRE_TARGETS, *FILE_TARGETS, *BAMBOO_TARGETS]
}
