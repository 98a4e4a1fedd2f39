"""The page's guest at /homes: where I am at home, who is at home here, and invites.

An invite's code is in the answer to the form that made it, and nowhere else.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bamboo_compat.cli.home_invite import make_invite, revoke_invite
from bamboo_compat.web.desks import DeskGuest, number, see, start_of
from bamboo_compat.web.homes_reading import Homes, homes_mark, homes_of, invites_of
from bamboo_compat.web.keeping import Kept
from bamboo_compat.web.limits import CLIENTS_SHOWN
from setsync.errors import SetsyncError, UsageError
from setsync.limits import MAX_INVITE_USES
from setsync.node.address import Address, split_address
from setsync.node.invites import Invite, seconds_of, show_code
from setsync.web.guests import Figure, Measure, Page, Route, Web

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

TOPIC = "homes"
_POST = ("POST",)

CLIENTS = Figure("setsync_home_clients", "Authors that are at home here.")
WARNINGS = Figure("setsync_home_warnings", "Things about homes that are not as they should be.")


class HomesPage(DeskGuest["_Desk"]):
    """See `setsync.web.guests.Guest`."""

    name = "homes"
    figures = (CLIENTS, WARNINGS)

    def __init__(self) -> None:
        super().__init__(_Desk)

    def pages(self) -> Sequence[Page]:
        """One, with how many warnings there are."""
        return (Page("Homes", "/homes", self._warnings),)

    async def _warnings(self) -> int:
        """As it was at the last look: every page asks."""
        last = self.desk.kept.last if self.desk is not None else None
        return len(last.warnings) if last is not None else 0

    def routes(self, web: Web) -> Sequence[Route]:
        """The page, its actions, and the same as JSON."""
        desk = self.at(web)
        return (
            Route("/homes", desk.show),
            Route("/api/homes", desk.show_json),
            Route("/homes/invites", desk.create, methods=_POST),
            Route("/homes/invites", _back),
            Route("/api/homes/invites", desk.create_json, methods=_POST),
            Route("/homes/invites/{id}/revoke", desk.revoke, methods=_POST),
            Route("/api/homes/invites/{id}/revoke", desk.revoke_json, methods=_POST),
        )

    async def measures(self, web: Web) -> Sequence[Measure]:
        """Who is at home here, and what is wrong; nothing where that cannot be said."""
        try:
            found = await self.at(web).kept.now()
        except SetsyncError:
            return ()
        return [Measure(CLIENTS, found.at_home), Measure(WARNINGS, len(found.warnings))]


@dataclass(frozen=True, slots=True)
class Made:
    """A new invite with its code, for the one answer that tells it. `has_host`: whether `url` is
    whole, and not to be filled in."""

    invite: Invite
    code: str
    url: str
    has_host: bool

    @property
    def command(self) -> str:
        """What the author types."""
        return f"setsync home join {self.url} {self.code}"

    @property
    def picture(self) -> str:
        """The command as a QR code, for a `src`."""
        import segno

        drawn = segno.make(self.command, error="m", micro=False)
        return str(drawn.svg_data_uri(scale=4, border=2, dark="#000", light="#fff"))

    def as_json(self) -> dict[str, object]:
        """See docs/json/web-invite.json."""
        told = {"code": self.code, "url": self.url, "command": self.command}
        return self.invite.as_json(self.invite.made) | told


class _Desk:
    """The homes of one node."""

    def __init__(self, web: Web) -> None:
        self.web = web
        self.kept: Kept[Homes] = Kept(web, TOPIC, self._mark, self._homes)

    def _mark(self) -> Hashable:
        return homes_mark(self.web.directory, self.web.local.store)

    def _homes(self) -> Homes:
        return homes_of(self.web.directory, self.web.local.store)

    # --- looking --------------------------------------------------------------------------

    async def show(self, request: Request) -> Response:
        """The page."""
        return await self._page(request, None)

    async def _page(self, request: Request, made: Made | None) -> Response:
        homes, start = await self.kept.now(), start_of(request.query_params)
        clients = homes.clients[start : start + CLIENTS_SHOWN]
        is_more = len(homes.clients) > start + CLIENTS_SHOWN
        return await self.web.render(
            request,
            "homes/homes.html",
            201 if made is not None else 200,
            homes=homes,
            clients=clients,
            start=start,
            after=start + CLIENTS_SHOWN if is_more else None,
            invites=await self._invites(),
            made=made,
            most_uses=MAX_INVITE_USES,
            key=self.web.local.node_id.hex(),
        )

    async def show_json(self, request: Request) -> Response:
        """See docs/json/web-homes.json."""
        homes, start = await self.kept.now(), start_of(request.query_params)
        end = start + CLIENTS_SHOWN
        return self.web.json(
            {
                "node": self.web.local.node_id.hex(),
                "mine": homes.mine,
                "client_count": len(homes.clients),
                "clients": homes.clients[start:end],
                "next": end if len(homes.clients) > end else None,
                "invites": await self._invites(),
                "warnings": homes.warnings,
            }
        )

    async def _invites(self) -> list[dict[str, object]]:
        at = self.web.local.clock()
        return await self.web.offload(invites_of, self.web.directory, at)

    # --- acting ---------------------------------------------------------------------------

    async def create(self, request: Request) -> Response:
        """Make an invite and show it, this once."""
        return await self._page(request, await self._make(request))

    async def create_json(self, request: Request) -> Response:
        """The same for a program."""
        return self.web.json((await self._make(request)).as_json(), 201)

    async def _make(self, request: Request) -> Made:
        """Raises UsageError, HomesFileError."""
        form = await self.web.form(request)
        url, has_host = _url(self.web, form.get("at", "").strip())
        uses, seconds = _uses(form), seconds_of(form.get("expires", "").strip() or "7d")
        name = form.get("name", "").strip()
        if not name.isprintable():
            raise UsageError("A name is one line of text.")
        invite, code = await self.web.offload(make_invite, self.web.directory, uses, seconds, name)
        self.web.tell("home_invite_made", invite=invite.id, uses=uses)
        self.web.events.publish(TOPIC)
        return Made(invite, show_code(code), url, has_host)

    async def revoke(self, request: Request) -> Response:
        """Take an invite back."""
        await self._revoke(request)
        if "hx-request" in request.headers:
            return await self._page(request, None)
        return see("/homes")

    async def revoke_json(self, request: Request) -> Response:
        """The same for a program."""
        return self.web.json({"revoked": await self._revoke(request)})

    async def _revoke(self, request: Request) -> str:
        """Its id. Raises NoSuchInviteError, HomesFileError."""
        id_ = str(request.path_params["id"]).lower()
        await self.web.offload(revoke_invite, self.web.directory, id_)
        self.web.tell("home_invite_revoked", invite=id_)
        self.web.events.publish(TOPIC)
        return id_


async def _back(request: Request) -> Response:
    """Somebody asks again for the page that showed an invite: it is shown once."""
    return see("/homes")


# --- what is asked ------------------------------------------------------------------------


def _url(web: Web, at: str) -> tuple[str, bool]:
    """Where authors reach this node, and whether that is all of it. Raises UsageError."""
    key = web.local.node_id
    if at:
        return str(Address(*split_address(at), key)), True
    scheme, _, place = web.address.partition("://")
    if scheme == "https":
        return f"https://{key.hex()}@{place}", True
    return str(Address.to_fill_in(key)), False


def _uses(form: Mapping[str, str]) -> int:
    """Raises UsageError."""
    uses = number(form.get("uses", "").strip() or "1", MAX_INVITE_USES)
    if not uses:
        raise UsageError(f"An invite is for 1 to {MAX_INVITE_USES:,} authors.")
    return uses
