"""Counts UDP payload on a loopback interface, per direction, without touching it.

For systems that speak QUIC, in whose way no proxy fits. A packet socket hears every packet of the
interface; an address of one of the two ends tells which way it went. Needs the right to open packet
sockets (root, or a user namespace of one's own) and an otherwise silent loopback.
"""

from __future__ import annotations

import socket
import struct
import threading
from types import TracebackType

from setsync.bench.counts import Counts, Direction, Ledger

_SNAP_BYTES = 64
_UDP = 17
_IPV4 = 0x0800
_ALL_PROTOCOLS = 0x0003
_PACKET_OUTGOING = 4
_SOL_PACKET = 263
_PACKET_STATISTICS = 6
_BUFFER_BYTES = 16_777_216
_POLL_SECONDS = 0.1


class LostPacketsError(Exception):
    """The kernel dropped packets before they could be counted."""


def udp_payload(packet: bytes, length: int) -> tuple[int, int] | None:
    """The source port and payload size of an IPv4 UDP packet of `length` bytes, else None.

    `packet` is its beginning, from the IP header on. A packet may be larger than any that a real
    line carries: senders hand the kernel many datagrams at once, and loopback never divides them.
    """
    if len(packet) < 28 or packet[0] >> 4 != 4 or packet[9] != _UDP:
        return None
    header = 4 * (packet[0] & 0x0F)
    (source,) = struct.unpack_from("!H", packet, header)
    return source, length - header - 8


class LoopbackCounter:
    """Counts while its with block runs; `up` is what the port `initiator` sends."""

    def __init__(self, initiator: int) -> None:
        self._initiator = initiator
        self._ledger = Ledger()
        self._last: Direction | None = None
        self._stop = threading.Event()
        self._socket = socket.socket(
            socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_ALL_PROTOCOLS)
        )
        self._thread = threading.Thread(target=self._run, name="loopback-counter", daemon=True)

    @property
    def counts(self) -> Counts:
        """Everything counted so far."""
        return self._ledger.counts

    def __enter__(self) -> LoopbackCounter:
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)
        self._socket.bind(("lo", _ALL_PROTOCOLS))
        self._socket.settimeout(_POLL_SECONDS)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()
        lost = struct.unpack("II", self._socket.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8))[1]
        self._socket.close()
        if lost and kind is None:
            raise LostPacketsError(f"{lost} packets went by uncounted")

    def _run(self) -> None:
        buffer = bytearray(_SNAP_BYTES)
        while True:
            try:
                length, _, _, address = self._socket.recvmsg_into([buffer], 0, socket.MSG_TRUNC)
            except TimeoutError:
                if self._stop.is_set():
                    return
                continue
            # Loopback hands each packet over twice, once leaving and once arriving.
            if address[2] != _PACKET_OUTGOING and address[1] == _IPV4:
                self._count(bytes(buffer[:length]), length)

    def _count(self, packet: bytes, length: int) -> None:
        found = udp_payload(packet, length)
        if found is None:
            return
        source, size = found
        direction = Direction.UP if source == self._initiator else Direction.DOWN
        self._ledger.passed(direction, size, direction is not self._last)
        self._last = direction
