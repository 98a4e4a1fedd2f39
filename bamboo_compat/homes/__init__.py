"""Who is at home where: marrying a server to an author, and what follows from it.

`docs/homes.md` tells it to people, `docs/archive-format.md` shows the bytes of an archive.
"""
