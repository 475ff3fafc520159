"""Results that depend on a schema are computed again when it changes, in any part of it."""

import pyarrow as pa
import pytest

from aepipe.tables.last_schema import OfLastSchema, Same

PLAIN = pa.schema([pa.field("a", pa.int8())])


def test_equal_schemas_are_computed_once() -> None:
    seen: list[pa.Schema] = []
    names = OfLastSchema(lambda schema, key: seen.append(schema) or (schema.names, key))

    again = pa.schema([pa.field("a", pa.int8())])
    assert names(PLAIN, "x") == names(again, "x") == (["a"], "x")
    assert len(seen) == 1


@pytest.mark.parametrize(
    "other",
    [
        pa.schema([pa.field("b", pa.int8())]),
        pa.schema([pa.field("a", pa.int16())]),
        pa.schema([pa.field("a", pa.int8(), nullable=False)]),
        pa.schema([pa.field("a", pa.int8(), metadata={"notation": "iso"})]),
        pa.schema([pa.field("a", pa.int8())], metadata={"pandas": "{}"}),
        pa.schema([pa.field("a", pa.int8()), pa.field("b", pa.int8())]),
    ],
    ids=["name", "type", "nullable", "metadata of a field", "metadata", "another column"],
)
def test_another_schema_is_computed_again(other: pa.Schema) -> None:
    shown = OfLastSchema(lambda schema, _: schema)

    assert [shown(PLAIN, 0) is PLAIN, shown(other, 0) is other, shown(PLAIN, 0) is PLAIN] == [True] * 3


def test_another_key_is_computed_again_and_equal_objects_are_not_the_same() -> None:
    keys = OfLastSchema(lambda _, key: key.value)
    first, second = [1], [1]

    assert keys(PLAIN, Same(first)) is first
    assert keys(PLAIN, Same(second)) is second
    assert Same(first) == Same(first) != Same(second)
