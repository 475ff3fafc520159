"""Stylised facts of sets of sequences and windows, against the facts of the sorted rows."""

import numpy as np
import pyarrow as pa
import pytest

from aepipe.encoding import fit
from aepipe.jobs.sample.reference_data import Reference
from aepipe.jobs.sample.sample_facts import facts_of_set
from aepipe.quality.measure import Sides
from aepipe.quality.stylised_facts import fact_values, facts_of_windows, stylised_facts
from tests.support.columns import schema_of


def _accounts(seed: int) -> pa.Table:
    """Return the returns of twenty accounts, sorted by account and time."""
    steps = np.arange(60)
    names, times = np.repeat([f"a{number:02d}" for number in range(20)], 60), np.tile(steps, 20)
    values = np.random.default_rng(seed).standard_t(4, 1_200)
    return pa.table({"account": names, "at": times, "x": values})


def test_sequences_have_the_facts_of_their_rows_in_order() -> None:
    real, drawn = _accounts(0), _accounts(1)
    shuffled = real.take(np.random.default_rng(2).permutation(1_200))
    encoding = fit(schema_of(real, {}, entity=["account"], event_time="at"), real.to_batches())
    reference = Reference(shuffled.select(["x"]), real.select(["x"]), shuffled.select(["account", "at"]))
    sides = Sides(*(table.select(["x"]) for table in (shuffled, real, drawn)))

    ((name, synthetic, known),) = facts_of_set(encoding, sides, drawn, reference)

    account = np.repeat(np.arange(20), 60)
    assert name == "x"
    assert synthetic == stylised_facts(drawn["x"].to_numpy(), account)
    assert fact_values(known) == pytest.approx(fact_values(stylised_facts(real["x"].to_numpy(), account)))
    assert facts_of_set(encoding, sides, drawn.select(["x"]), reference) == []  # independent rows


def test_windows_have_the_facts_of_each_channel() -> None:
    generator = np.random.default_rng(0)
    real, drawn = (generator.normal(size=(40, 16, 2)).cumsum(axis=1).round(3) for _ in range(2))
    tables = [pa.table({"pulse": pa.array(each.tolist(), pa.list_(pa.list_(pa.float64())))}) for each in (real, drawn)]
    encoding = fit(schema_of(tables[0], {"pulse": "series"}), tables[0].to_batches())
    sides = Sides(tables[0], tables[0], tables[1])

    found = facts_of_set(encoding, sides, tables[1], Reference(tables[0], tables[0]))

    for (_, synthetic, known), of_drawn, of_real in zip(
        found, facts_of_windows(drawn), facts_of_windows(real), strict=True
    ):
        assert synthetic.autocorrelation == pytest.approx(of_drawn.autocorrelation, abs=1e-5)
        assert known.absolute_autocorrelation == pytest.approx(of_real.absolute_autocorrelation, abs=1e-5)
    assert len({name for name, *_ in found}) == 2
