"""The application: every route behind its door, all of them behind the gate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount
from starlette.routing import Route as StarletteRoute
from starlette.staticfiles import StaticFiles

from setsync.errors import (
    NoSuchEntryError,
    NoSuchPeerError,
    PeerError,
    SetsyncError,
    StoreError,
    UsageError,
)
from setsync.web import entrypages, figures, loginpages, pages
from setsync.web.gate import Gate
from setsync.web.guests import Door, Guest, Route
from setsync.web.site import STATIC, Site, Who, who_of

CSRF_HEADER = "x-csrf-token"
CSRF_FIELD = "csrf"


def routes_of(site: Site) -> list[Route]:
    """All addresses of a page but the static files, its guests' last."""
    own = [
        *pages.routes(site),
        *entrypages.routes(site),
        *loginpages.routes(site),
        *figures.routes(site),
    ]
    return [*own, *(route for guest in site.guests for route in guest.routes(site))]


def make_app(site: Site) -> Gate:
    """What to give to hypercorn."""
    routes = routes_of(site)
    inner = Starlette(
        routes=[*_static(site.guests), *(_guarded(site, route) for route in routes)],
        exception_handlers={HTTPException: _plainly, Exception: _broken},  # type: ignore[dict-item]
    )
    inner.router.redirect_slashes = False
    return Gate(inner, site.place.hosts, site.place.origins, shared_origins(routes))


def shared_origins(routes: Sequence[Route]) -> dict[str, frozenset[str]]:
    """Which addresses are open to pages of which other origins."""
    found: dict[str, frozenset[str]] = {}
    for route in routes:
        if route.origins:
            found[route.path] = found.get(route.path, frozenset()) | route.origins
    return found


def _static(guests: Sequence[Guest]) -> list[Mount]:
    """Scripts, styles and pictures: the same for everybody, and so without a door."""
    folders = [
        (guest.name, folder / "static")
        for guest in guests
        if (folder := guest.folder()) is not None and (folder / "static").is_dir()
    ]
    found = [Mount(f"/static/{name}", _Files(folder)) for name, folder in folders]
    return [*found, Mount("/static", _Files(STATIC))]


class _Files(StaticFiles):
    def __init__(self, folder: Any) -> None:
        super().__init__(directory=folder)

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        """Asked for again each time, and then mostly answered with 304."""
        response = super().file_response(*args, **kwargs)
        response.headers["cache-control"] = "no-cache"
        return response


# --- doors --------------------------------------------------------------------------------


def _guarded(site: Site, route: Route) -> StarletteRoute:
    async def guarded(request: Request) -> Response:
        try:
            request.scope["setsync.who"] = who = await _who(site, request)
            if route.door is Door.OPERATOR and not who.may_act:
                return await _turned_away(site, request, who)
            return await route.endpoint(request)
        except SetsyncError as error:
            return await told(site, request, error)
        except Exception as error:  # a defect, a guest's perhaps: told by its name alone
            site.warn("web_defect", route=route.path, error=type(error).__name__)
            return await _broken(request, error)

    return StarletteRoute(route.path, guarded, methods=list(route.methods))


async def _who(site: Site, request: Request) -> Who:
    scheme, _, shown = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return Who(has_token=site.token.is_shown_by(shown.strip()))
    cookie = request.cookies.get(loginpages.cookie_name(site), "")
    login = site.logins.find(cookie, site.local.clock())
    if login is None:
        return Who()
    if request.method != "POST":
        return Who(login=login, is_ours=True)
    return Who(login=login, is_ours=login.is_ours(await _csrf(site, request)))


async def _csrf(site: Site, request: Request) -> str:
    """The token that a page of ours sends along; empty where there is none."""
    shown = request.headers.get(CSRF_HEADER)
    if shown is not None:
        return shown
    try:
        return (await site.form(request)).get(CSRF_FIELD, "")
    except UsageError:  # the body is no form, and its route knows what it is
        return ""


async def _turned_away(site: Site, request: Request, who: Who) -> Response:
    """401 for a stranger; 403 where another page used the cookie of who has logged in."""
    if who.login is not None:
        return await _say(site, request, 403, "csrf", "This did not come from a page of this node.")
    sentence = "Log in with the link that 'setsync web open' prints."
    if is_for_programs(request):
        response = site.json({"error": {"code": "login", "message": sentence}}, 401)
    else:
        response = await site.render(request, "login.html", 401, wrong=False)
    response.headers["www-authenticate"] = 'Bearer realm="setsync"'
    return response


def is_for_programs(request: Request) -> bool:
    """Whether who asks expects JSON."""
    return request.url.path.startswith(("/api/", "/metrics"))


# --- failures -----------------------------------------------------------------------------


async def told(site: Site, request: Request, error: SetsyncError) -> Response:
    """What went wrong, as a page or as JSON."""
    # What a command's user is advised makes no sense on a page.
    advice = "" if error.code == UsageError.code else error.advice
    return await _say(site, request, _status(error), error.code, error.message, advice)


async def _say(
    site: Site, request: Request, status: int, code: str, message: str, advice: str = ""
) -> Response:
    if is_for_programs(request):
        found = {"code": code, "message": message, "advice": advice}
        return site.json({"error": found}, status)
    values = {"title": "That did not work", "message": message, "advice": advice}
    return await site.render(request, "error.html", status, **values)


def _status(error: SetsyncError) -> int:
    match error:
        case NoSuchEntryError() | NoSuchPeerError():
            return 404
        case UsageError():
            return 400
        case PeerError():
            return 502
        case StoreError():
            return 503
        case _:
            return 409


async def _plainly(request: Request, error: HTTPException) -> Response:
    """What Starlette refuses: no such page, or not by this method."""
    who_of(request)
    return PlainTextResponse(f"{error.detail}.\n", error.status_code, headers=error.headers)


async def _broken(request: Request, error: Exception) -> Response:
    return PlainTextResponse(
        f"A defect of setsync, please report it: {type(error).__name__}.\n", 500
    )
