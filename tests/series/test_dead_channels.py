"""Dead channels of single entities against a loop over their rows."""

from itertools import groupby

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from aepipe.series.dead_channels import FEWEST_POINTS, Dead, find_dead, longest_runs
from aepipe.series.stage import SeriesRows

NAMES = ("b", "a", "c")
ROWS = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 40), st.sampled_from([np.nan, 1.0, 2.0]), st.integers(0, 1)),
    max_size=60,
)


def _rows(rows: list[tuple[int, int, float, int]]) -> SeriesRows:
    entity, time, values, reasons = (np.array([row[at] for row in rows]) for at in range(4))
    return SeriesRows(
        names=NAMES,
        entity=entity.astype(np.int64),
        time=time.astype(np.int64),
        values=np.column_stack([values, np.full(len(rows), 5.0)]).astype(np.float32),
        reasons=reasons.astype(np.int64),
    )


@given(ROWS)
def test_longest_runs_equal_a_walk_over_the_rows(rows: list[tuple[int, int, float, int]]) -> None:
    found = longest_runs(_rows(rows))

    for code, name in enumerate(NAMES):
        mine = sorted((row for row in rows if row[0] == code and row[3] == 0), key=lambda row: row[1])
        runs = [len(list(run)) for _, run in groupby(row[2] for row in mine if row[2] == row[2])]
        assert found[name] == (max(runs, default=0), len(mine))


def test_a_channel_is_dead_without_a_value_or_with_one_for_longer_than_in_training() -> None:
    def of(entity: int, points: int, value: float) -> list[tuple[int, int, float, int]]:
        return [(entity, at, value, 0) for at in range(points)]

    runs = {"a": (3, 1_000), "b": (3, 1_000)}

    def dead(rows: list[tuple[int, int, float, int]], known: dict[str, tuple[int, ...]] = runs) -> list[Dead]:
        return find_dead(_rows(rows), known)

    assert dead(of(0, 20, np.nan) + of(1, 20, 2.0)) == [Dead("a", 0, 2.0, 3), Dead("b", 0, None, 3)]
    assert dead(of(0, FEWEST_POINTS - 1, np.nan) + of(1, FEWEST_POINTS - 1, 2.0)) == []  # too few to tell
    assert dead([*of(0, 20, 1.0), (0, 30, 2.0, 0)]) == []
    assert dead(of(0, 20, 1.0), {"b": (20, 1_000)}) == []  # as long as in training
    assert dead(of(0, 20, np.nan), {"b": (0, 1_000)}) == []  # never had a value
    assert dead(of(2, 20, np.nan)) == []  # training did not see it
    assert dead([]) == []
