"""Entries in files: found, read in parts, and examined in as many processes as there are cores.

`reading` is for whoever wants the entries themselves, `verifying` for whoever wants to know
what holds of all of them. Nothing here prints, and nothing here knows of a store.
"""
