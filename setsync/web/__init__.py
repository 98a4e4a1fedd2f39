"""The page: what an operator sees of a node, and may do to it, in a browser."""
