"""What clients of Bamboo servers ask for: where an entry of theirs would go, and to publish it.

Plain functions over the set, and a GraphQL schema over these; sockets are elsewhere.
"""
