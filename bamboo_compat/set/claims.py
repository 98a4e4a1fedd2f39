"""What the Bamboo format says of an entry: the claims of any format, and the entry itself."""

from __future__ import annotations

from dataclasses import dataclass

from bamboo_compat.core.entry import Entry
from setsync.model.formats import Claims


@dataclass(slots=True)
class BambooClaims(Claims):
    """With everything that a log needs to know."""

    entry: Entry


def entry_of(claims: Claims) -> Entry:
    """The Bamboo entry behind claims that Bamboo's format made."""
    assert isinstance(claims, BambooClaims)
    return claims.entry
