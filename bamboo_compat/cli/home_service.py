"""`serve` as a home: answers `setsync-home/1` on the node's own port."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from setsync.cli import logging

if TYPE_CHECKING:
    from setsync.node.config import DataDirectory
    from setsync.node.listening import Guest, Visitor


def answer_for(directory: DataDirectory) -> Guest:
    """Questions about homes, for the node of this directory. Raises KeyFileError."""
    from bamboo_compat.homes.answering import Context, Refusals, handle_join, tries_at

    key, tries = directory.node_key(), tries_at(directory.path)
    refusals = Refusals(lambda **fields: logging.logger().warning("home_refused", **fields))

    async def answer(visitor: Visitor) -> None:
        local = visitor.local

        def handle(question: bytes) -> bytes:
            context = Context(
                directory,
                local.store,
                key,
                tries,
                local.clock(),
                time.monotonic(),
                visitor.address,
                visitor.peer,
                refusals,
            )
            return handle_join(question, context)

        async def offloaded(question: bytes) -> bytes:
            return await local.offload(handle, question)

        await answer_all(visitor, offloaded)

    return answer


async def answer_all(visitor: Visitor, handle: Handle) -> None:
    """Every question on a connection, until there are no more. Raises PeerError."""
    import trio

    from bamboo_compat.homes.limits import MAX_QUESTIONS, QUESTION_SECONDS
    from bamboo_compat.homes.roads import receive_message, send_message
    from setsync.errors import PeerGoneError, PeerTimeoutError

    try:
        for _ in range(MAX_QUESTIONS):
            with trio.fail_after(QUESTION_SECONDS):
                question = await receive_message(visitor.stream)
            if question is None:
                return
            answer = await handle(question)
            with trio.fail_after(QUESTION_SECONDS):
                await send_message(visitor.stream, answer)
    except trio.TooSlowError as error:
        raise PeerTimeoutError("Who asked about homes fell silent.") from error
    except trio.BrokenResourceError as error:
        raise PeerGoneError("Who asked about homes went away without a goodbye.") from error


if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Handle = Callable[[bytes], Awaitable[bytes]]
