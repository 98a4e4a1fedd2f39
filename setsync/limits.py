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
# Segments of all patterns of one list in a HELLO: 16 in each. Every one is a bit of the number
# that is worked with for each segment of a name, so that 128 segments take 30 us at most.
MAX_PATTERN_SEGMENTS = 1_024

# --- what one author, and one peer, may fill a node with ---------------------------------

# Bytes are those of headers and payloads. What a person writes in a lifetime fits several
# times; a program that logs once a minute fills the entries in two years and shows itself.
DEFAULT_AUTHOR_ENTRIES = 1_000_000
# A key costs nothing, so this bounds no disk by itself: it bounds what one mistake, or one
# stolen key, makes of it.
DEFAULT_AUTHOR_BYTES = 1 * GIB
# What a peer may bring in a day (UTC) that is new. A first sync of a large node fits in.
DEFAULT_PEER_ENTRIES_A_DAY = 10_000_000
# Under 200 KiB a second all day long: it takes a week to fill an ordinary disk, not an hour.
DEFAULT_PEER_BYTES_A_DAY = 16 * GIB
# A refusal is remembered this long, and then asked about again: policies change, and a
# quota of a peer begins anew with each day.
REFUSED_SECONDS = 86_400.0
# Refusals that are remembered, about 140 bytes each on the disk. One more empties the table,
# and then something is sent once more.
MAX_REFUSED = 1_000_000
# Payloads that one look into the list of those not here returns.
MAX_WITHHELD_LISTED = 10_000

# --- the wire ---------------------------------------------------------------------------

# A frame is held whole before it is looked at, so its ceiling is what a byte of header
# can make us hold; Bitcoin allows 4 MB, strfry 128 KiB.
MAX_FRAME = 1 * MIB
# Everything but entries, listings and answers is short.
MAX_CONTROL_FRAME = 64 * KIB
# Decoded items of one array. 1 MiB of one-byte items would otherwise cost eight times that.
MAX_ARRAY = 4_096
# An invite's code: 16 bytes of chance and room for a longer kind.
MAX_INVITE = 64
# A refusal's sentence, and what of it is shown.
MAX_SENTENCE = 500

# Entries leave in batches of about this size: large enough that commits and frames cost
# little beside their content, small enough that a cut loses little and many fit in memory.
ENTRY_BATCH = 256 * KIB
# A payload over this travels in pieces of this size, so that a frame always has room for
# what goes with it.
PAYLOAD_PIECE = 192 * KIB
# Ids read from the store in one snapshot while streaming a range.
IDS_PER_READ = 1_024

# --- one session ------------------------------------------------------------------------

# An honest reconciliation needs one round a level of the trie, at most 64 levels, and each
# rung of the ladder may use them again.
MAX_ROUNDS = 64 + 64
# All rounds of a pass. Ten million scattered differences take seconds of it on a line of 1 MB/s;
# who answers each question at the last moment would otherwise hold a session for hours.
COMPARING_SECONDS = 900.0
# Questions in one round; an id list's own length is bounded by the frame.
MAX_QUESTIONS = 4_096
# Bytes of answers that one round asks for, so that neither side holds more than this.
ROUND_ANSWER_BYTES = 4 * MIB
# A round's answers may be longer than expected, since sets grow; the initiator puts up with
# so much in memory and no more.
MAX_ROUND_ANSWER_BYTES = 4 * ROUND_ANSWER_BYTES
# Ranges that differ and are not closed yet, and ranges of which something is wanted: about
# 300 bytes each, for 11 that the other side has to send.
MAX_RANGES = 262_144
# Ids in one list. At 32 bytes each, the last rung's width, they are three quarters of a frame.
MAX_LIST_IDS = 24_576
# What comparing may cost a side in a session: see reconcile/effort.py. A step is about a
# microsecond, so that a peer of a set of 100,000 takes two seconds of us at most.
STEPS_PER_ID = 12
STEPS_PER_COLLECTION = 64
SPARE_STEPS = 524_288
BYTES_PER_STEP = 16
# Bytes of answers that a session gets of a small set; of a larger one twice its ids.
MIN_TOLD_BYTES = 1 * MIB
# Sketches that a session keeps at one moment; each is a part of 130 KiB or less of the cache.
HELD_SKETCHES = 64
# Ids that are encoded for a sketch which is not kept: 0.1 s of work. A range of more is split.
MAX_ENCODED_IDS = 131_072
# Ids in one item of a WANT, so that an item fits into a message.
MAX_WANTED_IDS = 16_384
# Collections that are simply listed; a longer catalogue is compared as a set first.
LISTED_COLLECTIONS = 64
# First a pass, then "reconcile again, at most twice".
MAX_PASSES = 3
# Ids that a session names of what is missing here: 'diff' keeps them, some 300 bytes each.
MAX_TOLD_IDS = 4_194_304
# How many more they may be than were found to be missing: sets grow while they are asked about.
SPARE_TOLD_IDS = 65_536
# Batches of arrived entries that may wait for their commit, per connection: 2 MiB, so that
# some are verified and some on their way while others are written.
UNCOMMITTED_BATCHES = 8
# Payloads that one session asks for, of entries that are here without: 8 KiB of short ids.
MAX_WANTED_PAYLOADS = 1_024
# Who had none of the payloads that were asked for is asked again after this.
ASK_AGAIN_SECONDS = 3_600.0
# Messages of wants that the initiator lets be served at a time, and the responder holds.
WANTS_UNDER_WAY = 2
# Ids of entries that a peer brought lately, and that are not sent back to it: 40 bytes each.
HEARD_IDS = 16_384
# Frames waiting to be sent, per connection, besides the one under way and the one that is being
# made; the sender stops reading more from the store. A peer that never reads costs a MiB so.
UNSENT_FRAMES = 0

