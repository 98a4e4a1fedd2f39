"""Mutants: copies of a module's source with one small fault each.

A mutant changes one place of the text, so that every line keeps its number unless the place
itself went over several lines. What is changed:

- comparisons: `<` to `<=` and to `>=`, `==` to `!=`, `in` to `not in`, and so on;
- whole numbers by one up and one down; `True` to `False`; words and byte strings get a letter more;
- `and` to `or`, each of their operands left out; `not` left out; conditions turned round;
- `+` to `-`, `*` to `//`, shifts and bits to their counterparts;
- two neighbouring arguments swapped; a returned value lost;
- a statement left out: a call, a change of an object, a `raise`, `break` or `continue`.

What is not: annotations, decorators, docstrings, and sentences for people.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator
from typing import NamedTuple, TypeVar

Node = TypeVar("Node", bound=ast.AST)

_COMPARISONS: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
_OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv,
    ast.Pow: ast.Mult,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.BitXor: ast.BitOr,
}
_SYMMETRIC = ("max", "min")
# Conditions that have no mutant of their own.
_PLAIN = (ast.Name, ast.Attribute, ast.Call)


class Mutant(NamedTuple):
    """One fault: its line, that line before and after, and the whole text with it."""

    line: int
    before: str
    after: str
    source: str


def mutants(source: str, leave: frozenset[str] = frozenset()) -> list[Mutant]:
    """Every mutant of a module, in the order of its lines, without doubles.

    Functions, classes and constants of the module that are named in `leave` stay as they are.
    """
    text = _Text(source)
    found: dict[str, Mutant] = {}
    for node, replacement in _changes(ast.parse(source), leave):
        if replacement.strip("()") != ast.unparse(node).strip("()"):
            mutant = text.with_change(node, replacement)
            found.setdefault(mutant.source, mutant)
    return sorted(found.values(), key=lambda mutant: (mutant.line, mutant.after))


class _Text:
    """A source, as the bytes that the places of an `ast` count."""

    def __init__(self, source: str) -> None:
        self._lines = source.encode().splitlines(keepends=True)

    def with_change(self, node: ast.expr | ast.stmt, replacement: str) -> Mutant:
        """The text with `replacement` where `node` was."""
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        row = node.lineno - 1
        head = b"".join(self._lines[:row])
        start = self._lines[row][: node.col_offset]
        rest = self._lines[node.end_lineno - 1][node.end_col_offset :]
        changed = start + replacement.encode() + rest
        tail = b"".join(self._lines[node.end_lineno :])
        before, after = (line.decode().strip() for line in (self._lines[row], changed))
        return Mutant(node.lineno, before, after, (head + changed + tail).decode())


# --- where what may be changed ------------------------------------------------------------


def _changes(tree: ast.Module, leave: frozenset[str]) -> Iterator[tuple[ast.expr | ast.stmt, str]]:
    for statement in tree.body:
        if not _names(statement) & leave:
            yield from _below(statement)


def _names(statement: ast.stmt) -> set[str]:
    match statement:
        case ast.FunctionDef() | ast.ClassDef():
            return {statement.name}
        case ast.Assign():
            return {target.id for target in statement.targets if isinstance(target, ast.Name)}
    return set()


def _below(node: ast.AST) -> Iterator[tuple[ast.expr | ast.stmt, str]]:
    """The changes of a node and of all that is in it."""
    if _is_for_readers(node):
        return
    if isinstance(node, ast.expr):
        yield from ((node, f"({ast.unparse(one)})") for one in _of_expression(node))
    elif isinstance(node, ast.stmt):
        yield from ((node, statement) for statement in _of_statement(node))
        if isinstance(node, ast.If) and isinstance(node.test, _PLAIN):
            yield node.test, f"(not {ast.unparse(node.test)})"
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list", "type_params"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield from _below(child)


def _is_for_readers(node: ast.AST) -> bool:
    """Docstrings, sentences with figures, imports, patterns, what only the type checker reads."""
    match node:
        case ast.Expr(value=ast.Constant()) | ast.JoinedStr() | ast.Import() | ast.ImportFrom():
            return True
        case ast.pattern():
            return True
        case ast.If(test=ast.Name(id="TYPE_CHECKING")):
            return True
        case ast.Call(func=ast.Name(id="TypeVar")):
            return True
    return False


def _of_expression(node: ast.expr) -> Iterator[ast.expr]:
    match node:
        case ast.Compare():
            yield from _comparisons(node)
        case ast.Constant():
            yield from (ast.Constant(value) for value in _neighbours(node.value))
        case ast.BoolOp():
            yield _with(node, op=ast.Or() if isinstance(node.op, ast.And) else ast.And())
            yield from _without_one(node)
        case ast.UnaryOp(op=ast.Not() | ast.USub()):
            yield node.operand
        case ast.BinOp():
            yield _with(node, op=_OPERATORS[type(node.op)]())
        case ast.IfExp():
            yield _with(node, body=node.orelse, orelse=node.body)
        case ast.Call() if not isinstance(node.func, ast.Name) or node.func.id not in _SYMMETRIC:
            yield from _swapped(node)


def _comparisons(node: ast.Compare) -> Iterator[ast.expr]:
    for at, operator in enumerate(node.ops):
        for other in _COMPARISONS[type(operator)]:
            yield _with(node, ops=[*node.ops[:at], other(), *node.ops[at + 1 :]])


def _neighbours(value: object) -> Iterator[int | float | str | bytes]:
    match value:
        case bool():
            yield not value
        case int():
            yield value + 1
            yield value - 1
        case float():
            yield value + 1.0
        case bytes():
            yield value + b"x"
        case str() if " " not in value:
            yield value + "x"


def _without_one(node: ast.BoolOp) -> Iterator[ast.expr]:
    for at in range(len(node.values)):
        rest = node.values[:at] + node.values[at + 1 :]
        yield rest[0] if len(rest) == 1 else _with(node, values=rest)


def _swapped(node: ast.Call) -> Iterator[ast.expr]:
    for at in range(len(node.args) - 1):
        pair = [node.args[at + 1], node.args[at]]
        if not any(isinstance(one, ast.Starred) for one in pair):
            yield _with(node, args=[*node.args[:at], *pair, *node.args[at + 2 :]])


def _of_statement(node: ast.stmt) -> Iterator[str]:
    match node:
        case ast.Expr() | ast.Raise() | ast.Delete() | ast.Break() | ast.Continue():
            yield "pass"
        case ast.Assign(targets=[ast.Attribute() | ast.Subscript()]):
            yield "pass"
        case ast.AugAssign():
            yield "pass"
            yield ast.unparse(_with(node, op=_OPERATORS[type(node.op)]()))
        case ast.Return(value=ast.expr()) if not _is_none(node.value):
            yield "return None"


def _is_none(node: ast.expr | None) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _with(node: Node, **fields: object) -> Node:
    changed = copy.copy(node)
    for name, value in fields.items():
        setattr(changed, name, value)
    return changed
