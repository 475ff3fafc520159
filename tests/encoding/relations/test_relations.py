"""Relations between columns are found on training rows, and sampled rows then hold them."""

import json
from itertools import combinations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from aepipe.encoding import Encoding, fit
from aepipe.encoding.relations.apply import RelatedRows
from aepipe.encoding.relations.find import FoundRelations, Keys, column_maps, find_relations
from aepipe.encoding.relations.numeric_view import numbers_of
from aepipe.encoding.relations.relation import EXACT, Relation
from aepipe.tables.schema import Column, Schema

ROWS = 4_000


def encoding_of(table: pa.Table) -> Encoding:
    kinds = {"number": "number", "text": "category", "boolean": "boolean", "time": "datetime"}
    from aepipe.tables.arrow_types import sort_of

    columns = [
        Column(name=field.name, kind=kinds[sort_of(field.type)], type=str(field.type), why="")  # type: ignore[arg-type]
        for field in table.schema
    ]
    return fit(Schema.of(columns, table.schema), table.to_batches(), as_codes=True)


def found(table: pa.Table) -> tuple[FoundRelations, RelatedRows]:
    encoding = encoding_of(table)
    relations = find_relations(encoding, table)
    again = [Relation.model_validate_json(each.model_dump_json()) for each in relations.relations]
    return relations, RelatedRows(again, relations.maps, encoding)


def shuffled(table: pa.Table, seed: int = 1) -> pa.RecordBatch:
    """Shuffle each column by itself, which breaks all relations."""
    generator = np.random.default_rng(seed)
    columns = [
        column.take(pa.array(generator.permutation(table.num_rows))).combine_chunks() for column in table.columns
    ]
    return pa.RecordBatch.from_arrays(columns, schema=table.schema)


def applied(table: pa.Table) -> tuple[tuple[str, ...], pa.Table]:
    relations, rows = found(table)
    uniform = np.random.default_rng(2).random((table.num_rows, len(relations.relations)))
    drawn, possible = rows.apply(shuffled(table), uniform)
    assert drawn.schema == table.schema
    return tuple(each.title for each in relations.relations), pa.Table.from_batches([drawn.filter(pa.array(possible))])


