"""docs/settings.md, made from the table of settings.

`python -m setsync.cli.settings_page > docs/settings.md` writes it anew.
"""

from __future__ import annotations

import click

from setsync.cli.config import toml_line
from setsync.limits import LIVE_SECONDS, MAX_SETTINGS_FILE
from setsync.node.settings import Kind, Setting, all_settings

_HEAD = f"""\
# Settings

This page is made from the program; `setsync config show --origin` prints what holds on your node.

What is set comes from three places, the strongest first: the flags of `serve`, environment
variables, and the file `setsync.toml` in the data directory. Where none of them says anything the
default holds. A list is taken whole from the strongest place that has it.

The file is [TOML](https://toml.io) of at most {MAX_SETTINGS_FILE // 1024} KiB, without tables:

```toml
# Kept in version control; there are no secrets in it.
listen = "0.0.0.0:7717"
access = "invited"
interests = ["notes/**", "system/*"]
peers = ["anna", "setsync://KEY@example.org:7717"]
```

- A key that is not on this page is an error, and the error says which may be meant. So is a value
  of another kind; nothing begins then.
- In the file and in the environment, an empty text takes away what may be absent: `web = ""`.
- In the environment, the parts of a list are separated by blanks, and quoted as in a shell:
  `SETSYNC_INTERESTS="notes/** 'my letters/*'"`. A switch is `true`, `1`, `false` or `0`.
- A path in the file is looked for from the data directory on.
- Where the data directory is, only `--data` and `SETSYNC_DATA` can say.

## While `serve` runs

`kill -HUP` makes it read the file anew. Settings with a "yes" in the last column hold from then on:
peers are dialled or let go at once, interests and limits hold for every session that begins, and a
session under way goes on as it began, for up to {LIVE_SECONDS * 1.2 / 60:.0f} minutes. It tells of
this with the event `reloaded`, which also names what needs a restart. With a fault in the file it
tells `reload_failed`, and all stays as it was. `peers.json`, `policy.json` and invites need no
signal: they are looked at for every connection. What a flag says stays as the flag says. Where
`serve` was started in a terminal that was closed, it ends.
"""


def page(table: tuple[Setting, ...]) -> str:
    """The whole page."""
    rows = "\n".join(_row(setting) for setting in table)
    return (
        f"{_HEAD}\n## All settings\n\n"
        "| key | value | default | flag of `serve` | variable | reloaded |\n"
        "|---|---|---|---|---|---|\n"
        f"{rows}\n\n## What they mean\n\n" + "\n".join(_item(setting) for setting in table)
    )


def _row(setting: Setting) -> str:
    cells = (
        f"[`{setting.name}`](#what-they-mean)",
        _cell(setting.wanted),
        _default(setting),
        f"`{setting.flag}`" if setting.flag is not None else "",
        f"`{setting.variable}`",
        "yes" if setting.reloads else "",
    )
    return "| " + " | ".join(cells) + " |"


def _default(setting: Setting) -> str:
    if setting.empty:
        return setting.empty
    return f"`{toml_line('', setting.default).removeprefix(' = ')}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _item(setting: Setting) -> str:
    name = f"`{setting.name}`"
    if setting.metavar and setting.kind in (Kind.TEXTS, Kind.PATTERNS):
        name += f" (each `{setting.metavar}`)"
    return f"- {name}: {setting.sentence}\n"


if __name__ == "__main__":
    click.echo(page(all_settings()), nl=False)
