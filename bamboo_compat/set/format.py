"""Bamboo's entries as members of the set: tags 0x00 and 0x01.

What collection an entry is in follows from its profile, its log id and the schema in its
payload, so only the payload proves it. Without one, `bamboo/<profile>/...` is taken as
claimed, since an entry must not be lost for want of its payload, and `system/...` is not. An
entry that was misfiled in this way stays where it is and never gets a payload there; whoever
has the payload files it where it belongs as well.

Links are no part of whether an entry is valid: what they say is its standing, which grows
with the set.
"""

from __future__ import annotations

from bamboo_compat.core import checks
from bamboo_compat.core.entry import BadEntryError, Entry, decode
from bamboo_compat.core.profiles import PROFILES, Profile, read_operation
from bamboo_compat.core.report import Finding
from bamboo_compat.core.yamf import Flavour
from bamboo_compat.set.claims import BambooClaims, entry_of
from bamboo_compat.set.index import BambooIndex
from setsync.errors import InvalidEntryError
from setsync.model.formats import Claims
from setsync.model.keys import SIGNATURE_BYTES

NAME = "bamboo"
_INDEX = BambooIndex()


class BambooFormat:
    """The format adapter; see `setsync.model.formats.EntryFormat`."""

    name = NAME
    tags = frozenset([0x00, 0x01])

    def index(self) -> BambooIndex:
        """Logs, standings and forks."""
        return _INDEX

    def decode(self, header: bytes) -> BambooClaims:
        """Decode strictly. Raises InvalidEntryError with one of Bamboo's own reasons."""
        try:
            entry = decode(header)
        except BadEntryError as error:
            raise _invalid(error.findings[0]) from error
        links = (entry.backlink, entry.lipmaalink)
        yasmf = {link[2:] for link in links if link and link.startswith(Flavour.YASMF.value)}
        return BambooClaims(
            format=self.name,
            author=entry.author,
            collection=None,
            timestamp=None,
            links=tuple(sorted(yasmf)),
            payload_size=entry.payload_size,
            payload_hash=entry.payload_hash,
            signature=entry.signature,
            entry=entry,
        )

    def check_collection(self, claims: Claims, payload: bytes | None, collection: str) -> None:
        """Raises `wrong_collection`, or `payload_needed` where only a payload could prove it."""
        profile = profile_of(collection)
        if payload is not None:
            right = collection_of(profile, entry_of(claims), payload)
            if collection != right:
                raise InvalidEntryError(
                    "wrong_collection", f"The entry belongs to {right!r}, not {collection!r}."
                )
        elif collection.startswith("system/"):
            raise InvalidEntryError(
                "payload_needed",
                f"Without its payload nothing shows that the entry belongs to {collection!r}.",
            )

    def check_payload(self, claims: Claims, payload: bytes) -> None:
        """Raises `bad_payload_hash` or `bad_payload_size`, in this order."""
        for finding in (
            checks.check_payload_hash(claims.payload_hash, payload),
            checks.check_payload_size(claims.payload_size, payload),
        ):
            if finding is not None:
                raise _invalid(finding)

    def check_signature(self, claims: Claims, header: bytes) -> None:
        """Ed25519 over everything before the signature. Raises `bad_signature`."""
        signed = header[:-SIGNATURE_BYTES]
        finding = checks.check_signature(claims.author, signed, claims.signature)
        if finding is not None:
            raise _invalid(finding)


def profile_of(collection: str) -> Profile:
    """The profile in the name of a collection. Raises InvalidEntryError `wrong_collection`."""
    parts = collection.removeprefix("system/").split("/")
    if len(parts) == 3 and parts[0] == NAME and parts[1] in PROFILES:
        return PROFILES[parts[1]]
    raise InvalidEntryError(
        "wrong_collection",
        f"A Bamboo entry belongs to 'bamboo/PROFILE/SCHEMA', not {collection!r}.",
    )


def collection_of(profile: Profile, entry: Entry, payload: bytes) -> str:
    """Where an entry with this payload belongs."""
    operation = read_operation(payload)
    return profile.collection(entry.log_id, operation.schema if operation is not None else None)


def _invalid(finding: Finding) -> InvalidEntryError:
    return InvalidEntryError(
        finding.reason.value,
        f"The Bamboo entry breaks a rule ({finding.reason.value}): expected {finding.expected}, "
        f"found {finding.found}.",
    )
