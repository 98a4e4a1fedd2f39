"""Finding nodes in the local network: multicast DNS (RFC 6762) and its services (RFC 6763).

A node announces `_setsync._tcp` with its key and nothing else, and looks for those that do the
same. Announcements are anybody's word: one only says where to dial for a key that is listed here
already, and who answers there has to prove the key (`channel`). So a lie costs a dial now and
then, at an address of a network that this machine is in, and never cuts a session: who is said
to have vanished is let go once it is not connected any more.

The work with packets is python-zeroconf's, in threads of its own. What it hears of nodes that
are not listed stays there.
"""

from __future__ import annotations

import contextlib
import ipaddress
import math
import re
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import trio

from setsync import limits
from setsync.errors import DiscoveryError, LibraryMissingError, PeersFileError
from setsync.node.address import Address
from setsync.node.dialling import Target
from setsync.node.live import Keeper, PeerState, Phase
from setsync.node.local import Offload

if TYPE_CHECKING:
    import zeroconf

SERVICE = "_setsync._tcp.local."
VERSION = b"1"
_KEY = re.compile(b"[0-9a-f]{64}")
_LABEL_DIGITS = 32  # a label has at most 63 bytes, so a key in hex is one too long

T = TypeVar("T")
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def label_of(key: bytes) -> str:
    """The name that a node announces: the first half of its key in hex."""
    return key.hex()[:_LABEL_DIGITS]


# --- what is heard ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Heard:
    """What somebody announced under a label. Nothing of it has been looked at."""

    label: str
    port: int | None
    addresses: Sequence[str]
    properties: Mapping[bytes, bytes | None]


@dataclass(frozen=True, slots=True)
class Hinted:
    """A label is there, and where is not known yet."""

    label: str


@dataclass(frozen=True, slots=True)
class Gone:
    """A label is not there any more, or somebody says so."""

    label: str


Event = Heard | Hinted | Gone


def places_in(heard: Heard, key: bytes, networks: Collection[Network]) -> tuple[Address, ...]:
    """Where an announcement says that a key is: addresses in `networks`, none where it makes no
    sense or is somebody else's."""
    said = heard.properties.get(b"key")
    if said is None or not _KEY.fullmatch(said) or bytes.fromhex(said.decode("ascii")) != key:
        return ()
    if heard.properties.get(b"v") != VERSION or heard.port is None:
        return ()
    if heard.label != label_of(key) or not 0 < heard.port <= 65_535:
        return ()
    hosts = dict.fromkeys(host for host in heard.addresses if _is_near(host, networks))
    return tuple(Address(host, heard.port, key) for host in hosts)[: limits.MAX_FOUND_PLACES]


def _is_near(host: str, networks: Collection[Network]) -> bool:
    try:
        ip = ipaddress.ip_address(host)
    except ValueError:
        return False
    return not ip.is_multicast and any(ip in network for network in networks)


@dataclass
class Finds:
    """Which of the nodes that are wanted are there, and where: at most MAX_FOUND of them."""

    networks: Collection[Network]
    places: dict[bytes, tuple[Address, ...]] = field(default_factory=dict)
    _wanted: dict[str, bytes] = field(default_factory=dict)
    # Labels whose places have to be asked for, in the order of their turns.
    _open: dict[str, None] = field(default_factory=dict)

    def want(self, keys: Collection[bytes]) -> None:
        """From now on these. Those that are new may have announced themselves already."""
        before = self._wanted
        self._wanted = {label_of(key): key for key in keys}
        self._open = {label: None for label in self._open if label in self._wanted}
        self._open |= dict.fromkeys(self._wanted.keys() - before.keys())
        self.places = {key: found for key, found in self.places.items() if key in keys}

    @property
    def labels(self) -> frozenset[str]:
        """What to listen for."""
        return frozenset(self._wanted)

    def hear(self, event: Event) -> None:
        """Take one announcement in; whatever is not wanted, or is nonsense, changes nothing."""
        key = self._wanted.get(event.label)
        if key is None:
            return
        match event:
            case Gone():
                self.places.pop(key, None)
                self._open.pop(event.label, None)
            case Hinted():
                self._open[event.label] = None
            case Heard():
                found = places_in(event, key, self.networks)
                if found and (key in self.places or len(self.places) < limits.MAX_FOUND):
                    self.places[key] = found
                    self._open.pop(event.label, None)

    def missed(self) -> None:
        """Something was announced that we did not hear."""
        self._open |= dict.fromkeys(
            label for label, key in self._wanted.items() if key not in self.places
        )

    def next_open(self) -> str | None:
        """A label to ask for, once."""
        label = next(iter(self._open), None)
        if label is not None:
            del self._open[label]
        return label


