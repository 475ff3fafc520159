import numpy as np
import pandas as pd
import pytest

from benchmarks.mixed import DETECTORS, MOST_ROWS, OURS, _finite, as_rows, measure


def orders(rows: int = 600) -> pd.DataFrame:
    """Generate orders with a rare kind, whose shops and amounts differ."""
    generator = np.random.default_rng(0)
    is_rare = generator.random(rows) < 0.08
    return pd.DataFrame(
        {
            "rownames": np.arange(rows),
            "amount": generator.normal(10 + 5 * is_rare, 2),
            "count": generator.normal(size=rows),
            "shop": pd.Categorical(
                np.where(is_rare & (generator.random(rows) < 0.9), "kiosk", generator.choice(list("abc"), rows))
            ),
            "is_new": generator.random(rows) < 0.5,
            "id": [f"order {at}" for at in range(rows)],
            "kind": np.where(is_rare, "rare", "usual"),
        }
    )


def test_the_rarest_class_becomes_the_anomalies_and_leaves_the_columns() -> None:
    frame = orders()

    rows = as_rows("shop/orders", frame)

    assert list(rows.columns) == ["amount", "count", "shop", "is_new"]  # without row names and texts that never repeat
    assert rows.is_anomaly.sum() == (frame["kind"] == "rare").sum()
    amounts = rows.columns["amount"].to_numpy()
    assert set(amounts[rows.is_anomaly]) == set(frame.loc[frame["kind"] == "rare", "amount"])


@pytest.mark.parametrize(
    "change",
    [
        lambda frame: frame.head(299),
        lambda frame: frame.drop(columns=["kind", "shop"]),
        lambda frame: frame.drop(columns=["shop", "is_new"]).assign(a=1.5 * frame["amount"]),
        lambda frame: frame.drop(columns=["shop"]).assign(kind=np.where(np.arange(len(frame)) < 5, "rare", "usual")),
    ],
)
def test_tables_without_categories_or_a_rare_class_are_left_out(change) -> None:
    assert as_rows("shop/orders", change(orders())) is None


def test_large_tables_are_cut_to_a_random_sample() -> None:
    assert len(as_rows("shop/orders", orders(6_000)).columns) == MOST_ROWS


def test_neighbours_of_training_rows_are_other_rows() -> None:
    train = as_rows("shop/orders", orders()).columns

    own = DETECTORS["1 nearest neighbour"](train, train, "polluted")
    as_new = DETECTORS["1 nearest neighbour"](train, train, "clean")

    np.testing.assert_allclose(as_new, 0, atol=1e-6)
    assert own.min() > 0


def test_rows_without_a_score_count_as_the_most_anomalous() -> None:
    assert _finite(np.array([1.0, np.nan, 3.0])).tolist() == [1.0, 4.0, 3.0]


@pytest.mark.slow
def test_every_detector_finds_a_class_that_differs() -> None:
    found = measure(as_rows("shop/orders", orders()))

    assert {protocol for _, protocol, _ in found} == {"clean", "polluted"}
    assert {who for *_, who in found} == set(DETECTORS)
    assert all(each.auroc > 0.6 for (_, protocol, _), each in found.items() if protocol == "clean")
    assert found["shop/orders", "clean", OURS].auroc > 0.95
