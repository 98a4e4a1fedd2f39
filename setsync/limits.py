"""Every number that bounds what a peer, a file or an author can cost us, and why it is that.

Sizes are bytes, times are seconds. A number that is part of a format (a digest's length,
a leaf's capacity) is not a limit and stands with its format.
"""

from __future__ import annotations

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB
TIB = 1024 * GIB

# --- entries ----------------------------------------------------------------------------

# A native header is at most 914 bytes; a guest's (Bamboo's is under 400) may be larger.
# 4 KiB keeps a frame of headers small and leaves every known format room.
MAX_HEADER = 4 * KIB
# One payload by default: what a person writes fits many times, and a batch of a few of
# them still fits into the memory a peer may cost us.
DEFAULT_MAX_PAYLOAD = 1 * MIB
# The setting's own ceiling: a payload is put together in memory before it is checked.
MAX_PAYLOAD = 16 * MIB
# One length byte in the native header.
MAX_COLLECTION_NAME = 255
MAX_LINKS = 16

# --- collections ------------------------------------------------------------------------

# A catalogue of this many takes about 4 MB to list and 50 ms to read.
MAX_COLLECTIONS = 65_536
# One author may open this many, or a single key could use up the limit above by itself.
MAX_COLLECTIONS_PER_AUTHOR = 4_096
# Interests are matched against every collection's name, once a session.
MAX_PATTERNS = 64
MAX_PATTERN = 511

# --- the wire ---------------------------------------------------------------------------

# A frame is held whole before it is looked at, so its ceiling is what a byte of header
# can make us hold; Bitcoin allows 4 MB, strfry 128 KiB.
MAX_FRAME = 1 * MIB
# Everything but entries, listings and answers is short.
MAX_CONTROL_FRAME = 64 * KIB
# Decoded items of one array. 1 MiB of one-byte items would otherwise cost eight times that.
MAX_ARRAY = 4_096
# A refusal's sentence, and what of it is shown.
MAX_SENTENCE = 500

# Entries leave in batches of about this size: large enough that commits and frames cost
# little beside their content, small enough that a cut loses little and many fit in memory.
ENTRY_BATCH = 256 * KIB
# A payload over this travels in pieces of this size, so that a frame always has room for
# what goes with it.
PAYLOAD_PIECE = 192 * KIB
# Ids read from the store in one snapshot while streaming a range.
IDS_PER_READ = 4_096

# --- one session ------------------------------------------------------------------------

# An honest reconciliation needs one round a level of the trie, at most 64 levels, and each
# rung of the ladder may use them again.
MAX_ROUNDS = 64 + 64
# Questions in one round; an id list's own length is bounded by the frame.
MAX_QUESTIONS = 4_096
# Bytes of answers that one round asks for, so that neither side holds more than this.
ROUND_ANSWER_BYTES = 4 * MIB
# A round's answers may be longer than expected, since sets grow; the initiator puts up with
# so much in memory and no more.
MAX_ROUND_ANSWER_BYTES = 4 * ROUND_ANSWER_BYTES
# Ranges that differ and are not closed yet, and ranges of which something is wanted: about
# 300 bytes each, for 11 that the other side has to send.
MAX_RANGES = 524_288
# Ids in one list. At 32 bytes each, the last rung's width, they are three quarters of a frame.
MAX_LIST_IDS = 24_576
# Sketches that a session keeps at one moment; each is a part of 130 KiB or less of the cache.
HELD_SKETCHES = 64
# Ids that are encoded for a sketch which is not kept: 0.1 s of work.
MAX_ENCODED_IDS = 131_072
# Ids in one item of a WANT, so that an item fits into a message.
MAX_WANTED_IDS = 16_384
# Collections that are simply listed; a longer catalogue is compared as a set first.
LISTED_COLLECTIONS = 64
# First a pass, then "reconcile again, at most twice".
MAX_PASSES = 3
# Batches of arrived entries that may wait for their commit, per connection.
UNCOMMITTED_BATCHES = 4
# Messages of wants that the initiator lets be served at a time, and the responder holds.
WANTS_UNDER_WAY = 2
# Ids of entries that a peer brought lately, and that are not sent back to it: 40 bytes each.
HEARD_IDS = 16_384
# Frames waiting to be sent, per connection; the sender stops reading more from the store.
UNSENT_FRAMES = 4

