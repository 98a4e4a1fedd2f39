"""Why an author is not published for, here and now."""

from __future__ import annotations

from setsync.errors import LocalError, PeerError, PeerRefusedError, UsageError

AWAY = 11
COPIED = 12
BEHIND = 13


class NotTheHomeError(LocalError):
    """Publish there, or move here first: 'setsync home migrate'. Two servers that publish one log
    fork it."""

    exit_code = AWAY
    code = "not_the_home"


class TwoHomesError(LocalError):
    """'setsync home status' shows both with what was signed for them. Say goodbye to one of them
    with 'setsync home leave', then publish at the other."""

    exit_code = AWAY
    code = "two_homes"


class CopiedDirectoryError(LocalError):
    """Two directories with one key fork its logs. If the other one is gone for good, and this one
    has all that was ever signed there, say so: setsync home adopt"""

    exit_code = COPIED
    code = "copied_directory"


class BehindHeadError(LocalError):
    """Get what is missing first, with 'setsync sync': an entry signed now would be a second one
    for its number."""

    exit_code = BEHIND
    code = "behind_head"


class NumberUsedError(LocalError):
    """Nothing was signed. What was signed for that number stands; a server that asks for another
    has lost entries, or lies."""

    exit_code = BEHIND
    code = "number_used"


class NextRefusedError(LocalError):
    """Nothing was signed. The server that says so has lost entries or lies; publish through it
    again once it has all of this log, with 'setsync sync'."""

    exit_code = BEHIND
    code = "next_refused"


class LedgerError(LocalError):
    """The folder ledger/ in the data directory says which numbers were signed. Put it back from a
    copy; without it nothing can be signed safely."""

    code = "ledger"


class HomesFileError(LocalError):
    """homes.json belongs to 'setsync home'; correct it, or put it back from a copy."""

    code = "homes_file"


class AlreadyMarriedError(LocalError):
    """Move with 'setsync home migrate URL CODE', or leave first with 'setsync home leave'."""

    exit_code = AWAY
    code = "already_married"


class NoHomeError(LocalError):
    """'setsync home join URL CODE' finds one; its operator makes the code."""

    exit_code = 10
    code = "no_home"


class NotConfirmedError(UsageError):
    """Nothing was done. Add --yes if you want just that."""

    code = "not_confirmed"


class ArchiveError(LocalError):
    """Nothing of it was taken. Get the file again, or make it anew with 'setsync home export'."""

    code = "archive"


class PassphraseError(LocalError):
    """The rest of the archive can be imported without the key: leave --key-file away."""

    code = "passphrase"


class MigrationError(LocalError):
    """Run the same command again: it goes on where it stood. 'setsync home status' shows where."""

    code = "migration"


class SameHomeError(MigrationError):
    """There is nothing to move. 'setsync home status' shows where you are at home."""


class HomeRefusedError(PeerRefusedError):
    """The home gave its reason above; nothing was used up there."""

    code = "home_refused"


class NotTakenError(PeerError):
    """What was signed is in the store here, and its number is used: do not publish the same again.
    'setsync sync' brings it to the home, or the next 'setsync bamboo publish' does."""

    code = "not_taken"
