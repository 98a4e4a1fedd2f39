"""What an operator may set of the guest's options of `serve`; see `setsync.node.settings`.

Light, since commands that need none of it read the same file.
"""

from __future__ import annotations

from setsync.node.settings import Kind, Setting

LOG_HEIGHTS = (
    Setting(
        "log-heights",
        Kind.ADDRESS,
        None,
        "Also answer Bamboo servers, which replicate by log heights.",
        "--log-heights",
        "HOST:PORT",
        empty="nobody is answered",
    ),
    Setting(
        "log-heights-profile",
        Kind.CHOICE,
        None,
        "Their meaning of log ids and schemas.",
        "--log-heights-profile",
        choices=("rfc0001", "aquadoggo"),
        empty="aquadoggo",
    ),
    Setting(
        "log-heights-schemas",
        Kind.TEXTS,
        (),
        "Only logs of this schema, also where none is here yet; by default all that are here, and "
        "the system's.",
        "--log-heights-schema",
        "ID",
        empty="all that are here",
    ),
)
GRAPHQL = (
    Setting(
        "graphql",
        Kind.CHOICE,
        "auto",
        "Who may ask at /graphql of --web: everybody (open); who shows a token or an invite, and "
        "authors at home here (token); auto: open where the page is on loopback, else token; "
        "nobody (off).",
        "--graphql",
        choices=("auto", "open", "token", "off"),
    ),
    Setting(
        "graphql-origins",
        Kind.TEXTS,
        (),
        "Let pages of this origin, as https://example.org, ask at /graphql.",
        "--graphql-origin",
        "ORIGIN",
        empty="no other page",
    ),
)
SETTINGS = (*LOG_HEIGHTS, *GRAPHQL)
