"""Values: keys, entries, collections, and the formats an entry may have.

Nothing here knows where a value came from or where it goes.
"""
