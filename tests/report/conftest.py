"""Report pages to render: images, a table, hostile text in every field, and an empty page."""

from datetime import UTC, datetime
from types import MappingProxyType

import numpy as np
import pyarrow as pa
import pytest

from aepipe.report.page_model import (
    Card,
    Comparison,
    CostCurve,
    DriftLine,
    EntityLine,
    FileLine,
    Header,
    LatentMap,
    ReportPage,
    Samples,
    Scores,
    TopAnomalies,
    Training,
    Traversal,
    TraversalLine,
)
from aepipe.report.render import render
from aepipe.report.what_if import WhatIf
from tests.support.partition_results import partition_result

ROWS = 60
WHEN = datetime(2026, 11, 21, 13, 5, tzinfo=UTC)
HOSTILE = "</title></style><script>alert('x')</script>\"'&amp;<img src=http://evil.test onerror=alert(1)>$\\frac{1}{$"


def anomaly_scores(rows: int, *, key: str = "id", reason: str = "area", name: str = "row") -> pa.Table:
    return pa.table(
        {
            key: [f"{name} {i}" for i in range(rows)],
            "score": np.linspace(9, 5, rows, dtype=np.float32),
            "p_value": np.full(rows, 0.0123),
            "is_anomaly": np.arange(rows) < 3,
            "reason_1": pa.array([reason] * rows).dictionary_encode(),
            "reason_1_z": np.linspace(8, 4, rows, dtype=np.float32),
            "reason_2": pa.array([None] * rows, pa.string()),
            "reason_2_z": pa.array([None] * rows, pa.float32()),
            "invalid_reason": pa.array([None] * rows, pa.string()),
            "model_version": ["cells/1"] * rows,
        }
    )


def training() -> Training:
    epochs = np.arange(1, 31)
    fall = 40 * np.exp(-epochs / 5)
    return Training(
        epochs=epochs,
        train=10 + fall,
        dev=11 + fall + 0.01 * epochs,
        terms={"reconstruction": 8 + fall, "KL": 2 + 0 * fall},
        best_epoch=27,
        stopped_because="the dev loss did not improve for 20 epochs",
        seconds=12.3,
        rows_per_s=45_678.9,
    )


def cost_curve(text: str) -> CostCurve:
    alpha = np.linspace(0.01, 1, 40)
    return CostCurve(text, alpha, (alpha - 0.3) ** 2, 100 * alpha, 0.3, 50, {"precision": 0.25, text: 0.5})


def what_if(text: str) -> WhatIf:
    alphas = np.array([0.01, 0.05, 0.2])
    return WhatIf(
        alphas=alphas,
        current=1,
        partitions=(f"dt={text}", "dt=2026-01-02"),
        rows=(40, 1_020),
        alarms=np.array([[1, 3, 9], [0, 1_001, 1_005]]),
        capacity=10,
        cost=np.array([3.0, 2.5, 4.0]),
        cost_basis=text,
        precision=np.array([np.nan, 0.5, 0.25]),
        recall=np.array([0.0, 0.5, 1.0]),
        labelled=50,
        anomalies=4,
        selects_alpha=True,
    )


