"""What authors say of their forks and of their homes: signed, and a chain for each author.

`docs/statements.md` shows the bytes. Whether a statement is valid is a function of its bytes;
its place in the author's chain is no part of that.
"""
