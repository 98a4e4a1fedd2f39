"""An author's own side of publishing over GraphQL: it asks its home, and signs only what follows
from what it signed before.
"""
