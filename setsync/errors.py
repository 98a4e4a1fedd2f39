"""Whose fault it is.

Every failure that reaches an operator is one of three: ours or our caller's
(`LocalError`), the other side's (`PeerError`, which carries the abort code to send),
or the disk's (`StoreError`). A class's docstring is what the operator is told to do
about it; the message given when raising says what happened. `exit_code` is what the
command line ends with.
"""

from __future__ import annotations

import enum
import inspect


class Abort(enum.IntEnum):
    """Why a session ends before its time; sent to the peer in an ABORT message."""

    # A message that is wrong or out of turn, an invalid entry.
    PROTOCOL = 1
    # No version in common.
    VERSION = 2
    # More connections than this node takes, in all, from an address or from a key.
    BUSY = 3
    # A key that is blocked, or is not the node id in HELLO.
    REFUSED = 4
    # Over a limit: frame, payload, list, answers of a session.
    TOO_LARGE = 5
    # Nothing came for too long.
    TIMEOUT = 6
    # The node is shutting down, or its half of the connection has ended.
    CANCELLED = 7
    # A full disk, a defect.
    INTERNAL = 8
    # The node talks to those only whom it lists; the sentence has what its operator types.
    NOT_LISTED = 9
    # An invite that is wrong, used up, revoked or expired, or none where one is needed.
    INVITE = 10


class SetsyncError(Exception):
    """Look at the message above; if it makes no sense, please report it."""

    exit_code = 1
    code = "failed"

    @property
    def message(self) -> str:
        """What happened, in one sentence."""
        return str(self)

    @property
    def advice(self) -> str:
        """What the operator can do about it."""
        return inspect.cleandoc(type(self).__doc__ or "")


# --- ours, or our caller's -------------------------------------------------------------


class LocalError(SetsyncError):
    """Correct the command or its input and run it again; nothing was changed."""


class UsageError(LocalError):
    """Run the command with -h to see how it is meant."""

    exit_code = 2
    code = "usage"


class EnvironmentVariableError(UsageError):
    """Correct the variable, or unset it; docs/settings.md says what it may hold."""


class InvalidEntryError(LocalError):
    """The entry was refused and nothing of it was stored; ask whoever made it for a good copy."""

    code = "invalid_entry"

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class PayloadTooLargeError(LocalError):
    """Put less into one entry, or set SETSYNC_MAX_PAYLOAD to more bytes (at most 16 MiB)."""

    code = "payload_too_large"


class PayloadWithheldError(LocalError):
    """The entry is here without its payload; sync with a node that has it."""

    code = "withheld"


class PayloadDroppedError(LocalError):
    """It was dropped here on purpose. 'setsync payload restore ID' wants it again, and the next
    sync with a node that has it brings it."""

    code = "dropped"


class PayloadNeededError(LocalError):
    """Nothing was dropped. This node needs that payload for as long as it has the entry."""

    code = "payload_needed"


class InvalidNameError(LocalError):
    """A collection is named like a path: 1 to 255 bytes of UTF-8, segments joined by '/'."""

    exit_code = 2
    code = "invalid_name"


class KeyFileError(LocalError):
    """Key files are made by 'setsync key new'; they belong to you alone (mode 0600)."""

    code = "key_file"


class NetworkKeyFileError(KeyFileError):
    """'setsync network show' tells what this node belongs to. 'setsync network leave' forgets a
    key; 'new' and 'join' bring one where there is none."""


class ExportFileError(LocalError):
    """What came before the fault was kept. Get the file again and import it: nothing doubles."""

    code = "export_file"


class NoSuchEntryError(LocalError):
    """Give the id as 'setsync ls COLLECTION --ids' prints it; 8 hex digits or more."""

    exit_code = 10
    code = "no_such_entry"


class NoSuchCollectionError(NoSuchEntryError):
    """'setsync ls' lists the collections that are here."""

    code = "no_such_collection"


class AmbiguousPrefixError(NoSuchEntryError):
    """Give more digits of the id."""

    code = "ambiguous_prefix"


class PeersFileError(LocalError):
    """peers.json belongs to 'setsync peers'; correct it, or move it away and add them again."""

    code = "peers_file"


class NoSuchPeerError(LocalError):
    """'setsync peers list' lists the nodes that are known here."""

    exit_code = 10
    code = "no_such_peer"


class PlaceFileError(LocalError):
    """place.json says on which machine and disk a data directory belongs; if this is the only one
    there is, 'setsync home adopt' writes it anew."""

    code = "place_file"


class PolicyFileError(LocalError):
    """policy.json belongs to 'setsync policy'; correct it, or move it away and set it anew.
    Until then the node talks to nobody."""

    code = "policy_file"


class SettingsFileError(LocalError):
    """Correct setsync.toml in the data directory, or move it away; docs/settings.md lists what may
    stand in it."""

    code = "settings_file"


class NoSuchRuleError(LocalError):
    """'setsync policy show' shows the rules of this node."""

    exit_code = 10
    code = "no_such_rule"