# --- waiting ----------------------------------------------------------------------------

# TCP knocks at 0, 1, 3 and 7 s (RFC 6298); who has not answered then is tried again later.
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
# To which an operator may raise it: half a GiB idle. 'serve' lets itself open as many files, which
# most systems allow a process that asks.
MOST_CONNECTIONS = 10_000
# Files that a node has open besides, at most: some 20 of its own, connections to the page and to
# log heights, pipes to the processes that verify, and what its threads read and write.
SPARE_FILES = 384
# Several nodes behind one router, and no more than a fifteenth of the places for one host.
MAX_CONNECTIONS_PER_ADDRESS = 8
# A node that dials anew before we noticed that its last connection is dead has two.
MAX_CONNECTIONS_PER_KEY = 2
# Connections that are not let in yet: as many as ACCEPTS_PER_SECOND lets come at one moment, or
# most of 50 peers that dial at once would be turned away. Each costs about 60 KiB. A flood at that
# rate leaves each two seconds for its two round trips.
MAX_PENDING = 100
MAX_PENDING_PER_ADDRESS = 4
# A handshake costs us about 2.5 ms of computing, so this is an eighth of a core at most.
ACCEPTS_PER_SECOND = 50.0
ACCEPTS_PER_SECOND_PER_ADDRESS = 5.0

# Who sent an invalid entry, or what no node of ours sends, is refused so long: a person notices
# and repairs it meanwhile, and a broken node does not spend our time on the same entry.
PENALTY_SECONDS = 600.0
# Between two beginnings of sessions of one key. Who has news stays connected; a retry waits
# as long anyway.
REST_SECONDS = 1.0
# Keys that either is remembered of, about 300 bytes each.
MAX_PENALTIES = 4_096

# Nodes that one knows by name; each is a line of some 200 bytes in a file read whole.
MAX_PEERS = 10_000
MAX_PEERS_FILE = 8 * MIB
MAX_PEER_NAME = 64
# Of nodes that are not listed, those that came last are shown, so that an operator finds the key of
# who is to be listed; an open node that many come to shows no more of them either.
MAX_STRANGERS = 1_000
# Circles of people that one person tells apart.
MAX_GROUPS = 16
MAX_GROUP_NAME = 32
# Open ones and those that are remembered: about 300 bytes each in the same file.
MAX_INVITES = 1_000
# A course's worth of guests for one code.
MAX_INVITE_USES = 1_000
# Who invites for longer than a season can do so anew: a code lies about in a mailbox.
MAX_INVITE_SECONDS = 90 * 86_400
# Who comes with an invite that is of no use any more is told why for so long after it expired.
INVITE_MEMORY_SECONDS = 7 * 86_400
# Tries of invites: so many at once and then one every so many seconds. No number of tries
# finds 128 bits of chance; this bounds what trying costs us. Those that succeed do not count.
INVITE_TRIES_PER_ADDRESS = 5
INVITE_TRIES = 20
INVITE_TRY_SECONDS = 60.0
# Who changes that file waits so long for another who does.
PEERS_LOCK_SECONDS = 5.0

# --- the local network ------------------------------------------------------------------

