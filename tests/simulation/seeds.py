"""Seeds that once failed, and why: they run with the ordinary suite, so that they stay found."""

from __future__ import annotations

SEEDS: dict[int, str] = {
    0: "the first to catch each planted fault: forgetful store, lying responder, hasty writer",
    2: "one direction ended: the ABORT of the side that noticed is a plain PeerError to the other",
    21: "a put was still waiting for a slow disk when the tasks were counted",
    375: "a session began at a node that was about to be down: the simulator's own mistake",
    4442: "a node died when its session was done and the last word was still on the line",
}
