"""What a check found, as sentences for the operator."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass, field

# Findings told one by one; after these only their number grows.
MAX_FINDINGS = 1_000


OnSteps = Callable[[str, int, int], None]
"""Called with a phase, how much of it is done, and its total."""


class Kind(enum.StrEnum):
    """What a finding is about."""

    TABLES = "tables"
    COUNTER = "counter"
    ENTRY = "entry"
    MEMBERSHIP = "membership"
    TRIE = "trie"
    SKETCH = "sketch"
    INDEX = "index"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it should be, as a sentence for the operator."""

    kind: Kind
    sentence: str


@dataclass(slots=True)
class Report:
    """What was checked and what was found. `damage` counts findings beyond those listed;
    `unknown` are entries of formats that no installed package knows, which is no damage."""

    entries: int = 0
    signatures: int = 0
    nodes: int = 0
    unknown: int = 0
    damage: int = 0
    findings: list[Finding] = field(default_factory=list)

    def found(self, kind: Kind, sentence: str) -> None:
        """Note a finding."""
        self.damage += 1
        if len(self.findings) < MAX_FINDINGS:
            self.findings.append(Finding(kind, sentence))