# Nodes found there that one keeps up with: a quarter of all connections, so that what is
# announced cannot take the places of those who dial us.
MAX_FOUND = 32
# Addresses of one such node; a machine is rarely in more networks that this one is in too.
MAX_FOUND_PLACES = 8
# Announcements that wait to be looked at; of what is too many we hear again by asking.
FOUND_EVENTS = 64
# How often the list of peers is looked at again, and those let go that have vanished.
FOUND_LOOK_SECONDS = 5.0
# Between the begins of two attempts to keep up with one node, however often it is announced:
# each is a few dials at an address that anybody in the network may have named.
FOUND_REST_SECONDS = 30.0
# Longest wait for an answer to one question. Who has said it a second ago waits with it, as
# RFC 6762 wants.
FOUND_ASK_SECONDS = 3.0

# --- policy -----------------------------------------------------------------------------

# Looked up by their keys, so the number costs nothing but the file, which is read whole.
MAX_BLOCKED_AUTHORS = 10_000
MAX_POLICY_FILE = 8 * MIB
# Matched once a collection, and then remembered.
MAX_WRITER_RULES = 256
MAX_WRITERS = 10_000
# Groups that something is shared with; all shares together are at most MAX_PATTERNS.
MAX_SHARING_GROUPS = 64
# Text of all patterns that are shared, and of all that are blocked: with MAX_PATTERNS
# interests of MAX_PATTERN bytes they fit into a HELLO of MAX_CONTROL_FRAME.
MAX_PATTERNS_TEXT = 12 * KIB
# The store counts in 8 bytes.
MAX_QUOTA = 2**63 - 1

# --- settings ---------------------------------------------------------------------------

# A page of settings has 2 KiB, and hundreds of peers may be named in it.
MAX_SETTINGS_FILE = 64 * KIB
# Half of what 64-bit processors let a process address.
MAX_MAP_SIZE = 2**46

# --- doctor -----------------------------------------------------------------------------

# Longest time in which a peer that 'doctor' dials has to answer.
DOCTOR_DIAL_SECONDS = 10.0
# Dialled at once, and at most: who has more peers gets an answer within two minutes, too.
DOCTOR_DIALS = 16
MAX_DOCTOR_DIALS = 128
# Clocks of machines that are kept right differ by far less.
CLOCK_TOLERANCE_SECONDS = 60.0
# From here on the map is soon full, and doubling it waits for everybody who reads.
MAP_SHARE = 0.8

# --- the page ---------------------------------------------------------------------------

# Browsers send a few hundred bytes of headers; a cookie of another program on this machine may
# be among them.
MAX_WEB_HEADERS = 16 * KIB
# What GraphQL clients publish is two hex texts of a payload; forms are far smaller.
MAX_WEB_BODY = 1 * MIB
# Fields of a form or a query; ours have under ten.
MAX_WEB_FIELDS = 64
# From the first byte of a request to its last, and for a browser to take some of an answer.
WEB_SECONDS = 10.0
# A browser opens six, one of which stays for the events.
MAX_WEB_CONNECTIONS = 32
# Of those, pages that are kept up to date; others must still get in.
MAX_WEB_LISTENERS = 16
# Pages hear of changes at most this often, or a fast sync would make browsers ask all the time.
WEB_EVENT_SECONDS = 0.5
# So often a silent stream of events says that it lives, for whatever stands between.
WEB_ALIVE_SECONDS = 15.0
# Rows of one page.
MAX_WEB_ROWS = 100
# Entries that one search by author looks at, in short snapshots; it goes on from there.
MAX_WEB_SEARCHED = 5_000
# Of a payload that is shown; more is for downloading.
MAX_WEB_TEXT = 64 * KIB
MAX_WEB_HEX = 4 * KIB
# Nodes of the history in a plot, and how far apart at first; when they are used up, every other
# one goes and the rest stand for twice the time.
WEB_SAMPLES = 720
WEB_SAMPLE_SECONDS = 2.0
# Sessions with one peer that are remembered for the page.
WEB_SESSIONS = 20
# Somebody walks from a terminal to a browser within this.
WEB_LOGIN_SECONDS = 120.0
# Who has logged in stays so for a working day.
WEB_SESSION_SECONDS = 12 * 3600.0
# Browsers that are logged in at a time; the oldest goes.
MAX_WEB_LOGINS = 64
# Things that were started on the page and run on.
MAX_WEB_JOBS = 8

# --- disk -------------------------------------------------------------------------------

