"""What may be wrong with a decision."""

from __future__ import annotations

from setsync.errors import LocalError, NoSuchEntryError, UsageError


class ForksFileError(LocalError):
    """forks.json belongs to 'setsync fork'; correct it, or move it away and decide anew. Until
    then nothing is shown as decided."""

    code = "forks_file"


class NoSuchBranchError(NoSuchEntryError):
    """'setsync fork show ID' shows the branches with their numbers and hashes."""

    code = "no_such_branch"


class NotTheAuthorError(UsageError):
    """Give the key file of the fork's author, or leave --as-author away: then the decision
    binds this node alone."""

    code = "not_the_author"


class NothingDecidedError(LocalError):
    """'setsync fork show ID' shows what was decided, and by whom."""

    code = "nothing_decided"


class BranchMissingError(LocalError):
    """Sync with a node that has that branch, and append to it. If no node has it, the author takes
    the decision back: setsync fork undecide ID --as-author KEYFILE"""

    exit_code = 8
    code = "branch_missing"
