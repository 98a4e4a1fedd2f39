"""What may fork a log, or lose its end: named, told, and only done when asked for.

`docs/homes.md` has the same table for people; a test holds the two together.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Danger:
    """`what` would happen, in a sentence or two; `word` is typed by whoever wants it."""

    what: str
    word: str


class Act(enum.Enum):
    """The dangerous actions."""

    PUBLISH_AWAY = Danger(
        "Another server is this author's home. If it publishes the same number, the log forks, "
        "and every node will say so.",
        "publish",
    )
    PUBLISH_BEHIND = Danger(
        "A later entry of this log is known. What is signed now is a second entry for a number "
        "that is taken: the log forks here and now.",
        "fork",
    )
    ADOPT = Danger(
        "This directory was copied. If the other one still signs, or has signed what is not here, "
        "the logs of its keys fork.",
        "adopt",
    )
    DIVORCE = Danger(
        "The home is not asked. What was published there and is not here is lost to this node, and "
        "the numbers of those entries may be signed a second time.",
        "leave",
    )
    IMPORT_AWAY = Danger(
        "This node is not the author's home, or holds other entries than the archive. Going on "
        "with these logs here forks them.",
        "import",
    )
    IMPORT_HEADS = Danger(
        "Nobody has signed that there are such entries. Once it is noted, nothing is signed in "
        "these logs here before they have come, and if there are none, never again.",
        "heads",
    )
    DECIDE_AGAINST_OWN = Danger(
        "The branch that you give up was brought at this machine, so perhaps you signed it. What "
        "was said on it stays readable, and is no part of the log any more.",
        "decide",
    )
