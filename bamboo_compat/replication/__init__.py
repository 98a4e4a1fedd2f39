"""Replication by log heights, as Bamboo servers do it. `docs/log-heights.md` is its page.

The arrows: `limits`, then `messages`, `stream`, `table` and `source`, then `machine` and
`heights`, then `report`, and on top `run`, the only one that knows trio. Beside them stand
`taking` and `index_source`, a node's set as a source: the only ones that know of the set.
"""