class NoSuchInviteError(LocalError):
    """'setsync peers invite list' lists the invites that are remembered here."""

    exit_code = 10
    code = "no_such_invite"


class ListenError(LocalError):
    """Choose another port with --listen HOST:PORT (0 picks a free one), or stop what uses it."""

    code = "listen"


class LibraryMissingError(LocalError):
    """Install it with the others: pip install 'setsync[lan]'"""

    code = "library_missing"


class WebLibraryMissingError(LibraryMissingError):
    """Install it with the others: pip install 'setsync[web]'"""


class WebListenError(ListenError):
    """Choose another port with --web HOST:PORT (0 picks a free one), or stop what uses it."""


class WebTokenError(LocalError):
    """web.token is the operator's, one line for you alone (mode 0600). Remove it, and 'setsync web
    open' makes another; who was logged in with the old one has to log in again."""

    code = "web_token"


class NotServedError(LocalError):
    """Start it with 'setsync serve --web 127.0.0.1:2020' on this directory."""

    code = "not_served"


class DiscoveryError(LocalError):
    """Listen on an address of a network that carries multicast (--listen 0.0.0.0:7717), or do
    without --discover and name the others with --peer."""

    code = "discovery"


# --- the other side's -------------------------------------------------------------------


class PeerError(SetsyncError):
    """The other side broke the protocol; what had arrived before is kept. Is it a setsync node?"""

    exit_code = 3
    code = "peer"
    abort = Abort.PROTOCOL
    # Whether the other side said so of us, in an ABORT, and not we of it.
    was_told = False

    def __init__(self, message: str, abort: Abort | None = None) -> None:
        super().__init__(message)
        if abort is not None:
            self.abort = abort


class PeerVersionError(PeerError):
    """Bring both nodes to versions of setsync that share a protocol version."""

    code = "version"
    abort = Abort.VERSION


class PeerRefusedError(PeerError):
    """The other side declined; its reason is in the message. What had arrived before is kept."""

    code = "refused"
    abort = Abort.REFUSED


class PeerIdentityError(PeerError):
    """Ask its operator for the address, which holds the key. If the key there was changed on
    purpose: setsync peers remove OLDKEY, then use the new address."""

    exit_code = 3
    code = "identity"
    abort = Abort.REFUSED


class NotListedError(PeerError):
    """Hand its operator the line above; sync again once it was typed there."""

    exit_code = 3
    code = "not_listed"
    abort = Abort.NOT_LISTED


class InviteError(PeerError):
    """Its operator makes invites with 'setsync peers invite create'; give one with --invite CODE.
    Who was let in once needs none again."""

    exit_code = 3
    code = "invite"
    abort = Abort.INVITE


class NetworkKeyError(PeerError):
    """Both nodes need the same network key, or none: 'setsync network show' on each tells, and
    'setsync network join' or 'leave' changes it."""

    exit_code = 3
    code = "network_key"
    abort = Abort.REFUSED


class PeerTimeoutError(PeerError):
    """The other side fell silent. What had arrived is kept; run the command again."""

    exit_code = 4
    code = "timeout"
    abort = Abort.TIMEOUT


class PeerUnreachableError(PeerError):
    """Is the other node running, and is this its address and port?"""

    exit_code = 4
    code = "unreachable"


class PeerGoneError(PeerError):
    """The connection was cut. What had arrived is kept; run the command again to go on."""

    exit_code = 4
    code = "cut"
    abort = Abort.CANCELLED


# --- the disk's -------------------------------------------------------------------------


class StoreError(SetsyncError):
    """Nothing was stored by this step, and what was stored before is untouched."""

    exit_code = 5
    code = "store"


class DataDirectoryError(StoreError):
    """Name a data directory with --data DIR or SETSYNC_DATA; 'setsync init' makes one."""

    code = "data_directory"


class DirectoryTakenError(DataDirectoryError):
    """Nothing was changed. Name a directory that is missing or empty."""


class NewerFormatError(StoreError):
    """Use the version of setsync that wrote this directory, or a newer one."""

    code = "newer_format"


class StoreLockedError(StoreError):
    """Stop the other process first, or use another data directory."""

    code = "locked"


class StoreInUseError(StoreError):
    """Nothing was changed. End those processes first, and run it again; 'setsync compact --dry-run'
    may run beside them."""

    code = "in_use"


class StoreBusyError(StoreError):
    """Nothing was stored by this step. If a process is named above and stopped, let it go on
    (kill -CONT PID) or end it; if it is at work, look at the disk. Then run it again."""

    code = "busy"


class StoreFullError(StoreError):
    """Free some space and run it again; what was acknowledged before is safe."""

    code = "full"


class NoRoomError(StoreFullError):
    """Free some space; other nodes bring again what is missing, and nothing is lost."""

    code = "no_room"


class StoreLimitError(StoreError):
    """Raise the limit only if you trust whoever fills this node."""

    code = "limit"


class DamagedStoreError(StoreError):
    """Keep this directory for study and restore a backup, or sync into a fresh directory."""

    exit_code = 6
    code = "damaged"