def everything(text: str = "plain", **changes: object) -> ReportPage:
    """Return a page of a table with every section; `text` is used for every user-defined name and value."""
    rng = np.random.default_rng(0)
    scores = rng.lognormal(0, 1, ROWS)
    area, site = f"area {text}", f"site {text}"
    table = pa.table({area: rng.normal(500, 50, ROWS), site: pa.array([text, "north"] * (ROWS // 2))})
    parts = {
        "header": Header(text, f"cells/{text}", WHEN, text, 0.05, 80),
        "notices": (text,),
        "partitions": (
            partition_result(f"dt={text}", "written", 40, 3, {text: 2}, {text: 4}, {"read": 0.1, text: 0.2}),
            partition_result("dt=2026-01-02", "already done", 20, 1),
            partition_result("dt=2026-01-03", "quarantined", reason=text),
        ),
        "scores": Scores(scores, rng.lognormal(0, 1, 80), 4.5),
        "costs": cost_curve(text),
        "what_if": what_if(text),
        "drift": (
            DriftLine(f"dt={text}", area, "column", 0.12, 0.08, 0.16, 0.31, True),
            DriftLine("dt=2026-01-02", "texture", "column", 0.07, 0.06, 0.08, 0.2, True, partitions=28),
            DriftLine("dt=2026-01-02", text, "latent", 0.01, 0.0, 0.03, -0.02, False),
        ),
        "entities": (EntityLine(text, 40, 3, 0.01, 4.5, True), EntityLine("other", 20, 0, None, 5.5, False)),
        "reasons": {text: 3, "texture": 1},
        "anomalies": TopAnomalies(
            scores=anomaly_scores(5, key=f"id {text}", reason=area, name=text),
            keys=(f"id {text}",),
            partitions=[text] * 5,
            source=table.slice(0, 5),
            reconstruction=table.slice(5, 5),
        ),
        "latents": LatentMap(
            points=rng.normal(size=(ROWS, 5)),
            scores=scores,
            flagged=scores > 4.5,
            labels=[text, "b"] * (ROWS // 2),
            label=text,
        ),
        "samples": Samples(rows=500, seed=7, prior=text, table=table, real=table),
        "traversals": (
            Traversal(
                title=f"from {text} to b",
                unit=f"share of {text}",
                lines=(
                    TraversalLine(f"{text} to b", area, (0.0, 0.5, 1.0), (410.0, 480.5, 590.25)),
                    TraversalLine(f"{text} to b", site, (0.0, 0.5, 1.0), (text, text, "north")),
                ),
            ),
        ),
        "comparisons": (Comparison(text, ("AUROC", text), {text: (0.5, 0.25), "b": (0.75, 0.2)}, text, text),),
        "training": training(),
        "files": (FileLine("read", text, text, 12_345, text, 40), FileLine("written", "scores", "out", 10, "xxh3:0")),
        "card": Card(
            family=text,
            trunk=text,
            options={text: text},
            rows={text: 1_234},
            partitions=(text,),
            parity={text: {text: 1e-6}},
            versions={text: text},
        ),
        **changes,
    }
    return ReportPage(**parts)


def images() -> ReportPage:
    rng = np.random.default_rng(1)
    pixels = rng.integers(0, 17, (ROWS, 1, 8, 8), dtype=np.uint8)
    return everything(
        anomalies=TopAnomalies(
            scores=anomaly_scores(5, reason="rows 0-1, columns 2-3"),
            keys=("id",),
            images=pixels[:5],
            reconstructed=pixels[5:10],
            top=16,
        ),
        samples=Samples(
            rows=ROWS, seed=1, prior="normal", images=pixels, real_images=pixels, top=16, check_page="samples-a.html"
        ),
        traversals=(
            Traversal(
                title="scan 1 with one latent at a time moved",
                unit="value of the latent",
                strips=("z_000", "z_003"),
                positions=np.array([[-1.96, 0.0, 2.0], [-3.0, 0.004, 3.0]]),
                images=pixels[:6].reshape(2, 3, 1, 8, 8),
                top=16,
            ),
        ),
        comparisons=(),
    )


@pytest.fixture(scope="session")
def page_models() -> MappingProxyType[str, ReportPage]:
    bare = ReportPage(header=Header("bare", "bare/1", WHEN))
    return MappingProxyType({"table": everything(), "images": images(), "hostile": everything(HOSTILE), "bare": bare})


@pytest.fixture(scope="session")
def pages(page_models: MappingProxyType[str, ReportPage]) -> MappingProxyType[str, str]:
    return MappingProxyType({name: render(model) for name, model in page_models.items()})


@pytest.fixture(scope="session")
def hostile_text() -> str:
    return HOSTILE


@pytest.fixture(scope="session")
def make_page():
    return everything
