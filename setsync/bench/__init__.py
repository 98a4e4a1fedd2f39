"""Measuring sessions from outside: a counting proxy, slow lines, scratch copies of a node.

What `setsync bench` needs and the project's own benchmarks share. Nothing else imports it.
"""