def numbers(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_sum_of_two_amounts_is_derived_to_the_cent() -> None:
    generator = numbers()
    net = np.round(generator.lognormal(4, 1, ROWS), 2)
    vat = np.round(net * generator.choice([0.07, 0.19], ROWS), 2)
    titles, drawn = applied(pa.table({"net": net, "vat": vat, "gross": np.round(net + vat, 2)}))

    assert titles == ("gross = net + vat",)
    assert np.abs(drawn["gross"].to_numpy() - drawn["net"].to_numpy() - drawn["vat"].to_numpy()).max() < 1e-6


@pytest.mark.parametrize("kind", [pa.int32(), pa.float64(), pa.decimal128(21, 2), pa.duration("s"), pa.duration("ms")])
def test_rows_whose_sum_no_draw_of_its_column_has_are_left_out(kind: pa.DataType) -> None:
    """Only together are the two large: sums of draws that do not know this reach beyond all sums of training."""
    generator = numbers()
    parts = generator.integers(1, 1_000, (2, ROWS))
    parts[1] = np.where(parts[0] > 500, parts[1] % 300 + 1, parts[1])
    columns = {"one": parts[0], "other": parts[1], "sum": parts[0] + parts[1]}
    table = pa.table({name: pa.array(values).cast(kind) for name, values in columns.items()})
    relations, rows = found(table)
    (relation,) = relations.relations
    drawn = shuffled(table)
    as_numbers = {name: numbers_of(drawn[name]) for name in drawn.schema.names}
    sums = as_numbers[relation.sources[0]] * relation.factors[0] + as_numbers[relation.sources[1]] * relation.factors[1]
    training = numbers_of(table[relation.target].combine_chunks())

    derived, possible = rows.apply(drawn, np.zeros((ROWS, 1)))

    is_inside = (sums >= training.min() - relation.step) & (sums <= training.max() + relation.step)
    assert 0.7 < is_inside.mean() < 0.98
    assert possible.tolist() == is_inside.tolist()
    assert numbers_of(derived[relation.target])[possible] == pytest.approx(sums[possible])


def test_rows_that_end_after_all_others_are_left_out() -> None:
    generator = numbers()
    first = np.datetime64("2026-01-01T00:00:00", "us")
    seconds = generator.integers(1, 900_000, ROWS)
    begun = generator.integers(0, 1_000_000, ROWS)
    begun = np.where(seconds > 100_000, begun % 100_000, begun)
    moments = [first + (ticks * 1_000_000).astype("timedelta64[us]") for ticks in (begun, begun + seconds)]
    table = pa.table({"begun": moments[0], "seconds": seconds, "ended": moments[1]})
    relations, rows = found(table)
    (relation,) = relations.relations
    drawn = shuffled(table)

    derived, possible = rows.apply(drawn, np.zeros((ROWS, 1)))

    target = relation.target
    training, made = numbers_of(table[target].combine_chunks()), numbers_of(derived[target])
    assert 0.5 < possible.mean() < 0.98
    assert possible.tolist() == ((made >= training.min()) & (made <= training.max())).tolist()


def test_a_sum_that_not_all_rows_hold_is_not_derived_beyond_the_range() -> None:
    generator = numbers()
    parts = generator.integers(1, 1_000, (2, ROWS))
    parts[1] = np.where(parts[0] > 500, parts[1] % 300 + 1, parts[1])
    sums = np.where(generator.random(ROWS) < 0.9, parts.sum(0), generator.integers(2, 1_300, ROWS))
    table = pa.table({"one": parts[0], "other": parts[1], "sum": sums})
    relations, rows = found(table)
    (relation,) = relations.relations
    drawn = shuffled(table)

    derived, possible = rows.apply(drawn, np.zeros((ROWS, 1)))

    assert relation.target == "sum"
    assert not relation.is_exact
    assert possible.all()
    added = drawn["one"].to_numpy() + drawn["other"].to_numpy()
    is_inside = (added >= sums.min() - 1) & (added <= sums.max() + 1)
    assert (~is_inside).sum() > 100
    assert derived["sum"].to_numpy().tolist() == np.where(is_inside, added, drawn["sum"].to_numpy()).tolist()


def test_product_is_derived() -> None:
    generator = numbers()
    pieces = generator.integers(1, 40, ROWS)
    price = np.round(generator.lognormal(2, 1, ROWS), 2)
    titles, drawn = applied(pa.table({"pieces": pieces, "price": price, "total": np.round(pieces * price, 2)}))

    assert titles == ("total = pieces x price",)
    assert drawn["total"].to_numpy() == pytest.approx(
        drawn["pieces"].to_numpy() * drawn["price"].to_numpy(), abs=0.0051
    )


def test_linear_function_and_copy_are_derived() -> None:
    celsius = np.round(numbers().normal(15, 8, ROWS), 1)
    table = pa.table({"celsius": celsius, "fahrenheit": np.round(celsius * 1.8 + 32, 1), "again": celsius})
    titles, drawn = applied(table)

    assert set(titles) == {"fahrenheit = 1.8 celsius + 32", "again = celsius"}
    assert drawn["again"].equals(drawn["celsius"])
    assert drawn["fahrenheit"].to_numpy() == pytest.approx(drawn["celsius"].to_numpy() * 1.8 + 32, abs=0.051)


def test_category_that_follows_from_another_is_looked_up() -> None:
    generator = numbers()
    city = generator.choice(["Rome", "Milan", "Paris", "Lyon"], ROWS)
    land = np.where(np.isin(city, ["Rome", "Milan"]), "IT", "FR")
    titles, drawn = applied(
        pa.table({"land": land, "city": pa.array(city).dictionary_encode(), "x": generator.random(ROWS)})
    )

    assert titles == ("land follows from city",)
    expected = ["IT" if each in ("Rome", "Milan") else "FR" for each in drawn["city"].to_pylist()]
    assert drawn["land"].to_pylist() == expected


def test_number_that_follows_from_two_columns_is_looked_up_and_unknown_combinations_are_impossible() -> None:
    generator = numbers()
    ends = [
        ("JFK", "LAX"),
        ("JFK", "SFO"),
        ("EWR", "LAX"),
        ("EWR", "ORD"),
        ("LGA", "ORD"),
        ("LGA", "MIA"),
        ("JFK", "MIA"),
    ]
    miles = dict(zip(ends, [2475, 2586, 2454, 719, 733, 1096, 1089], strict=True))
    chosen = [ends[at] for at in generator.integers(0, len(ends), ROWS)]
    table = pa.table(
        {"origin": [o for o, _ in chosen], "dest": [d for _, d in chosen], "distance": [miles[each] for each in chosen]}
    )
    titles, drawn = applied(table)

    # each distance occurs once and determines both ends, which is an equivalent relation
    assert titles in (
        ("distance follows from origin and dest",),
        ("origin follows from distance", "dest follows from distance"),
    )
    assert drawn.num_rows > 0
    for row in drawn.to_pylist():
        assert miles[row["origin"], row["dest"]] == row["distance"]


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_computed_floats_are_looked_up_by_their_rounded_forms(dtype: type) -> None:
    """0.1 + 0.2 is not the float nearest to 0.3, and draws are rounded; a number in between is unknown."""
    generator = np.random.default_rng(0)
    place = generator.integers(1, 40, ROWS)
    computed = np.asarray(place, dtype) * dtype(0.1)
    table = pa.table({"x": computed, "target": generator.integers(0, 9, 40)[place].astype(np.float64) * 7.3})
    relations, related = found(table)
    assert [each.kind for each in relations.relations] == ["map"]
    rounded = np.round(computed, 1).astype(dtype)
    assert (rounded != computed).any()

    drawn = pa.RecordBatch.from_pydict({"x": rounded, "target": np.zeros(ROWS)})
    rows, possible = related.apply(drawn, np.zeros((ROWS, 1)))
    between = pa.RecordBatch.from_pydict({"x": np.asarray(rounded + 1e-4, dtype), "target": np.zeros(ROWS)})
    _, others = related.apply(between, np.zeros((ROWS, 1)))

    assert possible.all()
    assert rows["target"].equals(table["target"].combine_chunks())
    assert not others.any()


@pytest.mark.parametrize(("share", "is_derived"), [(0.002, True), (0.03, False)])
def test_two_columns_whose_combinations_are_often_new_derive_no_third(share: float, is_derived: bool) -> None:
    first, second = numbers().integers(0, 10, (2, ROWS))
    for at in range(int(share * ROWS)):  # a combination of its own
        first[at], second[at] = 10 + at % 20, 10 + at // 20
    columns = {"first": first, "second": second, "third": (first * second) % 5}
    table = pa.table({name: [f"v{code}" for code in values] for name, values in columns.items()})

    found = [each.target for each in column_maps(table, Keys(table), 2)]

    assert found == (["third"] if is_derived else [])


def test_times_and_clock_integers_add_up() -> None:
    generator = numbers()
    start = np.datetime64("2026-01-01T00:00:00", "s") + generator.integers(0, 10_000_000, ROWS)
    seconds = generator.integers(60, 7_200, ROWS)
    plan = generator.integers(5 * 60, 23 * 60, ROWS)
    delay = np.rint(generator.exponential(30, ROWS)).astype(np.int64) - 10
    actual = (plan + delay) % 1_440
    clock = [minutes // 60 * 100 + minutes % 60 for minutes in (plan, actual)]
    table = pa.table(
        {
            "start": pa.array(start, pa.timestamp("us")),
            "seconds": seconds,
            "end": pa.array(start + seconds, pa.timestamp("us")),
            "plan": pa.array(clock[0], pa.int32()),
            "actual": pa.array(clock[1], pa.int32()),
            "delay": delay,
        }
    )
    titles, drawn = applied(table)

    assert "actual is a clock time" in titles
    assert (
        "actual = plan + delay minutes (clock times)" in titles
        or "plan = actual + delay minutes (clock times)" in titles
    )
    span = drawn["end"].to_numpy() - drawn["start"].to_numpy()
    assert (span.astype("timedelta64[s]").astype(np.int64) == drawn["seconds"].to_numpy()).all()
    minutes = [drawn[name].to_numpy() // 100 * 60 + drawn[name].to_numpy() % 100 for name in ("plan", "actual")]
    assert ((minutes[0] + drawn["delay"].to_numpy() - minutes[1]) % 1_440 == 0).all()


def test_clock_integers_have_no_minutes_beyond_59() -> None:
    minutes = numbers().integers(0, 1_440, ROWS)
    table = pa.table({"at": minutes // 60 * 100 + minutes % 60, "x": numbers(1).random(ROWS)})
    relations, rows = found(table)
    drawn = pa.record_batch({"at": pa.array([1375, 1260, 59, None], pa.int64()), "x": [0.0, 0.1, 0.2, 0.3]})

    fixed, _ = rows.apply(drawn, np.zeros((4, len(relations.relations))))

    assert fixed["at"].to_pylist() == [1335, 1220, 59, None]


def test_columns_are_missing_together() -> None:
    generator = numbers()
    gone, late = generator.random(ROWS) < 0.1, generator.random(ROWS) < 0.1
    values = generator.random((3, ROWS))
    table = pa.table(
        {
            "left": pa.array(values[0], mask=gone),
            "flown": pa.array(values[1], mask=gone),
            "landed": pa.array(values[2], mask=gone | late),
        }
    )
    titles, drawn = applied(table)

    missing = {name: np.array(drawn[name].is_null().to_pylist()) for name in drawn.column_names}
    assert set(titles) == {"flown is missing where left is, and only there", "landed is missing where left is"}
    assert (missing["left"] == missing["flown"]).all()
    assert (missing["landed"] | ~missing["left"]).all()
    assert missing["left"].mean() == pytest.approx(0.1, abs=0.02)


def test_column_that_equals_another_now_and_then_does_so_as_often_where_the_model_is_close() -> None:
    generator = numbers()
    bill = np.rint(generator.lognormal(8, 1, ROWS)).astype(np.int64)
    paid = np.where(generator.random(ROWS) < 0.2, bill, np.rint(bill * generator.random(ROWS)).astype(np.int64))
    table = pa.table({"bill": bill, "paid": paid})
    relations, rows = found(table)
    encoding = encoding_of(table)
    encoded = encoding.encode_table(table, rows=2_048).arrays
    drawn = encoding.decode(encoded, np.random.default_rng(3).random(encoded["cat"].shape))

    related, _ = rows.apply(drawn, np.random.default_rng(4).random((ROWS, len(relations.relations))))

    before, after = (np.mean(np.array(each["bill"]) == np.array(each["paid"])) for each in (drawn, related))
    assert [each.title for each in relations.relations] == ["paid = bill"]
    assert before < 0.05
    assert after == pytest.approx((bill == paid).mean(), abs=0.06)


@pytest.mark.parametrize("seed", range(5))
def test_independent_columns_have_no_relations(seed: int) -> None:
    generator = numbers(seed)
    table = pa.table(
        {
            "zeros": np.where(generator.random(ROWS) < 0.95, 0, generator.integers(1, 9_999, ROWS)),
            "more zeros": np.where(generator.random(ROWS) < 0.9, 0, generator.integers(1, 9_999, ROWS)),
            "small": generator.integers(0, 3, ROWS),
            "count": generator.integers(0, 5, ROWS),
            "rare": generator.choice(["a", "b"], ROWS, p=[0.997, 0.003]),
            "kind": generator.choice(["u", "v", "w"], ROWS),
            "hole": pa.array(generator.random(ROWS), mask=generator.random(ROWS) < 0.3),
            "gap": pa.array(generator.random(ROWS), mask=generator.random(ROWS) < 0.02),
        }
    )
    assert find_relations(encoding_of(table), table) == FoundRelations()


def test_each_target_follows_from_others_without_a_circle() -> None:
    code = numbers().integers(0, 50, ROWS)
    table = pa.table({"code": code, "name": [f"n{each}" for each in code], "number": code * 10})
    relations, _ = found(table)

    targets = [each.target for each in relations.relations]
    assert len(targets) == 2
    known = set(table.column_names) - set(targets)
    for relation in relations.relations:
        assert set(relation.sources) <= known
        known.add(relation.target)
    assert json.loads(relations.relations[0].model_dump_json())["share"] == 1.0


def test_sum_is_found_among_many_columns() -> None:
    generator = numbers()
    columns = {f"n{at}": np.round(generator.lognormal(3, 1, ROWS), 2) for at in range(40)}
    table = pa.table(columns | {"total": np.round(columns["n3"] + columns["n38"], 2)})

    relations, _ = found(table)

    assert [each.title for each in relations.relations] == ["total = n3 + n38"]


def test_numbers_beyond_float32_have_no_relations_and_no_warnings(recwarn: pytest.WarningsRecorder) -> None:
    huge = 10.0 ** np.linspace(-300, 300, ROWS)
    table = pa.table({"a": huge, "b": huge, "c": numbers().normal(size=ROWS)})
    encoding = encoding_of(table.slice(ROWS // 2, 100))

    assert find_relations(encoding, table).relations == ()
    assert [str(each.message) for each in recwarn if each.category is RuntimeWarning] == []


@pytest.mark.parametrize("seed", range(6))
def test_maps_are_the_columns_that_brute_force_finds(seed: int) -> None:
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, 4, (ROWS, 5))
    codes[:, 3] = codes[:, 0] // 2
    codes[:, 4] = (codes[:, 0] + codes[:, 1]) % 3
    wrong = rng.permutation(ROWS)[: (0, 1, 2, 3, 4, 40)[seed]]
    codes[wrong, 3:] = 3
    table = pa.table({f"x{at}": pa.array([f"v{code}" for code in column]) for at, column in enumerate(codes.T)})

    maps = {
        (each.sources, each.target): each.share for width in (1, 2) for each in column_maps(table, Keys(table), width)
    }

    expected = {}
    for width in (1, 2):
        for sources in combinations(range(5), width):
            for target in set(range(5)) - set(sources):
                groups = pd.DataFrame(codes).groupby(list(sources))[target]
                share = groups.agg(lambda values: values.value_counts().iloc[0]).sum() / ROWS
                if share >= EXACT:
                    expected[tuple(f"x{at}" for at in sources), f"x{target}"] = share
    assert maps == pytest.approx(expected)
