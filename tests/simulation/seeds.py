"""Seeds that once failed, and why: they run with the ordinary suite, so that they stay found."""

from __future__ import annotations

SEEDS: dict[int, str] = {
    0: "the first to catch each planted fault: forgetful store, lying responder, hasty writer",
    2: "one direction ended: the ABORT of the side that noticed is a plain PeerError to the other",
    21: "a put was still waiting for a slow disk when the tasks were counted",
    375: "a session began at a node that was about to be down: the simulator's own mistake",
    20044: "sets became equal between the last catalogue and its comparison: told as not in sync",
    4442: "a node died when its session was done and the last word was still on the line",
}

# By kind and seed: what was found, and is mended.
MENDED: dict[tuple[str, int], str] = {
    ("live", 275): "who only reads and never speaks was kept: our own pings counted as answers",
    ("policies", 13): "refusals were counted while entries left, and the count of these was lost",
    ("policies", 113): "what the other side refuses was counted as old and different",
    ("policies", 109): "a clock jumped: who refused forgot it, and who was refused did not",
    ("live-policies", 10): "a clock jumped: never in sync again, and so never live",
    ("live-policies", 166): "what was refused counted as sent: the simulator's own mistake",
    ("live-policies", 207): "refused with its payload, offered without: the simulator's mistake",
    ("live-policies", 216): "a clock jumped and what was refused came again: the tap's mistake",
    ("live", 1034): "a short label of a collection lied, and all of it was sent for nothing",
    ("live-policies", 1066): "what came while payloads were exchanged was never told",
    ("live", 2): "the secure channel: dead lines beside new ones, and no checksums in the trace",
}
