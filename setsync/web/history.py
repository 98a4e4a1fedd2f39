"""How it was: figures over time for the plot, in memory, for ever and yet bounded.

Samples are taken evenly. When there are too many, every other one goes and from then on half as
many are taken, so that they always reach back to the start.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field

from setsync.limits import WEB_SAMPLE_SECONDS, WEB_SAMPLES


@dataclass(frozen=True, slots=True)
class Sample:
    """One moment: `at` in ms since 1970; bytes on the disk, and moved by sessions so far."""

    at: int
    entries: int
    disk: int
    sent: int
    received: int


@dataclass
class History:
    """`every` seconds there is a sample; offer one whenever that has passed."""

    most: int = WEB_SAMPLES
    every: float = WEB_SAMPLE_SECONDS
    samples: list[Sample] = field(default_factory=list)

    def note(self, sample: Sample) -> None:
        """One more."""
        self.samples.append(sample)
        # An odd number of them: the last one stays, and so the gaps stay even.
        if len(self.samples) > self.most // 2 * 2:
            del self.samples[1::2]
            self.every *= 2

    def as_json(self) -> dict[str, list[int]]:
        """By column, as a plot wants it."""
        rows = [asdict(sample) for sample in self.samples]
        return {name: [row[name] for row in rows] for name in Sample.__slots__}
