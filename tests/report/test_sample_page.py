"""The page of a set of synthetic rows."""

from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pytest

from aepipe.config.sample_requirements import Quality
from aepipe.quality.checks import run_checks
from aepipe.quality.measure import Sides, measure_table
from aepipe.report.figures.pair_heatmap import draw_pair_heatmap
from aepipe.report.sample_page import SamplePage, explain_checks, render_sample_page
from tests.support.quality_tables import real, synthetic

BARS = Quality(shapes=0.99, trees=0.99)


@pytest.fixture(scope="module")
def page() -> SamplePage:
    """Return the page of a set that repeats training rows."""
    learned, held_out = real().slice(0, 250), real().slice(250)
    sides = Sides(learned, held_out, pa.concat_tables([learned, synthetic().slice(0, 50)]))
    measures = measure_table(sides, categories=(), predict="owner", seed=0)
    return SamplePage(
        job="people <b>",
        model_version="people/1",
        partition="dt=2026-02-01",
        written_at=datetime(2026, 2, 1, tzinfo=UTC),
        rows=300,
        seed=7,
        quality=run_checks(measures, BARS),
        real=sides.held_out,
        synthetic=sides.synthetic,
        condition="town = 'Ulm'",
        rejected={"low < high": 12},
    )


def test_memorised_rows_fail_the_default_checks(page: SamplePage) -> None:
    checks = {check.key: check for check in page.quality.checks}

    assert checks["copies"].value == pytest.approx(250 / 300)
    assert checks["copies"].is_met is False
    assert checks["closeness"].value > 0.7
    assert checks["closeness"].is_met is False
    assert checks["shapes"].is_met is False
    assert checks["trees"].is_met
    assert checks["trends"].is_met is None
    assert any("similarity of columns is 0." in sentence for sentence in page.quality.failed_checks)


def test_page_shows_checks_columns_pairs_limits_and_no_privacy_guarantee(page: SamplePage) -> None:
    html = render_sample_page(page)

    assert "no privacy guarantee" in html
    assert "Quarantined:" in html
    assert "people &lt;b&gt;" in html
    assert "low &lt; high" in html
    assert html.count("<svg") == 2
    for title, text in explain_checks(page.quality):
        assert title in html, title
        assert text[:40].split("'")[0] in html
    assert html == render_sample_page(page)


def test_page_lists_weak_dependencies_and_what_tells_the_rows_apart() -> None:
    sides = Sides(real().slice(0, 250), real().slice(250), synthetic().set_column(1, "wage", pa.array(range(350))))
    quality = run_checks(measure_table(sides, categories=(), predict=None, seed=0), BARS)
    two_sample = quality.measures.two_sample
    page = SamplePage(
        job="people",
        model_version="people/1",
        partition="a",
        written_at=datetime(2026, 2, 1, tzinfo=UTC),
        rows=350,
        seed=7,
        quality=quality,
        real=sides.held_out,
        synthetic=sides.synthetic,
    )

    html = render_sample_page(page)

    assert two_sample is not None
    assert two_sample.used[0][0] == "wage"  # real wages lie above 1,000
    assert two_sample.used[0][1] > 0.3
    assert len(two_sample.least_plausible) == 10
    assert two_sample.least_plausible[0].probability > 0.9
    implausible = html[html.index("Least plausible synthetic rows") :]
    for each in two_sample.least_plausible:
        row = sides.synthetic.slice(each.row, 1).to_pylist()[0]
        assert f"<td>{row['wage']}</td><td>" in implausible
    first, second, similarity = quality.measures.trends.lowest(1)[0] if quality.measures.trends else ("", "", 1.0)
    assert f"{first}, {second}</th>" in html
    assert similarity < 0.9


def test_heatmap_omits_the_most_similar_columns() -> None:
    similarity = np.full((40, 40), 0.99)
    similarity[3, 39] = similarity[39, 3] = 0.2

    drawn = draw_pair_heatmap([f"column {at}" for at in range(40)], similarity)

    assert "column 3<" in drawn
    assert "column 39<" in drawn
    assert drawn.count(">column ") == 2 * 30  # below and left of the map
