"""As for the page itself: secrets are noted, and a node has an open store."""

from tests.web.conftest import _secrets_are_noted, node

__all__ = ["_secrets_are_noted", "node"]
