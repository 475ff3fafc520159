"""Grammar of conditions: text to tree, with a caret under each fault. `evaluate` applies the tree."""

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from aepipe.errors import OptionInvalid

_DEEPEST = 100
_KEYWORDS = {"and", "or", "not", "in", "is", "null", "true", "false"}
_FLIPPED = {"=": "=", "!=": "!=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}
_TOKEN = re.compile(
    r"""\s*(?:
      (?P<number>[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)
    | (?P<text>'(?:[^']|'')*')
    | (?P<quoted>"(?:[^"]|"")+"|`[^`]+`)
    | (?P<word>[^\W\d]\w*(?:\.\w+)*)
    | (?P<sign><=|>=|<>|!=|==|=|<|>|\(|\)|,)
    )""",
    re.VERBOSE,
)


class _Token(NamedTuple):
    kind: str
    text: str
    at: int


class Column(NamedTuple):
    """Column name, its position in the text, and whether it is quoted."""

    name: str
    at: int
    quoted: bool


class Literal(NamedTuple):
    """Value, its notation, and its position in the text."""

    value: bool | int | float | str
    written: str
    at: int


class Compare(NamedTuple):
    """`left sign right`."""

    sign: str
    left: Column
    right: "Column | Literal"


class In(NamedTuple):
    """`column in (values)`."""

    column: Column
    values: tuple[Literal, ...]


class IsNull(NamedTuple):
    """`column is null`."""

    column: Column


class Holds(NamedTuple):
    """Boolean column by itself."""

    column: Column


class Not(NamedTuple):
    """`not inner`."""

    inner: "Node"


class All(NamedTuple):
    """`part and part ...`."""

    parts: "tuple[Node, ...]"


class Any(NamedTuple):
    """`part or part ...`."""

    parts: "tuple[Node, ...]"


Node = Compare | In | IsNull | Holds | Not | All | Any


def fault(text: str, at: int, message: str) -> OptionInvalid:
    """Return the error for a fault at a character of the text, with a caret under it."""
    line = re.sub(r"\s", " ", text)
    return OptionInvalid(f"condition, character {at + 1}: {message}\n  {line}\n  {' ' * at}^")


def _tokens(text: str) -> Iterator[_Token]:
    at = 0
    end = len(text.rstrip())
    while at < end:
        match = _TOKEN.match(text, at)
        if match is None or match.lastgroup is None:
            at += len(text[at:]) - len(text[at:].lstrip())
            message = f"unexpected character '{text[at]}'; put column names that are not plain words in double quotes"
            if text[at] in "'\"`":
                message = f"the quote {text[at]} is not closed"
            raise fault(text, at, message)
        yield _Token(match.lastgroup, match[match.lastgroup], match.start(match.lastgroup))
        at = match.end()
    yield _Token("end", "", end)


def parse_tree(text: str) -> Node:
    """Parse a condition into a tree. Raises OptionInvalid."""
    parser = _Parser(text, tuple(_tokens(text)))
    node = parser.either()
    if parser.next.kind != "end":
        raise fault(text, parser.next.at, f"expected 'and', 'or' or the end, found {_shown(parser.next)}")
    return node


def parse_literal(text: str) -> Literal:
    """Parse one value: a number, true, false or text in single quotes. Raises OptionInvalid."""
    parser = _Parser(text, tuple(_tokens(text)))
    literal = parser.literal()
    if parser.next.kind != "end":
        raise fault(text, parser.next.at, f"expected one value, found {_shown(parser.next)}")
    return literal


def _shown(token: _Token) -> str:
    return "the end" if token.kind == "end" else token.text if token.kind in ("text", "quoted") else f"'{token.text}'"


class _Parser:
    """Recursive descent: either > both > negation > predicate."""

    def __init__(self, text: str, tokens: Sequence[_Token]) -> None:
        self.text, self.tokens, self.at, self.depth = text, tokens, 0, 0

    @property
    def next(self) -> _Token:
        return self.tokens[self.at]

    def take(self) -> _Token:
        token = self.next
        self.at = min(self.at + 1, len(self.tokens) - 1)
        return token

    def took(self, *words: str) -> bool:
        """Take the next token if it is one of these words or signs; return whether it was."""
        found = self.next.kind in ("word", "sign") and self.next.text.lower() in words
        self.at += found
        return found

    def expect(self, sign: str, where: str) -> None:
        if not self.took(sign):
            raise self.fault(f"expected '{sign}' {where}, found {_shown(self.next)}")

    def fault(self, message: str) -> OptionInvalid:
        return fault(self.text, self.next.at, message)

    def either(self) -> Node:
        parts = [self.both()]
        while self.took("or"):
            parts.append(self.both())
        return parts[0] if len(parts) == 1 else Any(tuple(parts))

    def both(self) -> Node:
        parts = [self.negation()]
        while self.took("and"):
            parts.append(self.negation())
        return parts[0] if len(parts) == 1 else All(tuple(parts))

    def negation(self) -> Node:
        self.depth += 1
        if self.depth > _DEEPEST:
            raise self.fault(f"nested deeper than {_DEEPEST}")
        if self.took("not"):
            node: Node = Not(self.negation())
        elif self.took("("):
            node = self.either()
            self.expect(")", "to close a parenthesis")
        else:
            node = self.predicate()
        self.depth -= 1
        return node

    def predicate(self) -> Node:
        left = self.operand("a column")
        if isinstance(left, Column):
            negated = self.took("not")
            if self.took("in"):
                return self.negate_if(negated, In(left, self.values()))
            if negated:
                raise self.fault(f"expected 'in' after 'not', found {_shown(self.next)}")
            if self.took("is"):
                negated = self.took("not")
                self.expect("null", "after 'is'")
                return self.negate_if(negated, IsNull(left))
        return self.comparison(left)

    def negate_if(self, negated: bool, node: Node) -> Node:
        return Not(node) if negated else node

    def comparison(self, left: Column | Literal) -> Node:
        found = self.next
        if not self.took("=", "==", "!=", "<>", "<", "<=", ">", ">="):
            if isinstance(left, Column):
                return Holds(left)
            raise self.fault(f"expected a comparison after {left.written}, found {_shown(found)}")
        sign = {"==": "=", "<>": "!="}.get(found.text, found.text)
        right = self.operand(f"a value after '{found.text}'")
        if isinstance(left, Column):
            return Compare(sign, left, right)
        if isinstance(right, Literal):
            raise fault(self.text, left.at, "expected at least one column in a comparison")
        return Compare(_FLIPPED[sign], right, left)

    def values(self) -> tuple[Literal, ...]:
        self.expect("(", "after 'in'")
        found = [self.literal()]
        while self.took(","):
            found.append(self.literal())
        self.expect(")", "to close the list")
        return tuple(found)

    def literal(self) -> Literal:
        operand = self.operand("a value")
        if isinstance(operand, Column):
            raise fault(
                self.text,
                operand.at,
                f"expected a value, found a column; put text in single quotes: '{operand.name}'",
            )
        return operand

    def operand(self, expected: str) -> Column | Literal:
        token = self.next
        lower = token.text.lower()
        if token.kind in ("end", "sign") or (token.kind == "word" and lower in _KEYWORDS - {"true", "false"}):
            hint = "; use 'is null' to find missing values" if lower == "null" else ""
            raise self.fault(f"expected {expected}, found {_shown(token)}{hint}")
        self.take()
        if token.kind == "quoted":
            return Column(token.text[1:-1].replace('""', '"'), token.at, True)
        if token.kind == "word" and lower not in _KEYWORDS:
            return Column(token.text, token.at, False)
        return Literal(_value(token), token.text, token.at)


def _value(token: _Token) -> bool | int | float | str:
    if token.kind == "text":
        return token.text[1:-1].replace("''", "'")
    if token.kind == "word":
        return token.text.lower() == "true"
    return int(token.text) if re.fullmatch(r"[+-]?[0-9]+", token.text) else float(token.text)


def columns(node: Node) -> Iterator[Column]:
    """Yield every mention of a column."""
    match node:
        case All(parts) | Any(parts):
            for part in parts:
                yield from columns(part)
        case Not(inner):
            yield from columns(inner)
        case Compare(_, left, right):
            yield left
            if isinstance(right, Column):
                yield right
        case In(column) | IsNull(column) | Holds(column):
            yield column
