"""The node: the only room that waits, and so the only one that knows trio."""