# --- keeping up with them -----------------------------------------------------------------


class Feed(Protocol):
    """Where announcements come from."""

    events: trio.MemoryReceiveChannel[Event]
    has_missed: bool

    def listen_for(self, labels: frozenset[str]) -> None:
        """Tell of these and of no others."""

    def ask(self, label: str) -> Heard | None:
        """What is announced under a label. Called in a thread; waits for FOUND_ASK_SECONDS."""


async def _left_behind(work: Callable[..., T], *arguments: object) -> T:
    """In a thread for which the end of a node does not wait."""
    return await trio.to_thread.run_sync(work, *arguments, abandon_on_cancel=True)


@dataclass(slots=True)
class _Kept:
    keeper: Keeper
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)


@dataclass
class Discovery:
    """Keeps up with the nodes that are wanted, found and not kept up with otherwise.

    `wanted` gives their keys, asked anew now and then; `begin` makes a keeper, `ended` hears when
    it runs no more.
    """

    feed: Feed
    finds: Finds
    wanted: Callable[[], Collection[bytes]]
    begin: Callable[[Address], Keeper]
    ended: Callable[[Keeper], None]
    offload: Offload = _left_behind
    kept: dict[bytes, _Kept] = field(default_factory=dict, init=False)
    _begun: dict[bytes, float] = field(default_factory=dict, init=False)

    async def run(self) -> None:
        """Until cancelled. Raises what a keeper raises."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._ask, nursery)
            look = trio.current_time()
            while True:
                if trio.current_time() >= look:
                    self._look()
                    look = trio.current_time() + limits.FOUND_LOOK_SECONDS
                with trio.move_on_at(look):
                    self.finds.hear(await self.feed.events.receive())
                self._keep(nursery)

    def _look(self) -> None:
        """Who is not wanted any more is let go; so is who has vanished and is not connected."""
        if self.feed.has_missed:
            self.feed.has_missed = False
            self.finds.missed()
        # A list that cannot be read changes nothing here, and lets nobody in there.
        with contextlib.suppress(PeersFileError):
            keys = self.wanted()
            self.finds.want(keys)
            self.feed.listen_for(self.finds.labels)
            self._begun = {key: begun for key, begun in self._begun.items() if key in keys}
            for key, kept in self.kept.items():
                if key not in keys:
                    kept.scope.cancel()
        for key, kept in self.kept.items():
            idle = kept.keeper.state.phase in (Phase.CONNECTING, Phase.WAITING)
            if idle and key not in self.finds.places:
                kept.scope.cancel()

    def _keep(self, nursery: trio.Nursery) -> None:
        """A keeper for who has none; for others the place at which they are dialled next."""
        for key, places in self.finds.places.items():
            if key not in self.kept:
                self._start(key, places[0], nursery)
            elif self.kept[key].keeper.target.address not in places:
                self.kept[key].keeper.target = Target(places[0])

    def _start(self, key: bytes, place: Address, nursery: trio.Nursery) -> None:
        """Not twice within a while: a new keeper has forgotten that nobody answered the last."""
        now = trio.current_time()
        if now >= self._begun.get(key, -math.inf) + limits.FOUND_REST_SECONDS:
            self._begun[key] = now
            self.kept[key] = _Kept(self.begin(place))
            nursery.start_soon(self._run, key, self.kept[key])

    async def _run(self, key: bytes, kept: _Kept) -> None:
        tell = kept.keeper.on_change

        def heard(state: PeerState) -> None:
            tell(state)
            if state.phase is Phase.WAITING and state.last_error:
                self._try_elsewhere(key, kept.keeper)

        kept.keeper.on_change = heard
        with kept.scope:
            await kept.keeper.run()
        del self.kept[key]
        self.ended(kept.keeper)

    def _try_elsewhere(self, key: bytes, keeper: Keeper) -> None:
        """A node that is in several networks may not be reached in each of them."""
        places = self.finds.places.get(key, ())
        if keeper.target.address in places:
            at = places.index(keeper.target.address) + 1
            keeper.target = Target(places[at % len(places)])
            keeper.state.address = str(keeper.target.address)

    async def _ask(self, nursery: trio.Nursery) -> None:
        """One question at a time."""
        while True:
            label = self.finds.next_open()
            if label is None:
                await trio.sleep(limits.FOUND_ASK_SECONDS)
                continue
            found: Heard | None = await self.offload(self.feed.ask, label)
            if found is not None:
                self.finds.hear(found)
                self._keep(nursery)


# --- where we can be reached --------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Reach:
    """Where we announce ourselves: a port, addresses at which we are there, the interfaces
    (by their IPv4 addresses) to say it on, and the networks in which we look for others."""

    port: int
    addresses: tuple[str, ...]
    interfaces: tuple[str, ...]
    networks: tuple[Network, ...]


Interface = ipaddress.IPv4Interface | ipaddress.IPv6Interface


def reach_of(bound: Sequence[Address], adapters: Sequence[Sequence[Interface]]) -> Reach:
    """What listening on `bound` means on a machine with these adapters, each the list of its
    addresses. Raises DiscoveryError."""
    port = bound[0].port
    hosts = [ipaddress.ip_address(each.host) for each in bound if each.port == port]
    used = {place: found for place, one in enumerate(adapters) if (found := _reached(hosts, one))}
    interfaces = [
        str(next(each.ip for each in adapters[place] if each.version == 4))
        for place in used
        if any(each.version == 4 for each in adapters[place])
    ]
    if not interfaces:
        where = ", ".join(str(each) for each in bound)
        raise DiscoveryError(f"No network of this machine reaches {where} and carries multicast.")
    networks = (each.network for place in used for each in adapters[place] if not _is_local(each))
    addresses = dict.fromkeys(str(ip) for found in used.values() for ip in found)
    return Reach(port, tuple(addresses), tuple(interfaces), tuple(networks))


def _reached(hosts: Sequence[Any], adapter: Sequence[Interface]) -> list[Any]:
    """The addresses at which one who listens on `hosts` is there for an adapter's network."""
    found: list[Any] = []
    for host in hosts:
        if host.is_unspecified:
            own = [each.ip for each in adapter if each.version == host.version]
            found += [
                ip for ip in own if not (ip.is_loopback or (ip.version == 6 and ip.is_link_local))
            ]
        elif any(host in each.network for each in adapter):
            found.append(host)
    return found


