"""Bytes and messages, and the way between them. Knows no socket and no meaning."""
