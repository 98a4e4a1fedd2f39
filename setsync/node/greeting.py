"""What both sides agree on before anything else: version, interests, limits, keys."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from setsync.errors import (
    Abort,
    InvalidNameError,
    PeerError,
    PeerIdentityError,
    PeerVersionError,
)
from setsync.model.collection import Matcher, Pattern, check_fits
from setsync.node.local import Local
from setsync.reconcile.catalogue import Catalogue
from setsync.reconcile.labels import session_key
from setsync.store.contract import Snapshot
from setsync.wire.messages import PROTOCOL_VERSION, Hello
from setsync.wire.packing import FEATURE

# In HELLO: this node stays and sends what is new, if the other side does too.
LIVE = "live"
# In HELLO: this node has entries without their payloads, and would have them.
WANTS_PAYLOADS = "wants"


def hello(
    local: Local,
    interests: tuple[Pattern, ...],
    direction: int,
    *,
    peer: bytes | None = None,
    invite: bytes = b"",
    wants_payloads: bool = False,
) -> Hello:
    """Our HELLO to the node with the key `peer`, with a fresh nonce. Reads the policy.

    Raises PolicyFileError; InvalidNameError for more interests than can be told.
    """
    check_fits(interests)
    policy = local.policy()
    return Hello(
        versions=(PROTOCOL_VERSION,),
        node=local.node_id,
        nonce=local.nonce(),
        interests=tuple(pattern.text for pattern in interests),
        direction=direction,
        max_payload=local.max_payload,
        features=(FEATURE, LIVE, WANTS_PAYLOADS) if wants_payloads else (FEATURE, LIVE),
        shares=_texts(policy.shares_with(local.groups(peer or b""))),
        without=_texts(policy.without),
        invite=invite,
    )


def _texts(patterns: Sequence[Pattern]) -> tuple[str, ...]:
    return tuple(pattern.text for pattern in patterns)


def check_hello(greeting: Hello, proven: bytes | None) -> None:
    """A node calls itself by the key that it has proven to hold, and its lists of patterns are
    no longer than may be. Raises PeerIdentityError, PeerError."""
    if proven is not None and greeting.node != proven:
        raise PeerIdentityError(
            f"The other side holds the key {proven.hex()} and calls itself {greeting.node.hex()}."
        )
    for texts in (greeting.interests, greeting.shares, greeting.without):
        patterns = _patterns(texts)
        try:
            check_fits(patterns)
        except InvalidNameError as error:
            raise PeerError(f"A HELLO is too long. {error.message}", Abort.TOO_LARGE) from error


@dataclass(frozen=True, slots=True)
class Agreement:
    """Both HELLOs, understood. A collection of mutual interest matches each of `needed`, and
    none of `without`."""

    initiator: Hello
    responder: Hello
    needed: tuple[Matcher, ...]
    without: Matcher

    @classmethod
    def of(cls, initiator: Hello, responder: Hello) -> Agreement:
        """Raises PeerVersionError, PeerError."""
        if PROTOCOL_VERSION not in initiator.versions or PROTOCOL_VERSION not in responder.versions:
            raise PeerVersionError(
                f"The two nodes share no protocol version: {list(initiator.versions)} "
                f"and {list(responder.versions)}."
            )
        both = (initiator, responder)
        needed = {texts for hello in both for texts in (hello.interests, hello.shares)}
        return cls(
            initiator,
            responder,
            tuple(Matcher(_patterns(texts)) for texts in sorted(needed)),
            Matcher(_patterns(initiator.without + responder.without)),
        )

    def is_mutual(self, name: str) -> bool:
        """Whether both sides want a collection and share it with each other."""
        wanted = all(patterns.matches(name) for patterns in self.needed)
        return wanted and not self.without.matches(name)

    def key(self, turn: int) -> bytes:
        """The key of one pass."""
        nonces = self.initiator.nonce + self.responder.nonce
        return session_key(self.initiator.node, self.responder.node, nonces, turn)

    def catalogue(self, snapshot: Snapshot) -> Catalogue:
        """Our collections of mutual interest."""
        return Catalogue.of(snapshot.collections(), self.is_mutual)


def _patterns(texts: Sequence[str]) -> tuple[Pattern, ...]:
    try:
        return tuple(Pattern(text) for text in texts)
    except InvalidNameError as error:
        raise PeerError(f"A HELLO has what is not a pattern: {error.message}") from error