# Address space, not disk: growing a map under open readers closes them, so it is reserved
# large and grown only as a fallback.
MAP_SIZE = 1 * TIB
# Reader slots: one per thread or snapshot in use, over all processes on the directory.
MAX_READERS = 512
# Who cannot begin to write within this is told who holds the store. A batch takes under a
# second; a disk that is busy with others' work rarely needs longer than ten.
WRITE_LOCK_SECONDS = 30.0
# While a read transaction lasts, nothing that was freed meanwhile is used again and the file
# grows. Answers take milliseconds.
SNAPSHOT_SECONDS = 5.0
# How often a node looks for snapshots that lasted longer, and tells of them.
SNAPSHOT_REPORT_SECONDS = 60.0
# Sketches of large collections kept in memory, 160 KiB each; a collection has 1 or 17.
SKETCH_CACHE_BYTES = 32 * MIB
# What others bring is refused when less is free: room for a machine to go on, and for its owner
# to act. A small disk keeps its twentieth instead.
REMOTE_RESERVE = 512 * MIB
DISK_SHARE = 0.05
# Our own entries go on until here, where LMDB still commits.
OWN_RESERVE = 64 * MIB
# Entries the writer puts into one transaction; past this a batch gains nothing.
COMMIT_ENTRIES = 4_096
# Entries and KiB of peers in one transaction, about 150 ms: what is written here waits for one.
PEERS_COMMIT = 2_048
# A commit of what was verified before takes about this long: what is written here waits for one,
# and a larger one makes LMDB keep more pages free.
COMMIT_SECONDS = 0.1
# Entries, or KiB, in the first such commit, before it is known how long that takes; and in any.
FIRST_COMMIT = 2_048
MOST_IN_COMMIT = 16_384
# Payloads that are dropped in one transaction, some 50 ms: whoever serves waits for one. It ends
# before that after COMMIT_SECONDS, where an index takes longer.
DROPS_COMMIT = 1_000
# Entries that are looked at in one snapshot while choosing them.
ENTRIES_PER_READ = 1_024
# What an import puts in order before it commits: about 40 MB with all that belongs to an entry in
# memory. Twice as much for a set so large that each would still go to a page of its own. Of large
# entries fewer.
IMPORT_WINDOW_ENTRIES = 65_536
LARGE_IMPORT_WINDOW_ENTRIES = 131_072
LARGE_SET_ENTRIES = 4_194_304
IMPORT_WINDOW_BYTES = 48 * MIB
# Its commits: LMDB holds their pages in memory until they are on the disk.
IMPORT_COMMIT_BYTES = 2 * MIB
# Bytes the writer lets wait before whoever brings more has to wait too.
WRITER_INBOX_BYTES = 8 * MIB
# Of one peer that may wait there even then, or who floods it would keep others out of it: two
# ordinary batches, so that one is at hand while the other is written.
WRITER_PEER_BYTES = 512 * KIB
# What an entry counts there at least, since two objects stand for it however short it is.
LEAST_ENTRY_BYTES = 100
# Processes that verify, by default: five times as many entries a second as one writer stores on
# the machines of today, at some 15 MB each.
MAX_VERIFIERS = 4
MOST_VERIFIERS = 64
# They are started for so many waiting entries, 0.1 s of work: to start them takes as long.
VERIFIERS_FROM = 2_048
# Fewer entries than these are verified faster than handed over.
FEWEST_IN_JOB = 16
# One job: 50 ms, so that handing it over costs little beside it and it ends soon.
VERIFY_JOB_ENTRIES = 1_024
VERIFY_JOB_BYTES = 1 * MIB
# Jobs that a process has, the one under way included.
VERIFY_JOBS_AHEAD = 2
# A process that answers nothing for so long is ended, and its jobs are done without it.
VERIFY_SECONDS = 60.0
# Processes that have nothing to do end after this, and those that do not end are ended.
VERIFIER_IDLE_SECONDS = 20.0
VERIFIER_END_SECONDS = 2.0
# One that ended without an answer is not replaced for so long: to start it takes a tenth of a
# second of a core, and what was missing, files or memory perhaps, may be there again.
VERIFIER_RETRY_SECONDS = 60.0
# Who had how much of the writer's time is told apart over about so many entries, which takes a
# minute or two at full speed, and of so many peers: about 100 bytes each.
TURNS_MEMORY = 1_048_576
MAX_TURNS_REMEMBERED = 4_096
# Sessions whose questions a node looks up at a time. More would only wait for each other, each with
# a snapshot open and up to 8 MiB in its hands: with 40, which is how many threads there are, 50
# sessions took up to 180 MiB; with 4 they take half of that and are done as soon.
LOOKING_UP = 4
# The server looks this often for entries that other processes put into its directory.
NOTICE_SECONDS = 0.5
# A service manager reads its socket at once; one that does not is not waited for.
NOTIFY_SECONDS = 1.0
