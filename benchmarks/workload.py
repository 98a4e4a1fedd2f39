"""What two foreign nodes hold before they meet: how many entries, of what size, written when.

Pure arithmetic on a seed: the same workload gives the same entries on every machine. It knows no
system; each peer module turns an `Item` into what its own system calls an entry.
"""

from __future__ import annotations

import argparse
import enum
import hashlib
import itertools
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

FIRST_SECOND = 1_600_000_000
SPAN_SECONDS = 31_536_000
NEWS_SECONDS = 3_600
CONTENT_BYTES = 162
SIDE_STRIDE = 1 << 40


class Layout(enum.Enum):
    """Where the difference lies in time.

    SCATTERED  all entries, common and differing, uniform over one year
    EQUAL      every entry bears the same second, so that only ids order them
    RECENT     common entries over one year, all differing ones in the hour after it
    """

    SCATTERED = "scattered"
    EQUAL = "equal"
    RECENT = "recent"


class Part(enum.Enum):
    """Who holds an entry before the exchange."""

    COMMON = 0
    INITIATOR = 1
    RESPONDER = 2


@dataclass(frozen=True)
class Item:
    """One entry to be: its second, and a content of printable bytes that does not compress well."""

    second: int
    content: str


@dataclass(frozen=True)
class Workload:
    """Two sets: `n` common entries, and those that only one side holds."""

    n: int
    only_initiator: int
    only_responder: int
    layout: Layout = Layout.SCATTERED
    seed: int = 1
    content_bytes: int = CONTENT_BYTES

    @classmethod
    def even(
        cls,
        n: int,
        d: int,
        layout: Layout = Layout.SCATTERED,
        seed: int = 1,
        content_bytes: int = CONTENT_BYTES,
    ) -> Workload:
        """A difference of `d` entries, half on each side."""
        return cls(n, d // 2, d - d // 2, layout, seed, content_bytes)

    @property
    def d(self) -> int:
        """Entries that only one side holds, both sides together."""
        return self.only_initiator + self.only_responder

    def to_fields(self) -> dict[str, Any]:
        """The workload as JSON's types, to send to a worker."""
        return {**asdict(self), "layout": self.layout.value}

    @classmethod
    def from_fields(cls, fields: dict[str, Any]) -> Workload:
        """The workload that `to_fields` was asked of."""
        return cls(**{**fields, "layout": Layout(fields["layout"])})

    def size(self, part: Part) -> int:
        """How many entries belong to a part."""
        return {
            Part.COMMON: self.n,
            Part.INITIATOR: self.only_initiator,
            Part.RESPONDER: self.only_responder,
        }[part]

    def items(self, part: Part) -> Iterator[Item]:
        """The entries of one part, in no order of time."""
        for index in range(self.size(part)):
            yield self._item(part, index)

    def _item(self, part: Part, index: int) -> Item:
        name = f"{self.seed}/{part.value * SIDE_STRIDE + index}".encode()
        bits = hashlib.shake_128(name).digest(8 + self.content_bytes // 2 + 1)
        second = self._second(part, int.from_bytes(bits[:8], "big"))
        return Item(second, bits[8:].hex()[: self.content_bytes])

    def _second(self, part: Part, chance: int) -> int:
        if self.layout is Layout.EQUAL:
            return FIRST_SECOND
        if self.layout is Layout.RECENT and part is not Part.COMMON:
            return FIRST_SECOND + SPAN_SECONDS + chance % NEWS_SECONDS
        return FIRST_SECOND + chance % SPAN_SECONDS


def parse_count(text: str) -> int:
    """'100k', '1M' or '2000' as a number. Raises ValueError for anything else."""
    units = {"k": 1_000, "m": 1_000_000}
    text = text.strip().lower()
    unit = units.get(text[-1:], 0)
    return int(text[:-1]) * unit if unit else int(text)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options by which a peer's command line chooses workloads."""
    parser.add_argument("--n", type=parse_count, nargs="+", default=[10_000], help="common entries")
    parser.add_argument("--d", type=parse_count, nargs="+", default=[20], help="differing entries")
    parser.add_argument(
        "--layout",
        type=Layout,
        nargs="+",
        default=[Layout.SCATTERED],
        help=", ".join(layout.value for layout in Layout),
    )
    parser.add_argument("--seed", type=int, nargs="+", default=[1])
    parser.add_argument("--content", type=int, default=CONTENT_BYTES, help="bytes of content")


def chosen(options: argparse.Namespace) -> Iterator[Workload]:
    """Every combination of the options of `add_arguments`."""
    every = itertools.product(options.n, options.layout, options.seed, options.d)
    for n, layout, seed, d in every:
        yield Workload.even(n, d, layout, seed, options.content)
