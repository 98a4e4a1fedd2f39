"""How much a question in GraphQL may ask, judged before anything of it is carried out.

`max_tokens` bounds parsing, these rules what is left of it; a question that breaks none of them
costs at most MAX_ALIASES answers, each of which is one look at the store or one commit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    InlineFragmentNode,
    OperationDefinitionNode,
    SelectionNode,
    SelectionSetNode,
    Visitor,
    visit,
)

from bamboo_compat.server import limits
from setsync.errors import LocalError

# Below these a question is about the schema itself.
_ABOUT_THE_SCHEMA = ("__schema", "__type")


class TooMuchAskedError(LocalError):
    """Ask for less at a time, in several questions."""

    code = "too_much"


def check_size(document: DocumentNode) -> None:
    """Before it is known to be valid: finding out compares every two fields that have one name,
    with all of their arguments. Raises TooMuchAskedError."""
    count = _Count()
    visit(document, count)
    if count.fields > limits.MAX_FIELDS or count.with_arguments > limits.MAX_CALLS:
        raise TooMuchAskedError(
            f"The question has more than {limits.MAX_FIELDS} fields, or more than "
            f"{limits.MAX_CALLS} with arguments."
        )


class _Count(Visitor):
    fields = 0
    with_arguments = 0

    def enter_field(self, node: FieldNode, *_: object) -> None:
        self.fields += 1
        self.with_arguments += bool(node.arguments)


def check_cost(document: DocumentNode) -> None:
    """Raises TooMuchAskedError. The document is valid: its fragments are there, and no circle."""
    fragments = {
        one.name.value: one
        for one in document.definitions
        if isinstance(one, FragmentDefinitionNode)
    }
    for definition in document.definitions:
        if isinstance(definition, OperationDefinitionNode):
            cost = _Cost(fragments)
            cost.look(definition.selection_set, 1, at_top=True)


@dataclass
class _Cost:
    """One operation's. A fragment that is spread twice is looked at twice, as it is carried out
    twice; the count of looks is bounded, since fragments in fragments can double each time."""

    fragments: Mapping[str, FragmentDefinitionNode]
    answers: int = 0
    aliases: int = 0
    looks: int = field(default=0)

    def look(
        self,
        chosen: SelectionSetNode,
        depth: int,
        at_top: bool = False,
        deepest: int = limits.MAX_DEPTH,
    ) -> None:
        """Add up one set of fields and all below it."""
        if depth > deepest:
            raise TooMuchAskedError(f"The question has fields more than {deepest} deep.")
        for node in chosen.selections:
            self.looks += 1
            if self.looks > limits.MAX_TOKENS:
                raise TooMuchAskedError(
                    f"The question has more than {limits.MAX_TOKENS} fields, fragments unfolded."
                )
            self._look_at(node, depth, at_top, deepest)

    def _look_at(self, node: SelectionNode, depth: int, at_top: bool, deepest: int) -> None:
        match node:
            case FieldNode():
                self._count(node, at_top)
                if node.selection_set is not None:
                    if node.name.value in _ABOUT_THE_SCHEMA:
                        deepest = limits.MAX_SCHEMA_DEPTH
                    self.look(node.selection_set, depth + 1, deepest=deepest)
            case InlineFragmentNode():
                self.look(node.selection_set, depth, at_top, deepest)
            case FragmentSpreadNode():
                fragment = self.fragments[node.name.value]
                self.look(fragment.selection_set, depth, at_top, deepest)
            case _:
                raise AssertionError(f"GraphQL has no {type(node).__name__} there.")

    def _count(self, node: FieldNode, at_top: bool) -> None:
        self.answers += at_top
        self.aliases += node.alias is not None
        if max(self.answers, self.aliases) > limits.MAX_ALIASES:
            raise TooMuchAskedError(
                f"The question asks for more than {limits.MAX_ALIASES} things, or gives more "
                "names than that."
            )