# --- waiting ----------------------------------------------------------------------------

CONNECT_TIMEOUT = 10.0
# The secure channel's handshake, and again both HELLOs: each in all, and not per read.
HELLO_TIMEOUT = 10.0
# A peer that owes us an answer may think this long.
ANSWER_TIMEOUT = 60.0
# A peer that owes us nothing may be silent this long before we let it go.
IDLE_TIMEOUT = 120.0
# One frame handed to the network must be taken within this.
SEND_TIMEOUT = 60.0
# Who has nothing to tell says so this often while live, well before routers forget the
# connection, and well within IDLE_TIMEOUT.
PING_SECONDS = 40.0
# After this the sets are compared again, which heals whatever was missed.
LIVE_SECONDS = 900.0
# A peer that does not stay is asked this often.
POLL_SECONDS = 60.0
# A peer that cannot be reached is tried again after the first, then ever later up to the other.
RETRY_SECONDS = 1.0
MAX_RETRY_SECONDS = 300.0
# Sessions under way when a node stops get this long to say goodbye.
SHUTDOWN_GRACE = 3.0
# A command that is told of new entries and ends is started again after RETRY_SECONDS, then ever
# later up to this: it is on this machine, and whoever repairs it waits for the next try.
MAX_HOOK_RETRY_SECONDS = 60.0
# Entries that wait for such a command, in the store and not in memory. At a hundred entries a
# second it may stand still for over a minute; whoever is further behind is told what is new now.
MAX_HOOK_BACKLOG = 10_000

# A node's certificate has about 480 bytes; whatever is longer is none.
MAX_CERTIFICATE = 1 * KIB

# --- connections ------------------------------------------------------------------------

# Bitcoin's figure. Each costs about 52 KiB idle and a bounded few MiB at work.
MAX_CONNECTIONS = 125
# Several nodes behind one router, and no more than a fifteenth of the places for one host.
MAX_CONNECTIONS_PER_ADDRESS = 8
# A node that dials anew before we noticed that its last connection is dead has two.
MAX_CONNECTIONS_PER_KEY = 2
# Connections without a key yet. A handshake takes two round trips, so that 16 places pass
# 50 handshakes a second over lines of 150 ms; libp2p has 10.
MAX_PENDING = 16
MAX_PENDING_PER_ADDRESS = 4
# A handshake costs us about 2.5 ms of computing, so this is an eighth of a core at most.
ACCEPTS_PER_SECOND = 50.0
ACCEPTS_PER_SECOND_PER_ADDRESS = 5.0

# Nodes that one knows by name; each is a line of some 200 bytes in a file read whole.
MAX_PEERS = 10_000
MAX_PEERS_FILE = 8 * MIB
# Who changes that file waits so long for another who does.
PEERS_LOCK_SECONDS = 5.0

# --- disk -------------------------------------------------------------------------------

# Address space, not disk: growing a map under open readers closes them, so it is reserved
# large and grown only as a fallback.
MAP_SIZE = 1 * TIB
# Reader slots: one per thread or snapshot in use, over all processes on the directory.
MAX_READERS = 512
# Sketches of large collections kept in memory, 160 KiB each; a collection has 1 or 17.
SKETCH_CACHE_BYTES = 32 * MIB
# Entries the writer puts into one transaction; past this a batch gains nothing.
COMMIT_ENTRIES = 4_096
# Bytes the writer lets wait before whoever brings more has to wait too.
WRITER_INBOX_BYTES = 8 * MIB
# The server looks this often for entries that other processes put into its directory.
NOTICE_SECONDS = 0.5
