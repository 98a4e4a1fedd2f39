"""What `setsync bamboo log --json` prints."""

from __future__ import annotations

from bamboo_compat.cli.log_reading import Branches, EntryLine, ForkLine, Overview, Page, Part
from bamboo_compat.core.report import Finding
from bamboo_compat.set.findings import Told


def as_json(overview: Overview, branches: Branches | None, page: Page) -> dict[str, object]:
    """See docs/json/bamboo-log.json. `branches` is None where only a range is told."""
    row = overview.row
    return {
        "author": overview.author.hex(),
        "log_id": overview.log_id,
        "entries": row.entries,
        "height": row.height,
        "missing": row.height - row.numbers,
        "heads": [{"seq_num": head.seq_num, "hash": head.hash.hex()} for head in overview.heads],
        "effective_heads": [
            {"seq_num": head.seq_num, "hash": head.hash.hex()} for head in overview.tips
        ],
        "gaps": [list(gap) for gap in overview.gaps],
        "ended": bool(row.ended),
        "verified": row.verified,
        "waiting": row.waiting,
        "broken": row.broken,
        "inherited": row.inherited,
        "withheld": row.withheld,
        "trusted": overview.trusted,
        "schemas": overview.schemas,
        "forks": [_fork_json(fork) for fork in overview.forks],
        "segments": None if branches is None else [_part_json(part) for part in branches.parts],
        "segments_left_out": 0 if branches is None else branches.parts_left_out,
        "told": [_entry_json(entry) for entry in page.entries],
        "told_left_out": page.left_out,
        "next": page.next,
    }


def _fork_json(fork: ForkLine) -> dict[str, object]:
    return {
        "id": fork.id.hex(),
        "kind": fork.kind,
        "subject": fork.subject or None,
        "state": fork.state,
    }


def _part_json(part: Part) -> dict[str, object]:
    segment = part.segment
    return {
        "number": segment.number,
        "follows": segment.parent,
        "first": segment.first,
        "last": segment.last,
        "entries": segment.entries,
        "last_hash": part.last.hex(),
        "followers": segment.followers,
        "end_of_log": segment.ended,
        "withheld": segment.withheld,
        "set_aside": segment.look.set_aside,
        **_told_json(part.told),
    }


def _told_json(told: Told) -> dict[str, object]:
    return {
        "standing": told.standing,
        "findings": [_finding_json(finding) for finding in told.findings],
        "stands_on": told.stands_on,
    }


def _finding_json(finding: Finding) -> dict[str, object]:
    return {"reason": finding.reason, "expected": finding.expected, "found": finding.found}


def _entry_json(entry: EntryLine) -> dict[str, object]:
    return {
        "seq_num": entry.seq_num,
        "id": entry.id.hex(),
        "hash": entry.hash.hex(),
        **_told_json(entry.told),
        "end_of_log": entry.end_of_log,
        "payload_size": entry.payload_size,
        "withheld": entry.withheld,
        "dropped": entry.dropped,
        "set_aside": entry.set_aside,
        "collection": entry.collection,
        "belongs_in": entry.belongs,
        "payload": entry.payload.as_json() if entry.payload is not None else None,
    }
