"""The pages about forks: what needs a decision stands first, a button says what it does before it
does it, and what is decided is what the command line decides."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlencode

import pytest
import trio
import trio.testing

from bamboo_compat.cli.fork_view import decision_json, view_of
from bamboo_compat.core.claims import check
from bamboo_compat.core.proofs import decode
from bamboo_compat.core.report import Fork
from bamboo_compat.decisions.acting import decide_here, set_policy
from bamboo_compat.decisions.book import DecisionsFile, Policy
from bamboo_compat.decisions.foresight import foresee
from bamboo_compat.statements.kinds import Decide
from bamboo_compat.web.forks_reading import State
from docs.reference.metrics import of_guests
from setsync.store.contract import Origin
from tests.bamboo.contradictions import ended, of_schema
from tests.bamboo.decisions.test_resolving import nested, parted
from tests.bamboo.decisions.worlds import KEY, forks_in
from tests.bamboo.logs import Author
from tests.bamboo.statements.saying import say
from tests.bamboo.web.worlds import (
    PEER,
    bring,
    forked,
    hash_at,
    marry,
    page_with,
    put_records,
    read,
    send,
)
from tests.cli.running import validate
from tests.helpers import MIDNIGHT, keys
from tests.web.calling import Answer, Browser, Node, Page


def decision(node: Node, fork: Fork) -> dict[str, object]:
    """As every command tells it."""
    with view_of(node.directory, node.store) as (_, view):
        return decision_json(view, fork)


async def post(page: Page, path: str, **fields: str) -> Answer:
    """A program with the token."""
    from tests.web.calling import call

    headers = {**page.bearer, "content-type": "application/x-www-form-urlencoded"}
    return await call(page.app, path, "POST", headers, urlencode(fields).encode())


def hidden(answer: Answer) -> dict[str, str]:
    """What the form of a page that asks for a yes would send."""
    form = answer.text[answer.text.index('method="post" action="/forks/') :]
    return dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', form))


async def press(
    browser: Browser, fork: Fork, do: str, branch: str = "", reason: str = ""
) -> Answer:
    """A button, and then yes."""
    path = f"/forks/{fork.id.hex()}"
    asked = await browser.get(f"{path}/confirm?" + urlencode({"do": do, "branch": branch}))
    assert asked.status == 200, asked.text
    fields = hidden(asked)
    return await send(browser, f"{path}/decide", fields.pop("csrf"), reason=reason, **fields)


# --- looking ------------------------------------------------------------------------------


async def test_without_forks_the_page_says_so(node: Node) -> None:
    async with page_with(node) as page:
        assert "No author contradicts a log" in (await page.get("/forks")).text
        found = (await page.get("/api/forks")).json()
        validate(found, "web-forks")
        assert (found["total"], found["forks"], found["next"]) == (0, [], None)


async def test_what_needs_a_decision_stands_first_and_the_navigation_counts_it(
    node: Node,
) -> None:
    fork, laptop, _ = forked(node)
    other = Author(2)
    made = other.grow(2)
    put_records(node, [*made, *other.copy().grow(1, "x"), *other.grow(1, "y")])
    [second] = [one for one in forks_in(node.store) if one.id != fork.id]
    async with page_with(node) as page:
        html = (await page.get("/forks")).text
        assert "2 forks need a decision" in html
        assert '<span class="badge">2<' in (await page.get("/")).text
        decide_here(node.directory.path, second.id, second.branches[0].hash, who="a", at=5)
        html = (await page.get("/forks")).text
        assert "One fork needs a decision" in html
        assert html.index(fork.id.hex()) < html.index(second.id.hex())
        assert '<span class="badge">1<' in (await page.get("/")).text
        found = (await page.get("/api/forks")).json()
        validate(found, "web-forks")
        assert [one["state"] for one in found["forks"]] == ["undecided", "here"]
        decide_here(node.directory.path, fork.id, laptop.hashes[4], who="a", at=5)
        html = (await page.get("/forks")).text
        assert "No fork needs a decision" in html
        assert 'class="badge"' not in html


async def test_the_list_goes_on_where_a_page_ends(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bamboo_compat.web.limits.FORKS_SHOWN", 2)
    author = Author()
    made = author.grow(2)
    for _ in range(5):
        made += [*author.copy().grow(1, "x"), *author.grow(1, "y")]
    put_records(node, made)
    async with page_with(node) as page:
        seen, path = [], "/api/forks"
        while path:
            found = (await page.get(path)).json()
            assert found["total"] == 5
            assert len(found["forks"]) <= 2
            seen += [one["fork"]["id"] for one in found["forks"]]
            path = f"/api/forks?after={found['next']}" if found["next"] else ""
        assert sorted(seen) == [one.id.hex() for one in sorted(forks_in(node.store), key=_id)]
        assert "More forks" in (await page.get("/forks")).text
        monkeypatch.setattr("bamboo_compat.web.limits.MAX_SURVEYED", 3)
        node.put("notes", b"x")
        found = (await page.get("/api/forks")).json()
        assert (found["total"], sum(found["states"].values())) == (5, 3)
        assert "Of 5 forks 3 are looked at here" in (await page.get("/forks")).text


def _id(fork: Fork) -> bytes:
    return fork.id


async def test_one_fork_shows_both_sides_and_says_what_fork_show_says(node: Node) -> None:
    fork, laptop, phone = forked(node)
    async with page_with(node) as page:
        answer = await page.get(f"/forks/{fork.id.hex()}")
        read(answer)
        for text in (
            "Log 1024 parts after entry 3",
            fork.author.hex(),
            hash_at(laptop, 4),
            hash_at(phone, 4),
            "laptop 4",
            "phone 5",
            "both 3",
            "through node 707070707070…",
            "brought at this machine",
            "log 1024 up to entry 3",
            "Nobody has said which branch is right.",
        ):
            assert text in answer.text, text
        found = (await page.get(f"/api/forks/{fork.id.hex()[:8]}")).json()
        validate(found, "web-fork")
        validate(found["fork"], "fork-show")
        assert found["fork"]["decision"] == decision(node, fork)
        assert {one["node"] for one in found["came"]} == {
            PEER.hex(),
            node.directory.node_key().public.hex(),
        }


async def test_each_kind_of_fork_has_its_page_and_its_json(node: Node) -> None:
    put_records(node, ended())
    put_records(node, [(one.entry, one.payload) for one in of_schema()])
    put_records(node, nested()[0])
    kinds = set()
    async with page_with(node) as page:
        for fork in forks_in(node.store):
            kinds.add(fork.kind)
            answer = await page.get(f"/forks/{fork.id.hex()}")
            assert answer.status == 200, answer.text
            read(answer)
            validate((await page.get(f"/api/forks/{fork.id.hex()}")).json(), "web-fork")
            for do in ("ignore", "ask"):
                path = f"/forks/{fork.id.hex()}/confirm?do={do}"
                read(await page.get(path))
                validate((await page.get("/api" + path)).json(), "web-fork-plan")
    assert len(kinds) == 3


async def test_the_page_says_which_branch_came_through_the_authors_home(node: Node) -> None:
    home, other = keys(2, seed=44)
    fork, laptop, _ = forked(node, origin=Origin(MIDNIGHT, home.public))
    path = f"/forks/{fork.id.hex()}"
    async with page_with(node) as page:
        assert "none is known here" in (await page.get(path)).text
        hello = marry(node, home, "https://home.example")
        html = (await page.get(path)).text
        assert "https://home.example" in html
        assert f"through node {home.public.hex()[:12]}…, the author&#39;s home" in html
        assert "brought at this machine, not the author&#39;s home" in html
        came = (await page.get(f"/api{path}")).json()["came"]
        first = 1 if fork.branches[0].hash == laptop.hashes[4] else 2
        assert {one["branch"]: one["home"] for one in came} == {first: True, 3 - first: False}
        marry(node, other, "https://other.example", before=hello)
        html = (await page.get(path)).text
        assert "https://other.example" in html
        assert "two homes" in html


async def test_more_than_two_branches_can_be_compared_two_at_a_time(node: Node) -> None:
    author = Author()
    made = author.grow(2)
    copies = [author.copy() for _ in range(3)]
    for number, copy in enumerate(copies):
        made += copy.grow(8, f"machine {number}")
    put_records(node, made)
    [fork] = forks_in(node.store)
    path = f"/forks/{fork.id.hex()}"
    async with page_with(node) as page:
        third = fork.branches[2].hash.hex()
        assert f'value="{third}"' not in (await page.get(path)).text
        shown = await page.get(f"{path}?left=1&right=3&entries=100")
        read(shown)
        assert f'value="{third}"' in shown.text
        assert "and 3 more" not in shown.text
        assert "and 3 more" in (await page.get(path)).text
        for query in ("left=1&right=1", "left=0&right=1", "left=1&right=4"):
            assert (await page.get(f"{path}?{query}")).status == 404
        for query in ("left=1", "left=x&right=1", "entries=x", "entries=101"):
            assert (await page.get(f"{path}?{query}")).status == 400


@pytest.mark.parametrize("id_", ["ffffffff", "x" * 8, "abc", "a" * 65, "%00"])
async def test_what_is_no_fork_is_not_found(node: Node, id_: str) -> None:
    async with page_with(node) as page:
        for path in (f"/forks/{id_}", f"/api/forks/{id_}", f"/forks/{id_}/proof"):
            assert (await page.get(path)).status == 404
        assert (await page.get(f"/forks/{id_}/confirm?do=ask")).status == 404
        assert (await post(page, f"/api/forks/{id_}/decide", do="ask")).status == 404


async def test_the_proof_convinces_whoever_checks_it(node: Node) -> None:
    fork, _, _ = forked(node)
    async with page_with(node) as page:
        answer = await page.get(f"/forks/{fork.id.hex()}/proof")
        assert answer.header("content-type") == "application/octet-stream"
        name = f'attachment; filename="fork-{fork.id.hex()[:8]}.proof"'
        assert answer.header("content-disposition") == name
        assert check(decode(answer.body)).fork_id == fork.id


# --- deciding -----------------------------------------------------------------------------


async def test_a_button_shows_both_hashes_and_what_would_happen_and_does_nothing(
    node: Node,
) -> None:
    fork, laptop, phone = forked(node)
    async with page_with(node) as page:
        path = f"/forks/{fork.id.hex()}/confirm?do=decide&branch={hash_at(laptop, 4)}"
        answer = await page.get(path)
        read(answer)
        assert hash_at(laptop, 4) in answer.text
        assert hash_at(phone, 4) in answer.text
        with view_of(node.directory, node.store) as (_, view):
            told = foresee(view, fork, view.reader.find(laptop.hashes[4]), as_author=False)
        assert told.own
        assert len(told.sentences) == 3
        for sentence in told.sentences:
            assert sentence in answer.text
        plan = (await page.get("/api" + path)).json()
        validate(plan, "web-fork-plan")
        assert plan["sentences"] == list(told.sentences)
    assert not (node.directory.path / "forks.json").exists()


async def test_yes_decides_and_everything_follows_at_once(node: Node) -> None:
    fork, _, phone = forked(node)
    async with page_with(node) as page:
        browser = await page.log_in()
        done = await press(browser, fork, "decide", hash_at(phone, 4), "the phone's")
        assert (done.status, done.header("location")) == (303, f"/forks/{fork.id.hex()}")
        found = decision(node, fork)
        assert (found["by"], found["hash"]) == ("here", hash_at(phone, 4))
        html = (await browser.get(done.header("location"))).text
        assert "decided here" in html
        assert "log 1024 up to entry 5" in html
        assert "set aside" in html
        assert "“the phone&#39;s”" in html
        [record] = DecisionsFile(node.directory.path).read().history(fork.id)
        assert record.who.endswith("on the page")
        assert record.at == node.clock
        assert ("fork_decided", {"fork": fork.id.hex(), "did": "decide"}) in page.told


async def test_a_decision_can_be_revised_and_taken_back_and_the_history_stays(node: Node) -> None:
    fork, laptop, phone = forked(node)
    async with page_with(node) as page:
        browser = await page.log_in()
        for author in (phone, laptop):
            assert (await press(browser, fork, "decide", hash_at(author, 4))).status == 303
            assert decision(node, fork)["hash"] == hash_at(author, 4)
        assert (await press(browser, fork, "ask")).status == 303
        assert decision(node, fork)["state"] == "undecided"
        shown = (await page.get(f"/api/forks/{fork.id.hex()}")).json()["fork"]
        assert [one["did"] for one in shown["history"]] == ["decide", "decide", "undecide"]
        html = (await page.get(f"/forks/{fork.id.hex()}")).text
        assert "nothing is decided any more" in html


async def test_ignoring_the_rest_keeps_what_was_here_first_in_all_forks_of_the_author(
    node: Node,
) -> None:
    fork, laptop, _ = forked(node)
    async with page_with(node) as page:
        browser = await page.log_in()
        path = f"/api/forks/{fork.id.hex()}/confirm?do=ignore"
        plan = (await page.get(path)).json()
        assert plan["right"] == hash_at(laptop, 4)
        assert "those to come included" in " ".join(plan["sentences"])
        assert (await press(browser, fork, "ignore")).status == 303
        found = decision(node, fork)
        assert (found["by"], found["hash"]) == ("policy", hash_at(laptop, 4))
        assert (await press(browser, fork, "ask")).status == 303
        assert decision(node, fork)["state"] == "undecided"
        assert DecisionsFile(node.directory.path).read().policy(fork.author) is Policy.ASK


async def test_ignoring_and_asking_take_this_nodes_own_decision_back(node: Node) -> None:
    fork, laptop, phone = forked(node)
    async with page_with(node) as page:
        browser = await page.log_in()
        await press(browser, fork, "decide", hash_at(phone, 4))
        await press(browser, fork, "ignore")
        assert decision(node, fork)["hash"] == hash_at(laptop, 4)


async def test_the_page_says_where_the_author_has_decided_and_that_it_holds(node: Node) -> None:
    fork, laptop, phone = forked(node)
    bring(node, say(KEY, Decide(fork.id, laptop.hashes[4], "my laptop")))
    async with page_with(node) as page:
        html = (await page.get(f"/forks/{fork.id.hex()}")).text
        assert "decided by the author" in html
        assert "my laptop" in html
        for do in ("decide", "ask"):
            query = urlencode({"do": do, "branch": hash_at(phone, 4)})
            asked = (await page.get(f"/forks/{fork.id.hex()}/confirm?{query}")).text
            assert "The author has decided this fork, and that holds" in asked


async def test_what_has_changed_since_it_was_shown_is_shown_again_and_not_done(
    node: Node,
) -> None:
    fork, laptop, phone = forked(node)
    async with page_with(node) as page:
        browser = await page.log_in()
        path = f"/forks/{fork.id.hex()}"
        query = urlencode({"do": "decide", "branch": hash_at(laptop, 4)})
        fields = hidden(await browser.get(f"{path}/confirm?{query}"))
        put_records(node, phone.grow(1, "phone"))
        csrf = fields.pop("csrf")
        again = await send(browser, f"{path}/decide", csrf, **fields)
        assert again.status == 409
        assert "This has changed meanwhile" in again.text
        assert "Entries 4 to 6 of log 1024" in again.text
        assert decision(node, fork)["state"] == "undecided"
        fields = hidden(again)
        done = await send(browser, f"{path}/decide", fields.pop("csrf"), **fields)
        assert done.status == 303
        assert decision(node, fork)["state"] == "decided"


async def test_a_program_says_yes_before_it_sets_aside_what_was_brought_here(node: Node) -> None:
    fork, laptop, phone = forked(node)
    path = f"/api/forks/{fork.id.hex()}/decide"
    async with page_with(node) as page:
        refused = await post(page, path, do="decide", branch=hash_at(laptop, 4))
        validate(refused.json(), "web-error")
        assert (refused.status, refused.json()["error"]["code"]) == (400, "not_confirmed")
        assert "perhaps your own work" in refused.json()["error"]["message"]
        assert decision(node, fork)["state"] == "undecided"
        done = await post(page, path, do="decide", branch=hash_at(laptop, 4), yes="true")
        validate(done.json(), "web-fork-decided")
        assert done.json()["decision"]["hash"] == hash_at(laptop, 4)
        other = await post(page, path, do="decide", branch=hash_at(phone, 4))
        assert other.json()["decision"]["hash"] == hash_at(phone, 4)


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({}, 400),
        ({"do": "undo"}, 400),
        ({"do": "ask", "reason": "a\nb"}, 400),
        ({"do": "ask", "reason": "é" * 101}, 400),
        ({"do": "decide"}, 404),
        ({"do": "decide", "branch": "1"}, 404),
        ({"do": "decide", "branch": "zz"}, 404),
        ({"do": "decide", "branch": "0020" + "ab" * 32}, 404),
    ],
)
async def test_what_is_no_decision_is_refused_and_changes_nothing(
    node: Node, fields: dict[str, str], status: int
) -> None:
    fork, _, _ = forked(node)
    async with page_with(node) as page:
        answer = await post(page, f"/api/forks/{fork.id.hex()}/decide", **fields)
        assert answer.status == status
        validate(answer.json(), "web-error")
    assert not (node.directory.path / "forks.json").exists()


async def test_an_entry_that_all_branches_share_is_no_branch(node: Node) -> None:
    fork, laptop, _ = forked(node)
    async with page_with(node) as page:
        path = f"/api/forks/{fork.id.hex()}/decide"
        for seq_num in (3, 5):
            answer = await post(page, path, do="decide", branch=hash_at(laptop, seq_num))
            assert answer.json()["error"]["code"] == "no_such_branch"


async def test_a_damaged_file_of_decisions_is_named_and_the_other_pages_stay(node: Node) -> None:
    forked(node)
    (node.directory.path / "forks.json").write_text("{")
    async with page_with(node) as page:
        answer = await page.get("/forks")
        assert answer.status == 409
        assert "forks.json" in answer.text
        assert (await page.get("/api/forks")).json()["error"]["code"] == "forks_file"
        assert (await page.get("/")).status == 200
        figures = await page.get("/metrics")
        assert figures.status == 200
        assert "setsync_forks" not in figures.text
        assert [event for event, _ in page.told].count("web_page_failed") == 1


# --- live and figures ---------------------------------------------------------------------


async def test_what_another_command_decides_is_heard_by_open_pages(
    node: Node, autojump_clock: trio.testing.MockClock
) -> None:
    fork, laptop, _ = forked(node)
    async with page_with(node) as page:
        with page.site.events.listening() as listener:
            await trio.testing.wait_all_tasks_blocked()
            decide_here(node.directory.path, fork.id, laptop.hashes[4], who="a", at=5)
            with trio.fail_after(60):
                while "forks" not in await listener.next():
                    pass
            set_policy(node.directory.path, Policy.IGNORE, fork.author, who="a", at=6)
            put_records(node, [*parted(2, 1, 1)[0]])
            with trio.fail_after(60):
                while "forks" not in await listener.next():
                    pass


async def test_forks_are_counted_by_state(node: Node) -> None:
    fork, laptop, _ = forked(node)
    async with page_with(node) as page:
        text = (await page.get("/metrics")).text
        assert 'setsync_forks{state="undecided"} 1.0' in text
        assert 'setsync_forks{state="author"} 0.0' in text
        bring(node, say(KEY, Decide(fork.id, laptop.hashes[4])))
        text = (await page.get("/metrics")).text
        assert 'setsync_forks{state="undecided"} 0.0' in text
        assert 'setsync_forks{state="author"} 1.0' in text


async def test_the_documents_name_every_figure_and_every_state(node: Node) -> None:
    docs = Path(__file__).parents[3] / "docs"
    text = "".join((docs / name).read_text(encoding="utf-8") for name in ("forks.md", "homes.md"))
    async with page_with(node) as page:
        shown = (await page.get("/metrics")).text
    ours = set(re.findall(r"^# TYPE (setsync_(?:forks|home)\w*) gauge$", shown, re.MULTILINE))
    assert ours == set(re.findall(r"`(setsync_\w+)", text))
    assert ours == {figure.name for figure in of_guests()}
    for state in State:
        assert f'setsync_forks{{state="{state}"}}' in shown
        assert f"`{state}`" in text
