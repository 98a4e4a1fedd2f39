"""Bamboo append-only logs as a guest of the set.

`core/` is Bamboo itself and knows nothing of setsync; `cli/` is what `setsync bamboo` runs.
The other rooms of `docs/architecture.md` are built on these.
"""
