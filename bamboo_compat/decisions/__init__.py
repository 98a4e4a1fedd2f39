"""Which branch of a fork is right: who said so, which of them holds, and what follows for a log.

`View` is the front door: everything about decisions at one moment of a store.
"""
