"""Both ends of TLS 1.3 by hand, for those who lie about who they are.

OpenSSL loads no certificate without its private key, so whoever shows a stolen one, or one of a
key that nobody can hold, has to be made here: RFC 8446 with X25519, AES-128-GCM and SHA-256,
nothing that an honest end does not need. `sign` gets what a CertificateVerify signs and may
answer with any bytes.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterator
from hashlib import sha256

import trio
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

Sign = Callable[[bytes], bytes]

_CLIENT_HELLO, _SERVER_HELLO, _EXTENSIONS, _CERTIFICATE = 1, 2, 8, 11
_CERTIFICATE_REQUEST, _CERTIFICATE_VERIFY, _FINISHED = 13, 15, 20
_CHANGE, _ALERT, _HANDSHAKE, _DATA = 20, 21, 22, 23
_ED25519 = b"\x08\x07"
_X25519 = b"\x00\x1d"


def _sized(width: int, content: bytes) -> bytes:
    return len(content).to_bytes(width, "big") + content


def _message(kind: int, body: bytes) -> bytes:
    return bytes([kind]) + _sized(3, body)


def _extension(number: int, body: bytes) -> bytes:
    return number.to_bytes(2, "big") + _sized(2, body)


def _expand(secret: bytes, label: str, context: bytes, length: int = 32) -> bytes:
    info = length.to_bytes(2, "big") + _sized(1, b"tls13 " + label.encode()) + _sized(1, context)
    return HKDFExpand(hashes.SHA256(), length, info).derive(secret)


def _extract(salt: bytes, material: bytes) -> bytes:
    return hmac.digest(salt, material, "sha256")


class _Sealed:
    """Records of one direction under one secret."""

    def __init__(self, secret: bytes) -> None:
        self.secret = secret
        self._cipher = AESGCM(_expand(secret, "key", b"", 16))
        self._iv = int.from_bytes(_expand(secret, "iv", b"", 12), "big")
        self._number = 0

    def _nonce(self) -> bytes:
        self._number += 1
        return (self._iv ^ (self._number - 1)).to_bytes(12, "big")

    def seal(self, kind: int, content: bytes) -> bytes:
        """A whole record."""
        head = b"\x17\x03\x03" + (len(content) + 17).to_bytes(2, "big")
        return head + self._cipher.encrypt(self._nonce(), content + bytes([kind]), head)

    def open(self, head: bytes, body: bytes) -> tuple[int, bytes]:
        """What is in a record."""
        content = self._cipher.decrypt(self._nonce(), body, head).rstrip(b"\0")
        return content[-1], content[:-1]


class Forger:
    """One end. `certificate` is DER, or None to show none; nothing is checked."""

    def __init__(
        self,
        stream: trio.abc.Stream,
        certificate: bytes | None,
        sign: Sign,
        alpn: bytes | None = b"setsync/1",
    ) -> None:
        self._stream = stream
        self._certificate = certificate
        self._sign = sign
        self._alpn = alpn
        self._key = X25519PrivateKey.generate()
        self._said = b""
        self._arrived = b""
        self._handshake = b""
        self._in: _Sealed | None = None
        self._out: _Sealed | None = None

    # --- the two handshakes ---------------------------------------------------------------

    async def connect(self) -> None:
        """As the dialler, to the end of our half."""
        await self._tell(_message(_CLIENT_HELLO, self._client_hello()))
        _, answer = await self._hear()
        share = dict(_extensions(answer, 2 + 32 + 1 + answer[34] + 2 + 1))[51]
        ours, theirs, master = self._schedule(share[4:])
        self._in, self._out = _Sealed(theirs), _Sealed(ours)
        kind = 0
        while kind != _FINISHED:
            kind, _ = await self._hear()
        after = self._traffic(master, "s"), self._traffic(master, "c")
        await self._prove("client")
        self._in, self._out = _Sealed(after[0]), _Sealed(after[1])

    async def answer(self) -> None:
        """As the listener, to the end of our half; what the dialler then says is not read."""
        _, hello = await self._hear()
        session = hello[35 : 35 + hello[34]]
        at = 35 + len(session)
        at += 2 + int.from_bytes(hello[at : at + 2], "big")
        shares = dict(_extensions(hello, at + 1 + hello[at]))[51][2:]
        where = shares.index(_X25519 + b"\x00\x20") + 4
        share = _extension(51, _X25519 + _sized(2, self._public())) + _extension(43, b"\x03\x04")
        body = b"\x03\x03" + bytes(32) + _sized(1, session) + b"\x13\x01\x00" + _sized(2, share)
        await self._tell(_message(_SERVER_HELLO, body))
        theirs, ours, master = self._schedule(shares[where : where + 32])
        self._in, self._out = _Sealed(theirs), _Sealed(ours)
        await self._tell(_message(_EXTENSIONS, _sized(2, self._protocol())))
        asked = _sized(2, _extension(13, _sized(2, _ED25519)))
        await self._tell(_message(_CERTIFICATE_REQUEST, b"\0" + asked))
        await self._prove("server")
        self._out = _Sealed(self._traffic(master, "s"))

    def _client_hello(self) -> bytes:
        share = _sized(2, _X25519 + _sized(2, self._public()))
        extensions = (
            _extension(43, b"\x02\x03\x04")
            + _extension(10, _sized(2, _X25519))
            + _extension(13, _sized(2, _ED25519))
            + _extension(51, share)
            + self._protocol()
        )
        return b"\x03\x03" + bytes(32) + b"\0" + b"\x00\x02\x13\x01\x01\x00" + _sized(2, extensions)

    def _protocol(self) -> bytes:
        if self._alpn is None:
            return b""
        return _extension(16, _sized(2, _sized(1, self._alpn)))

    async def _prove(self, side: str) -> None:
        shown = _sized(3, self._certificate) + b"\0\0" if self._certificate is not None else b""
        await self._tell(_message(_CERTIFICATE, b"\0" + _sized(3, shown)))
        if self._certificate is not None:
            label = f"TLS 1.3, {side} CertificateVerify".encode()
            signature = self._sign(b" " * 64 + label + b"\0" + sha256(self._said).digest())
            await self._tell(_message(_CERTIFICATE_VERIFY, _ED25519 + _sized(2, signature)))
        assert self._out is not None
        key = _expand(self._out.secret, "finished", b"")
        await self._tell(_message(_FINISHED, _extract(key, sha256(self._said).digest())))

    # --- keys -----------------------------------------------------------------------------

    def _public(self) -> bytes:
        return self._key.public_key().public_bytes_raw()

    def _schedule(self, share: bytes) -> tuple[bytes, bytes, bytes]:
        """The client's and the server's handshake secrets, and the master secret."""
        shared = self._key.exchange(X25519PublicKey.from_public_bytes(share[:32]))
        empty = sha256().digest()
        secret = _extract(_expand(_extract(bytes(32), bytes(32)), "derived", empty), shared)
        so_far = sha256(self._said).digest()
        return (
            _expand(secret, "c hs traffic", so_far),
            _expand(secret, "s hs traffic", so_far),
            _extract(_expand(secret, "derived", empty), bytes(32)),
        )

    def _traffic(self, master: bytes, side: str) -> bytes:
        return _expand(master, f"{side} ap traffic", sha256(self._said).digest())

    # --- records --------------------------------------------------------------------------

    async def _tell(self, message: bytes) -> None:
        self._said += message
        if self._out is None:
            await self._stream.send_all(b"\x16\x03\x01" + _sized(2, message))
        else:
            await self._stream.send_all(self._out.seal(_HANDSHAKE, message))

    async def say(self, data: bytes) -> None:
        """Application data."""
        assert self._out is not None
        await self._stream.send_all(self._out.seal(_DATA, data))

    async def _hear(self) -> tuple[int, bytes]:
        while len(self._handshake) < 4 or len(self._handshake) < 4 + self._length():
            kind, content = await self._record()
            assert kind == _HANDSHAKE, (kind, content)
            self._handshake += content
        end = 4 + self._length()
        message, self._handshake = self._handshake[:end], self._handshake[end:]
        self._said += message
        return message[0], message[4:]

    def _length(self) -> int:
        return int.from_bytes(self._handshake[1:4], "big")

    async def _record(self) -> tuple[int, bytes]:
        while True:
            head = await self._exactly(5)
            body = await self._exactly(int.from_bytes(head[3:], "big"))
            if head[0] == _DATA:
                assert self._in is not None
                return self._in.open(head, body)
            if head[0] != _CHANGE:  # which means nothing in this version
                return head[0], body

    async def _exactly(self, size: int) -> bytes:
        while len(self._arrived) < size:
            data = bytes(await self._stream.receive_some(65_536))
            if not data:
                raise EOFError
            self._arrived += data
        taken, self._arrived = self._arrived[:size], self._arrived[size:]
        return taken

    async def heard_until_the_end(self) -> bytes:
        """The application data that the other side sends, until it closes or complains."""
        heard = b""
        try:
            while (record := await self._record())[0] != _ALERT:
                heard += record[1]
        except (EOFError, trio.BrokenResourceError):
            pass
        return heard


def _extensions(hello: bytes, at: int) -> Iterator[tuple[int, bytes]]:
    at += 2
    while at < len(hello):
        number, size = (int.from_bytes(hello[at + i : at + i + 2], "big") for i in (0, 2))
        yield number, hello[at + 4 : at + 4 + size]
        at += 4 + size
