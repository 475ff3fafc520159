"""Text of a document as YAML: mappings, lists, texts, numbers, booleans and nulls. Reading needs a library."""

import json
import re
from collections.abc import Iterator
from typing import Any

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_./ -]*[A-Za-z0-9_/]|[A-Za-z_]")
_RESERVED = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null", "nan", "inf"})
_UNPRINTABLE = re.compile("[\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]")


def to_yaml(document: dict[str, Any]) -> str:
    """Return a document as YAML in block style, equal text for equal documents.

    >>> print(to_yaml({"name": "a: b", "sizes": [1, 2], "open": True}), end="")
    name: "a: b"
    sizes:
    - 1
    - 2
    open: true
    """
    return "".join(f"{line}\n" for line in _mapping(document))


def _mapping(values: dict[str, Any]) -> Iterator[str]:
    for name, value in values.items():
        key = _scalar(str(name))
        if isinstance(value, dict) and value:
            yield f"{key}:"
            yield from (f"  {line}" for line in _mapping(value))
        elif isinstance(value, list | tuple) and value:
            yield f"{key}:"
            yield from _items(value)
        else:
            yield f"{key}: {_scalar(value)}"


def _items(values: list[Any] | tuple[Any, ...]) -> Iterator[str]:
    for value in values:
        if isinstance(value, dict) and value:
            first, *rest = _mapping(value)
            yield f"- {first}"
            yield from (f"  {line}" for line in rest)
        else:
            yield f"- {_scalar(value)}"


def _scalar(value: object) -> str:
    if isinstance(value, str):
        if _PLAIN.fullmatch(value) and value.lower() not in _RESERVED:
            return value
        quoted = json.dumps(value, ensure_ascii=False)
        return _UNPRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", quoted)
    return json.dumps(value if not isinstance(value, tuple) else list(value))