def _is_local(interface: Interface) -> bool:
    """An IPv6 link-local address means nothing without the name of its link."""
    return interface.version == 6 and interface.ip.is_link_local


def adapters() -> list[list[Interface]]:
    """The addresses of this machine, adapter by adapter. Raises LibraryMissingError."""
    with _wanting_library():
        import ifaddr
    return [
        [
            ipaddress.ip_interface(f"{ip.ip if ip.is_IPv4 else ip.ip[0]}/{ip.network_prefix}")
            for ip in adapter.ips
        ]
        for adapter in ifaddr.get_adapters()
    ]


@contextlib.contextmanager
def _wanting_library() -> Iterator[None]:
    try:
        yield
    except ImportError as error:
        raise LibraryMissingError(
            "Finding nodes in the local network takes the library zeroconf, which is not here."
        ) from error


def check_library() -> None:
    """Raises LibraryMissingError where nodes cannot be looked for."""
    with _wanting_library():
        import zeroconf  # noqa: F401


# --- zeroconf -----------------------------------------------------------------------------


class Multicast:
    """A feed from the network. Its methods run in threads, but for `listen_for`."""

    def __init__(self, token: trio.lowlevel.TrioToken) -> None:
        self._token = token
        self._heard, self.events = trio.open_memory_channel[Event](limits.FOUND_EVENTS)
        self._labels: frozenset[str] = frozenset()
        self._zeroconf: zeroconf.Zeroconf | None = None
        self._browser: zeroconf.ServiceBrowser | None = None
        self.has_missed = False

    def listen_for(self, labels: frozenset[str]) -> None:
        """Tell of these and of no others."""
        self._labels = labels

    def open(self, key: bytes, reach: Reach) -> None:
        """Announce a key and begin to listen. Raises DiscoveryError."""
        import zeroconf

        try:
            # Its name is our key's, so nobody is asked whether it is free.
            self._zeroconf = zeroconf.Zeroconf(interfaces=list(reach.interfaces))
            self._zeroconf.register_service(_announcement(key, reach), cooperating_responders=True)
            self._browser = zeroconf.ServiceBrowser(
                self._zeroconf,
                SERVICE,
                handlers=[self._changed],
                question_type=zeroconf.DNSQuestionType.QM,
            )
        except (OSError, zeroconf.Error) as error:
            raise DiscoveryError(f"Nodes cannot be looked for in the network: {error}.") from error

    def close(self) -> None:
        """Say that we are gone, and end the threads."""
        if self._browser is not None:
            self._browser.cancel()
        if self._zeroconf is not None:
            self._zeroconf.close()

    def ask(self, label: str) -> Heard | None:
        """What is announced under a label, asked for if it is not known; waits a moment."""
        import zeroconf

        if self._zeroconf is None:
            return None
        info = zeroconf.ServiceInfo(SERVICE, f"{label}.{SERVICE}")
        # Answers to all: those to one reach any of the programs here that share the port.
        way = zeroconf.DNSQuestionType.QM
        found = info.request(self._zeroconf, 1_000 * limits.FOUND_ASK_SECONDS, way)
        return _heard(label, info) if found else None

    def _changed(
        self,
        zeroconf: zeroconf.Zeroconf,
        service_type: str,
        name: str,
        state_change: zeroconf.ServiceStateChange,
    ) -> None:
        """Something is announced, in a thread of zeroconf's. The parameters' names are its too."""
        label = name.removesuffix(f".{service_type}")
        if label in self._labels:
            event = self._event(zeroconf, label, state_change.name)
            with contextlib.suppress(trio.RunFinishedError):
                trio.from_thread.run_sync(self._tell, event, trio_token=self._token)

    def _event(self, known: zeroconf.Zeroconf, label: str, change: str) -> Event:
        import zeroconf

        if change == "Removed":
            return Gone(label)
        info = zeroconf.ServiceInfo(SERVICE, f"{label}.{SERVICE}")
        return _heard(label, info) if info.load_from_cache(known) else Hinted(label)

    def _tell(self, event: Event) -> None:
        try:
            self._heard.send_nowait(event)
        except trio.WouldBlock:
            self.has_missed = True
        except trio.BrokenResourceError:
            pass  # nobody listens any more


def _announcement(key: bytes, reach: Reach) -> zeroconf.ServiceInfo:
    import zeroconf

    label = label_of(key)
    return zeroconf.ServiceInfo(
        SERVICE,
        f"{label}.{SERVICE}",
        parsed_addresses=list(reach.addresses),
        port=reach.port,
        properties={"key": key.hex(), "v": VERSION},
        server=f"{label}.local.",  # else the machine's own name
    )


def _heard(label: str, info: zeroconf.ServiceInfo) -> Heard:
    return Heard(label, info.port, info.parsed_addresses(), info.properties)


@contextlib.asynccontextmanager
async def multicast(key: bytes, reach: Reach) -> AsyncIterator[Multicast]:
    """Announce a key and listen, for as long as the block lasts.

    Raises DiscoveryError, LibraryMissingError.
    """
    check_library()
    feed = Multicast(trio.lowlevel.current_trio_token())
    try:
        await trio.to_thread.run_sync(feed.open, key, reach)
        yield feed
    finally:
        feed.events.close()
        # Threads that do not end in time are left behind; they end with the process.
        with trio.CancelScope(shield=True), trio.move_on_after(limits.SHUTDOWN_GRACE):
            await trio.to_thread.run_sync(feed.close, abandon_on_cancel=True)
