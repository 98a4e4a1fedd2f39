"""Bamboo append-only logs as a guest of the set.

Nothing is in here yet: the rooms of `docs/architecture.md` are built next. The package
stands so that the arrows between the two packages are tested from the first day.
"""
