"""What guests do beside `serve`: other protocols on ports of their own, around the same store.

A service is an object that another package names in the entry point group
`setsync.services`. `serve` asks it for its options; if the operator gave them, it runs in
serve's nursery, with the node around it, until serve ends. It tells the operator of itself
with `logging.logger`: first where it listens, then of each session. What it raises ends serve, so
an error in one of its sessions has to stay there.

Guests are looked for when serve's options are needed, and by no other command.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import cached_property, partial
from typing import Any, Protocol

import click
import trio

from setsync.cli import common
from setsync.node.local import Local
from setsync.node.node import open_local
from setsync.node.policy import Policy
from setsync.store.contract import EntryStore

ENTRY_POINT_GROUP = "setsync.services"


class Running(Protocol):
    """A service that the operator asked for."""

    def __call__(self, local: Local, *, task_status: trio.TaskStatus[None]) -> Awaitable[None]:
        """Run until cancelled; started once it can be reached. Raises LocalError before that."""


class Service(Protocol):
    """What an entry point names."""

    def options(self) -> Sequence[click.Option]:
        """Options for serve, named so that no other service has them too."""

    def asked_for(self, values: Mapping[str, Any]) -> Running | None:
        """What to run with these values of its options; None where they do not ask for it.

        Raises UsageError; nothing has begun yet.
        """


class ServiceCommand(click.Command):
    """A command whose last options are those of the services."""

    @cached_property
    def services(self) -> Sequence[tuple[Service, Sequence[click.Option]]]:
        """Every service that can be loaded, with its options."""
        # Loaded here: it is slow, and nothing else needs it.
        from importlib.metadata import entry_points

        found: list[tuple[Service, Sequence[click.Option]]] = []
        for point in sorted(entry_points(group=ENTRY_POINT_GROUP), key=lambda one: one.name):
            try:
                service: Service = point.load()
                found.append((service, service.options()))
            except Exception as error:  # serve itself needs none of them
                common.say(f"The service {point.name!r} cannot be loaded: {error}")
        return found

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Our options, then the guests', then what click adds to every command."""
        params, ours = super().get_params(ctx), len(self.params)
        guests = [option for _, options in self.services for option in options]
        return [*params[:ours], *guests, *params[ours:]]

    def asked_for(self, values: Mapping[str, Any]) -> list[Running]:
        """The services that the command line asks for. Raises UsageError."""
        found = (
            service.asked_for({str(option.name): values[str(option.name)] for option in options})
            for service, options in self.services
        )
        return [running for running in found if running is not None]


async def run_services(
    services: Sequence[Running],
    store: EntryStore,
    *,
    interests: Sequence[str],
    node_id: bytes,
    max_payload: int,
    policy: Callable[[], Policy],
    on_local: Callable[[Local], None] = lambda local: None,
    task_status: trio.TaskStatus[None],
) -> None:
    """Run services around a store until cancelled; started once all can be reached.

    `on_local` hears of the node that is around them. Raises what a service raises.
    """
    around = open_local(
        store, node_id=node_id, interests=interests, max_payload=max_payload, policy=policy
    )
    async with around as local, trio.open_nursery() as nursery:
        on_local(local)
        for service in services:
            await nursery.start(partial(service, local))
        task_status.started()
