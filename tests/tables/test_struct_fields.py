from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import given
from hypothesis import strategies as st

from aepipe.tables.parquet_reader import read_footer, slices
from aepipe.tables.struct_fields import flatten_structs, flatten_table, struct_of_field, with_struct_fields
from aepipe.tables.unification import unify_schemas

PLACES = st.lists(
    st.none()
    | st.fixed_dictionaries(
        {
            "city": st.none() | st.sampled_from(["a", "b"]),
            "geo": st.none() | st.fixed_dictionaries({"lat": st.none() | st.integers(0, 9)}),
        }
    ),
    min_size=1,
    max_size=12,
)
KIND = pa.struct([("city", pa.string()), ("geo", pa.struct([("lat", pa.int64())]))])


def expected(places: list[dict[str, object] | None]) -> dict[str, list[object]]:
    """Extract the fields in plain Python."""
    geo = [None if place is None else place["geo"] for place in places]
    return {
        "place.city": [None if place is None else place["city"] for place in places],
        "place.geo.lat": [each["lat"] if isinstance(each, dict) else None for each in geo],
    }


@given(PLACES, st.integers(0, 11))
def test_fields_are_the_values_in_the_structs_and_null_where_a_struct_is(
    places: list[dict[str, object] | None], first: int
) -> None:
    table = pa.table({"x": range(len(places)), "place": pa.array(places, KIND)}).slice(first)

    flat = flatten_table(table)

    assert flat.column_names == ["x", "place", "place.city", "place.geo.lat"]
    assert flat.schema.types == with_struct_fields(table.schema).types
    found = {name: flat[name].to_pylist() for name in flat.column_names[2:]}
    assert flatten_table(flat).equals(flat)
    assert found == {name: values[first:] for name, values in expected(places).items()}


def test_a_batch_without_structs_is_returned_as_it_is() -> None:
    batch = pa.RecordBatch.from_pydict({"x": [1]})

    assert flatten_structs(batch) is batch


def test_fields_are_read_by_name_and_with_all_columns(tmp_path: Path) -> None:
    places = [{"city": "a", "geo": {"lat": 1}}, None, {"city": None, "geo": None}]
    pq.write_table(pa.table({"place": pa.array(places, KIND), "a.b": [1, 2, 3]}), tmp_path / "x.parquet")
    files = [tmp_path / "x.parquet"]

    (one,) = slices(files, ["a.b", "place.geo.lat"], rows=9)
    (every,) = slices(files, None, rows=9)
    (whole,) = slices(files, ["place.city", "place"], rows=9)

    assert one.to_pydict() == {"a.b": [1, 2, 3], "place.geo.lat": [1, None, None]}
    assert every.schema.names == ["place", "place.city", "place.geo.lat", "a.b"] == read_footer(files[0]).schema.names
    assert whole.to_pydict() == {"place.city": ["a", None, None], "place": places}


def test_structs_with_other_fields_are_read_with_one_schema(tmp_path: Path) -> None:
    first, second = tmp_path / "1.parquet", tmp_path / "2.parquet"
    pq.write_table(pa.table({"place": [{"city": "a", "size": 1}]}), first)
    pq.write_table(pa.table({"place": [{"size": 0.5, "zip": "x"}]}), second)
    schema = unify_schemas([(path.name, read_footer(path).schema) for path in (first, second)])

    rows = [row for batch in slices([first, second], None, rows=9, schema=schema) for row in batch.to_pylist()]

    assert rows == [
        {"place": {"city": "a", "size": 1.0, "zip": None}, "place.city": "a", "place.size": 1.0, "place.zip": None},
        {"place": {"city": None, "size": 0.5, "zip": "x"}, "place.city": None, "place.size": 0.5, "place.zip": "x"},
    ]


def test_the_struct_of_each_field_is_known() -> None:
    schema = pa.schema([("place", KIND), ("x", pa.int64())])

    assert struct_of_field(with_struct_fields(schema)) == {"place.city": "place", "place.geo.lat": "place"}
