"""Bamboo entries as members of the set: their format, and an index of logs beside them."""
