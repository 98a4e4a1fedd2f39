"""The page's guest at /forks: what needs a decision, both sides, and the three buttons.

A button leads to a page that shows both hashes and says what would happen; only a form of that page
changes anything. What is decided here binds this node: an author's own decision is signed, and no
key is used by this page.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Sequence
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from bamboo_compat.cli.fork_decide import who
from bamboo_compat.cli.fork_proof import make_proof
from bamboo_compat.cli.fork_view import decision_json, view_of
from bamboo_compat.cli.fork_words import NoSuchForkError, find_fork, short_id
from bamboo_compat.decisions.book import FILE, DecisionsFile, Policy
from bamboo_compat.decisions.limits import MAX_WHO
from bamboo_compat.homes.errors import NotConfirmedError
from bamboo_compat.web import forks_acting, forks_reading, limits
from bamboo_compat.web.desks import DeskGuest, number, see, start_of
from bamboo_compat.web.forks_acting import Do, Plan, Wish
from bamboo_compat.web.forks_reading import OPEN, Listed, State, Survey
from bamboo_compat.web.keeping import Kept, mark_of
from setsync.errors import SetsyncError
from setsync.web.guests import Figure, Measure, Page, Route, Web

if TYPE_CHECKING:
    from starlette.datastructures import QueryParams
    from starlette.requests import Request
    from starlette.responses import Response

    from bamboo_compat.decisions.view import View
    from setsync.store.contract import Snapshot

T = TypeVar("T")

TOPIC = "forks"
_ID = re.compile("[0-9a-f]{8,64}")
_POST = ("POST",)

FORKS = Figure(
    "setsync_forks",
    f"Forks of logs that are here, the first {limits.MAX_SURVEYED:,} of them, by what has become "
    "of them.",
    labels={"state": tuple(State)},
)


class Forks(DeskGuest["_Desk"]):
    """See `setsync.web.guests.Guest`."""

    name = "forks"
    figures = (FORKS,)

    def __init__(self) -> None:
        super().__init__(_Desk)

    def pages(self) -> Sequence[Page]:
        """One, with how many forks need a decision."""
        return (Page("Forks", "/forks", self._waiting),)

    async def _waiting(self) -> int:
        """As it was at the last look: every page asks."""
        last = self.desk.kept.last if self.desk is not None else None
        return last.open if last is not None else 0

    def routes(self, web: Web) -> Sequence[Route]:
        """Pages, actions, and the same as JSON."""
        desk = self.at(web)
        return (
            Route("/forks", desk.list_),
            Route("/api/forks", desk.list_json),
            Route("/forks/{id}", desk.show),
            Route("/api/forks/{id}", desk.show_json),
            Route("/forks/{id}/proof", desk.proof),
            Route("/forks/{id}/confirm", desk.confirm),
            Route("/api/forks/{id}/confirm", desk.confirm_json),
            Route("/forks/{id}/decide", desk.decide, methods=_POST),
            Route("/api/forks/{id}/decide", desk.decide_json, methods=_POST),
        )

    async def measures(self, web: Web) -> Sequence[Measure]:
        """Forks by state; none where that cannot be said, which `run` tells."""
        try:
            counts = (await self.at(web).kept.now()).counts
        except SetsyncError:
            return ()
        return [Measure(FORKS, count, {"state": state}) for state, count in counts.items()]


class _Desk:
    """The forks of one node."""

    def __init__(self, web: Web) -> None:
        self.web = web
        self._file = web.directory.path / FILE
        self.kept: Kept[Survey] = Kept(web, TOPIC, self._mark, self._survey)

    def _mark(self) -> Hashable:
        with self.web.local.store.snapshot() as snapshot:
            return snapshot.last_arrival, snapshot.withheld_count, mark_of(self._file)

    def _survey(self) -> Survey:
        return self._look(lambda _, view: forks_reading.survey(view))

    def _look(self, work: Callable[[Snapshot, View], T]) -> T:
        with view_of(self.web.directory, self.web.local.store) as (snapshot, view):
            return work(snapshot, view)

    # --- all of them ----------------------------------------------------------------------

    async def list_(self, request: Request) -> Response:
        """The list, a page at a time."""
        survey = await self.kept.now()
        forks, after = await self._listed(survey, request.query_params)
        policy, own = await self.web.offload(self._policies)
        return await self.web.render(
            request,
            "forks/fork_list.html",
            survey=survey,
            forks=forks,
            after=after,
            start=start_of(request.query_params),
            policy=policy,
            own=own,
            open_states=OPEN,
        )

    async def list_json(self, request: Request) -> Response:
        """See docs/json/web-forks.json."""
        survey = await self.kept.now()
        forks, after = await self._listed(survey, request.query_params)
        return self.web.json(
            {
                "total": survey.total,
                "states": dict(survey.counts),
                "forks": [{"state": one.state, "fork": one.told.as_json} for one in forks],
                "next": after,
            }
        )

    async def _listed(self, survey: Survey, query: QueryParams) -> tuple[list[Listed], int | None]:
        """Some of them, and where the next begin. Raises UsageError."""
        start = start_of(query)
        end = start + limits.FORKS_SHOWN
        rows = survey.rows[start:end]

        def look(snapshot: Snapshot, view: View) -> list[Listed]:
            return forks_reading.listed(view, snapshot, rows)

        found = await self.web.offload(self._look, look)
        return found, end if len(survey.rows) > end else None

    def _policies(self) -> tuple[Policy, dict[str, Policy]]:
        book = DecisionsFile(self.web.directory.path).read()
        return book.policy(), {key.hex(): one for key, one in sorted(book.policies().items())}

    # --- one of them ----------------------------------------------------------------------

    async def show(self, request: Request) -> Response:
        """Both sides of one fork."""
        whole, name = await self._whole(request)
        mine = (await self.web.offload(self.web.directory.author_key)).public
        return await self.web.render(
            request,
            "forks/fork.html",
            whole=whole,
            page=whole.page,
            fork=whole.fork,
            name=name,
            is_mine=whole.fork.author == mine,
            query=request.url.query,
            count=_count(request.query_params),
            most=limits.MAX_ENTRIES,
            decided_here=whole.state is State.HERE,
        )

    async def show_json(self, request: Request) -> Response:
        """See docs/json/web-fork.json."""
        whole, _ = await self._whole(request)
        return self.web.json(whole.as_json())

    async def _whole(self, request: Request) -> tuple[forks_reading.Whole, str]:
        prefix, query = _prefix(request), request.query_params
        numbers, count = _numbers(query), _count(query)

        def look(snapshot: Snapshot, view: View) -> tuple[forks_reading.Whole, str]:
            found = forks_reading.whole(view, snapshot, prefix, numbers, count)
            return found, short_id(view.reader, found.fork.id)

        return await self.web.offload(self._look, look)

    async def proof(self, request: Request) -> Response:
        """The file that anybody can check. Raises NoProofError."""
        from starlette.responses import Response

        prefix = _prefix(request)

        def look(snapshot: Snapshot, view: View) -> tuple[str, bytes]:
            fork = find_fork(view.reader, prefix)
            return short_id(view.reader, fork.id), make_proof(view.reader, fork).encode()

        name, content = await self.web.offload(self._look, look)
        headers = {"content-disposition": f'attachment; filename="fork-{name}.proof"'}
        return Response(content, headers=headers, media_type="application/octet-stream")

    # --- acting ---------------------------------------------------------------------------

    async def confirm(self, request: Request) -> Response:
        """What a button would do, and a form that does it."""
        query = request.query_params
        plan = await self._plan(request, _wish(query.get))
        return await self._ask(request, plan, changed=False)

    async def confirm_json(self, request: Request) -> Response:
        """See docs/json/web-fork-plan.json."""
        plan = await self._plan(request, _wish(request.query_params.get))
        return self.web.json(plan.as_json())

    async def decide(self, request: Request) -> Response:
        """Do what was shown, or show what would be done by now."""
        form = await self.web.form(request)
        plan = await self._plan(request, _wish(form.get))
        if form.get("seen", "") != plan.seen:
            return await self._ask(request, plan, changed=True)
        await self._act(plan)
        return see(f"/forks/{plan.fork.id.hex()}")

    async def decide_json(self, request: Request) -> Response:
        """As on the command line: against what was brought at this machine only with `yes`, or
        with the `seen` of a plan."""
        form = await self.web.form(request)
        plan = await self._plan(request, _wish(form.get))
        is_confirmed = form.get("yes") == "true" or form.get("seen") == plan.seen
        if plan.own and not is_confirmed:
            raise NotConfirmedError(" ".join(plan.sentences))
        await self._act(plan)
        prefix = plan.fork.id.hex()

        def look(snapshot: Snapshot, view: View) -> dict[str, object]:
            return decision_json(view, find_fork(view.reader, prefix))

        decision = await self.web.offload(self._look, look)
        return self.web.json({"fork": prefix, "decision": decision})

    async def _plan(self, request: Request, wish: Wish) -> Plan:
        prefix, node_id = _prefix(request), self.web.directory.node_key
        survey = await self.kept.now()

        def look(snapshot: Snapshot, view: View) -> Plan:
            return forks_acting.plan(view, snapshot, node_id().public, prefix, wish, survey)

        return await self.web.offload(self._look, look)

    async def _ask(self, request: Request, plan: Plan, *, changed: bool) -> Response:
        return await self.web.render(
            request,
            "forks/fork_confirm.html",
            409 if changed else 200,
            plan=plan,
            changed=changed,
            shown=limits.BRANCHES_SHOWN,
            words=_BUTTONS[plan.wish.do],
        )

    async def _act(self, plan: Plan) -> None:
        act = partial(forks_acting.act, who=_operator(), at=self.web.local.clock())
        await self.web.offload(act, self.web.directory.path, plan)
        self.web.tell("fork_decided", fork=plan.fork.id.hex(), did=plan.wish.do.value)
        await self.kept.now()
        self.web.events.publish(TOPIC)


_BUTTONS = {
    Do.DECIDE: "Yes, this one is right",
    Do.IGNORE: "Yes, ignore the rest",
    Do.ASK: "Yes, keep asking",
}


def _operator() -> str:
    """Who has the token is who runs the node, as far as a page can tell."""
    name = who()[: MAX_WHO // 2]
    return f"{name}, on the page" if name else "on the page"


# --- what is asked ------------------------------------------------------------------------


def _prefix(request: Request) -> str:
    """Raises NoSuchForkError."""
    prefix = str(request.path_params["id"]).lower()
    if not _ID.fullmatch(prefix):
        raise NoSuchForkError("A fork's id has 8 to 64 hex digits.")
    return prefix


def _wish(get: Callable[[str, str], str]) -> Wish:
    """Raises UsageError."""
    return Wish.of(get("do", ""), get("branch", "").lower(), get("reason", "").strip())


def _count(query: QueryParams) -> int:
    found = number(query.get("entries", str(limits.ENTRIES_SHOWN)), limits.MAX_ENTRIES)
    return max(found, 1)


def _numbers(query: QueryParams) -> tuple[int, int] | None:
    """Which two branches somebody wants to see; None where nobody said."""
    if "left" not in query and "right" not in query:
        return None
    one, two = (number(query.get(side, ""), 10_000) for side in ("left", "right"))
    return one, two
