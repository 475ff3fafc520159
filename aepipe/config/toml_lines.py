"""Line numbers of keys in TOML text: tomllib keeps no positions."""

import re
import tomllib
from collections.abc import Iterator

_KEY = r"""(?:"(?:\\.|[^"\\])*"|'[^']*'|[A-Za-z0-9_-]+)"""
_DOTTED = rf"{_KEY}(?:\s*\.\s*{_KEY})*"
_HEADER = re.compile(rf"\s*\[(\[?)\s*({_DOTTED})\s*\]")
_ASSIGNMENT = re.compile(rf"\s*({_DOTTED})\s*=")
_TRIPLE_QUOTES = re.compile(r'"""|\'\'\'')

Path = tuple[str, ...]


def find_line(path: Path, text: str) -> int | None:
    r"""Return the number of the first line that sets this key or a table that holds it; None if no line does.

    Args:
        path: parts of the key; elements of arrays of tables are numbered from "0".
        text: the TOML document.

    >>> find_line(("samples", "constraints", "1"), "[[samples.constraints]]\nlow = 1\n[[samples.constraints]]")
    3
    """
    for number, found, is_header in _definitions(text):
        if path and (found == path if is_header else found == path[: len(found)]):
            return number
    return None


def _definitions(text: str) -> Iterator[tuple[int, Path, bool]]:
    """Yield line number, full path and whether it is a table header, for each header and assignment."""
    table: Path = ()
    elements: dict[Path, int] = {}
    in_string = False
    for number, line in enumerate(text.splitlines(), 1):
        if not in_string:
            if header := _HEADER.match(line):
                table = ()
                *parents, last = _parts(header[2])
                for part in parents:
                    table = _with_element((*table, part), elements)
                table = (*table, last)
                if header[1]:
                    elements[table] = elements.get(table, -1) + 1
                table = _with_element(table, elements)
                yield number, table, True
            elif assignment := _ASSIGNMENT.match(line):
                yield number, (*table, *_parts(assignment[1])), False
        in_string ^= len(_TRIPLE_QUOTES.findall(line)) % 2 == 1


def _with_element(table: Path, elements: dict[Path, int]) -> Path:
    """Append the number of the current element if the table is an array of tables."""
    return (*table, str(elements[table])) if table in elements else table


def _parts(dotted: str) -> Path:
    """Split a dotted key.

    >>> _parts('columns."a = b".kind')
    ('columns', 'a = b', 'kind')
    """
    parts: list[str] = []
    value: object = tomllib.loads(f"{dotted} = 0")
    while isinstance(value, dict):
        ((key, value),) = value.items()
        parts.append(key)
    return tuple(parts)
