"""Roles are proposed for generated columns of every usual shape, and not for ordinary columns."""

import hashlib
import uuid
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aepipe.tables.roles.drift import find_drift
from aepipe.tables.roles.propose import propose_roles

ROWS, DAYS = 1_200, 12
DAY = np.repeat(np.arange(DAYS), ROWS // DAYS)
MIDNIGHT_S = 1_767_225_600  # 2026-01-01
DATES = [(2026, 1, 1 + day) for day in range(DAYS)]


def roles(columns: dict[str, object], *, days: int = DAYS) -> dict[str, str]:
    table = pa.table(columns)
    rows = table.num_rows // DAYS
    groups = [table.slice(day * rows, rows) for day in range(days)]
    return {each.column: each.role for each in propose_roles(groups, dates=DATES[:days], drift=find_drift(groups))}


def moments(generator: np.random.Generator) -> pa.Array:
    seconds = MIDNIGHT_S + DAY * 86_400 + generator.integers(0, 86_400, ROWS)
    return pa.array(seconds, pa.timestamp("s"))


KEYS: dict[str, Callable[[np.random.Generator], object]] = {
    "id": lambda g: np.arange(ROWS) + 70_000,
    "order_id": lambda g: g.permutation(10**7)[:ROWS],
    "transactionId": lambda g: 5 * np.arange(ROWS) + g.integers(0, 5, ROWS),
    "row_number": lambda g: np.arange(ROWS),
    "counts_up": lambda g: np.arange(ROWS),
    "event": lambda g: [str(uuid.UUID(bytes=g.bytes(16))) for _ in range(ROWS)],
    "digest": lambda g: [hashlib.sha256(g.bytes(8)).hexdigest() for _ in range(ROWS)],
    "invoice": lambda g: [f"INV-{number:06d}" for number in g.permutation(10**6)[:ROWS]],
    "guid": lambda g: pa.array([g.bytes(16) for _ in range(ROWS)], pa.binary(16)),
    "user_id": lambda g: (np.arange(ROWS) + 10**6).astype(np.float64),
}

LABELS: dict[str, Callable[[np.random.Generator], object]] = {
    "label": lambda g: g.integers(0, 2, ROWS),
    "isFraud": lambda g: g.random(ROWS) < 0.01,
    "is_anomaly": lambda g: np.zeros(ROWS, np.int64),
    "target": lambda g: g.choice(["cat", "dog", "owl"], ROWS),
    "class": lambda g: g.choice(["benign", "malignant"], ROWS),
    "churned": lambda g: g.choice(["yes", "no"], ROWS),
    "anomaly_label": lambda g: pa.nulls(ROWS, pa.int64()),
}

COUNTERS: dict[str, Callable[[np.random.Generator], object]] = {
    "loaded_at": lambda g: pa.array(MIDNIGHT_S + DAY * 86_400 + 90_000, pa.timestamp("s")),
    "meter": lambda g: 3 * np.arange(ROWS) + g.integers(0, 3, ROWS),
    "batch": lambda g: 400 + DAY,
    "day_number": lambda g: 20_260_301 + DAY,
    "version": lambda g: [f"1.{day}.0" for day in DAY],
    "epoch": lambda g: MIDNIGHT_S + DAY * 86_400 + g.integers(0, 86_400, ROWS),
    "total": lambda g: np.cumsum(g.exponential(size=ROWS)),
    "with_placeholder": lambda g: np.where(g.random(ROWS) < 0.1, -1, 10_000 + 7 * np.arange(ROWS)),
    "falls": lambda g: 10**6 - 3 * np.arange(ROWS),
}

ORDINARY: dict[str, Callable[[np.random.Generator], object]] = {
    "price": lambda g: g.lognormal(3, 1, ROWS),
    "cents": lambda g: g.permutation(10**7)[:ROWS],
    "amount": lambda g: g.normal(100 + DAY, 20),
    "age": lambda g: g.integers(18, 90, ROWS),
    "year": lambda g: g.integers(1950, 2025, ROWS),
    "year_built": lambda g: np.tile(np.sort(g.integers(1950, 2025, ROWS // DAYS)), DAYS),
    "visits": lambda g: g.poisson(5, ROWS),
    "weekday": lambda g: DAY % 7,
    "is_weekend": lambda g: DAY % 7 >= 5,
    "is_holiday": lambda g: g.random(ROWS) < 0.03,
    "customer_id": lambda g: g.integers(1, 200, ROWS),
    "postal_code": lambda g: g.integers(10_000, 99_999, ROWS),
    "born": lambda g: pa.array(g.integers(0, 20_000, ROWS).astype(np.int32), pa.date32()),
    "season": lambda g: 10 * np.sin(np.arange(ROWS) / 200) + g.normal(size=ROWS),
    "walk": lambda g: 0.02 * np.cumsum(g.normal(size=ROWS)) + g.normal(size=ROWS),
    "kind": lambda g: g.choice(["a", "b", "c"], ROWS),
    "name": lambda g: g.choice(["Ann", "Bob", "Cem", "Dee"], ROWS),
    "y": lambda g: g.normal(size=ROWS),
    "target_price": lambda g: g.lognormal(size=ROWS),
    "default_limit": lambda g: g.choice([100.0, 200.0], ROWS),
    "constant": lambda g: np.ones(ROWS),
    "empty": lambda g: pa.nulls(ROWS, pa.float64()),
    "flag": lambda g: g.random(ROWS) < 0.001,
    "id_type": lambda g: g.choice(["passport", "licence"], ROWS),
    "valid": lambda g: g.random(ROWS) < 0.99,
    "vector": lambda g: pa.array([[1.0, 2.0]] * ROWS),
    "email": lambda g: [f"u{number}@example.org" for number in [0, *g.permutation(10**6)[: ROWS - 2], 0]],
    "class_size": lambda g: g.integers(10, 30, ROWS),
    "class": lambda g: g.integers(1, 4, ROWS),
}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", KEYS)
def test_identifiers_are_keys(name: str, seed: int) -> None:
    assert roles({name: KEYS[name](np.random.default_rng(seed))}) == {name: "key"}


@pytest.mark.parametrize("name", LABELS)
def test_ground_truth_is_a_label(name: str) -> None:
    assert roles({name: LABELS[name](np.random.default_rng(0))}) == {name: "label"}


@pytest.mark.parametrize("name", COUNTERS)
def test_counters_next_to_an_event_time_are_ignored(name: str) -> None:
    generator = np.random.default_rng(0)

    found = roles({"event_time": moments(generator), name: COUNTERS[name](generator)})

    assert found == {"event_time": "event_time", name: "ignore"}


@pytest.mark.parametrize("kind", [np.int64, np.float64])
def test_seconds_since_1970_that_rise_are_the_event_time(kind: type) -> None:
    seconds = (MIDNIGHT_S + DAY * 86_400 + 7 * np.arange(ROWS)).astype(kind)

    assert roles({"moment": seconds, "price": ORDINARY["price"](np.random.default_rng(0))}) == {"moment": "event_time"}


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("name", ORDINARY)
def test_ordinary_columns_have_no_role(name: str, seed: int) -> None:
    assert roles({name: ORDINARY[name](np.random.default_rng(seed))}) == {}


@settings(max_examples=60)
@given(
    seed=st.integers(0, 10_000),
    loc=st.floats(-1e6, 1e6),
    scale=st.floats(1e-3, 1e6),
    digits=st.integers(0, 3),
    shift=st.floats(-0.3, 0.3),
    days=st.integers(2, DAYS),
)
def test_numbers_whose_level_moves_a_little_have_no_role(
    seed: int, loc: float, scale: float, digits: int, shift: float, days: int
) -> None:
    generator = np.random.default_rng(seed)

    values = np.round(generator.normal(loc + shift * scale * DAY, scale), digits)

    assert roles({"value": values}, days=days) == {}


def test_one_key_is_chosen_and_other_identifiers_are_ignored() -> None:
    generator = np.random.default_rng(0)

    found = roles({"hash": KEYS["digest"](generator), "id": KEYS["id"](generator), "x": generator.normal(size=ROWS)})

    assert found == {"id": "key", "hash": "ignore"}


@pytest.mark.parametrize("name", ["event_ts", "anything"])
def test_event_time_is_the_column_that_follows_the_dates_of_the_partitions(name: str) -> None:
    generator = np.random.default_rng(0)
    unrelated = pa.array(MIDNIGHT_S + generator.integers(-(10**8), 10**8, ROWS), pa.timestamp("s"))

    assert roles({"date": unrelated, name: moments(generator)}) == {name: "event_time"}


def test_identifier_with_missing_values_is_not_a_key() -> None:
    numbers = [None if number % 10 == 0 else number for number in range(ROWS)]

    assert "key" not in roles({"id": pa.array(numbers, pa.int64())}).values()
