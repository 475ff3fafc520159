"""Counts and seconds."""

import time

from aepipe.batch.tally import STAGES, Tally


def test_tallies_add_up() -> None:
    one, other = Tally(rows=2, flagged=1), Tally(rows=3)
    one.invalid["infinite"] = 1
    other.invalid["infinite"] = 2
    other.unseen["colour"] = 4
    one.seconds["read"], other.seconds["read"] = 0.25, 0.5

    one.add(other)

    assert (one.rows, one.flagged, one.invalid, one.unseen) == (5, 1, {"infinite": 3}, {"colour": 4})
    assert one.seconds == {**dict.fromkeys(STAGES, 0.0), "read": 0.75}


def test_seconds_are_those_of_the_block() -> None:
    tally = Tally()

    with tally.timed("infer"):
        time.sleep(0.01)

    assert tally.seconds["infer"] >= 0.01
