"""`setsync web`: the page that `serve --web` serves."""

from __future__ import annotations

import os
import webbrowser
from pathlib import Path
from urllib.parse import urlencode

import click

from setsync.cli import common


@click.group(
    short_help="Open the page that serve --web serves.",
    epilog="Example: setsync web open --browser",
)
def web() -> None:
    """The page of a node that runs: what it holds, how it stands with others, in a browser."""


@web.command(name="open", epilog="Example: setsync web open --browser")
@click.option("--browser", is_flag=True, help="Also open it in the browser.")
@common.data_option
@common.json_option
def open_(browser: bool, data: Path, as_json: bool) -> None:
    """Print a link that logs in to the page once, within two minutes.

    Whoever opens it first is logged in for twelve hours, until 'Log out', or until the node ends.
    Programs show the token instead, as 'Authorization: Bearer' with what is in web.token.
    """
    from setsync.node.config import DataDirectory
    from setsync.node.local import now
    from setsync.web.place import read_url
    from setsync.web.token import ensure_token

    directory = DataDirectory.open(data)
    token = ensure_token(directory.web_token_path)
    url = read_url(directory.web_url_path)
    link = f"{url}/login?{urlencode({'code': token.code(now(), os.urandom(16))})}"
    if as_json:
        common.print_json({"url": url, "link": link})
    else:
        click.echo(link)
    if browser and not webbrowser.open(link):
        common.say("No browser could be started here; open the link above.")
