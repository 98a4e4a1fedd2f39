"""Logging in and out.

`setsync web open` prints an address with a code that works once and for a short while; whoever
opens it gets a cookie that no script can read and that no other site's page makes a browser send.
"""

from __future__ import annotations

from functools import partial

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from setsync.limits import WEB_SESSION_SECONDS
from setsync.web.guests import Door, Route
from setsync.web.site import Site, who_of


def routes(site: Site) -> list[Route]:
    """Its addresses."""
    return [
        Route("/login", partial(_log_in, site), door=Door.OPEN),
        Route("/login", partial(_log_in_by_form, site), ("POST",), Door.OPEN),
        Route("/logout", partial(_log_out, site), ("POST",)),
    ]


def cookie_name(site: Site) -> str:
    """With the port in it: browsers show a cookie to all ports of a host, and two nodes on one
    machine must not log each other's operator out."""
    prefix = "__Host-" if site.place.is_secure else ""
    return f"{prefix}setsync-{site.place.port}"


async def _log_in(site: Site, request: Request) -> Response:
    code = request.query_params.get("code")
    if code is None:
        return await site.render(request, "login.html", wrong=False)
    return await _redeem(site, request, code)


async def _log_in_by_form(site: Site, request: Request) -> Response:
    fields = await site.form(request)
    return await _redeem(site, request, fields.get("code", "").strip())


async def _redeem(site: Site, request: Request, code: str) -> Response:
    now = site.local.clock()
    if not site.codes.redeem(code, now):
        if who_of(request).login is not None:
            return RedirectResponse("/", 303)  # the link was opened again by who came with it
        return await site.render(request, "login.html", 403, wrong=True)
    site.tell("web_login")
    response = RedirectResponse("/", 303)
    response.set_cookie(
        cookie_name(site),
        site.logins.open(now),
        max_age=int(WEB_SESSION_SECONDS),
        path="/",
        secure=site.place.is_secure,
        httponly=True,
        samesite="strict",
    )
    return response


async def _log_out(site: Site, request: Request) -> Response:
    site.logins.close(request.cookies.get(cookie_name(site), ""))
    response = RedirectResponse("/login", 303)
    response.delete_cookie(
        cookie_name(site), path="/", secure=site.place.is_secure, httponly=True, samesite="strict"
    )
    return response
