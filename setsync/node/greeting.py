"""What both sides agree on before anything else: version, interests, limits, keys."""

from __future__ import annotations

from dataclasses import dataclass

from setsync.errors import InvalidNameError, PeerError, PeerIdentityError, PeerVersionError
from setsync.model.collection import Pattern, match_any
from setsync.node.local import Local
from setsync.reconcile.catalogue import Catalogue
from setsync.reconcile.labels import session_key
from setsync.store.contract import Snapshot
from setsync.wire.messages import PROTOCOL_VERSION, Hello
from setsync.wire.packing import FEATURE

# In HELLO: this node stays and sends what is new, if the other side does too.
LIVE = "live"


def hello(local: Local, interests: tuple[Pattern, ...], direction: int) -> Hello:
    """Our HELLO, with a fresh nonce."""
    return Hello(
        versions=(PROTOCOL_VERSION,),
        node=local.node_id,
        nonce=local.nonce(),
        interests=tuple(pattern.text for pattern in interests),
        direction=direction,
        max_payload=local.max_payload,
        features=(FEATURE, LIVE),
    )


def check_name(greeting: Hello, proven: bytes | None) -> None:
    """A node calls itself by the key that it has proven to hold. Raises PeerIdentityError."""
    if proven is not None and greeting.node != proven:
        raise PeerIdentityError(
            f"The other side holds the key {proven.hex()} and calls itself {greeting.node.hex()}."
        )


@dataclass(frozen=True, slots=True)
class Agreement:
    """Both HELLOs, understood."""

    initiator: Hello
    responder: Hello
    interests: tuple[tuple[Pattern, ...], tuple[Pattern, ...]]

    @classmethod
    def of(cls, initiator: Hello, responder: Hello) -> Agreement:
        """Raises PeerVersionError, PeerError."""
        if PROTOCOL_VERSION not in initiator.versions or PROTOCOL_VERSION not in responder.versions:
            raise PeerVersionError(
                f"The two nodes share no protocol version: {list(initiator.versions)} "
                f"and {list(responder.versions)}."
            )
        return cls(initiator, responder, (_patterns(initiator), _patterns(responder)))

    def is_mutual(self, name: str) -> bool:
        """Whether both sides want a collection."""
        return all(match_any(patterns, name) for patterns in self.interests)

    def key(self, turn: int) -> bytes:
        """The key of one pass."""
        nonces = self.initiator.nonce + self.responder.nonce
        return session_key(self.initiator.node, self.responder.node, nonces, turn)

    def catalogue(self, snapshot: Snapshot) -> Catalogue:
        """Our collections of mutual interest."""
        return Catalogue.of(snapshot.collections(), self.is_mutual)


def _patterns(greeting: Hello) -> tuple[Pattern, ...]:
    try:
        return tuple(Pattern(text) for text in greeting.interests)
    except InvalidNameError as error:
        raise PeerError(f"An interest is not a pattern: {error.message}") from error
