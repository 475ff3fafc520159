"""Report pages at the limits of what they show: long names, nanoseconds, many partitions and columns, no keys."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa

from aepipe.config.sample_requirements import Quality
from aepipe.metrics.drift import Change
from aepipe.quality.checks import run_checks
from aepipe.quality.measure import Sides, measure_table
from aepipe.report.compare_page import AlarmGroup, ComparePage, Measure, PairedAlarm, PairedDrift, Side
from aepipe.report.index_page import JobLine, Night, render_index
from aepipe.report.page_model import (
    Card,
    Comparison,
    DriftLine,
    EntityLine,
    FileLine,
    Header,
    LatentMap,
    PairedNight,
    ReportPage,
    Samples,
    Scores,
    TopAnomalies,
    Training,
)
from aepipe.report.sample_page import SamplePage
from aepipe.report.series import SeriesEvent, SeriesLine
from aepipe.report.unusual_windows import UnusualWindow, WindowChannel
from aepipe.report.what_if import WhatIf
from aepipe.storage import PartitionResult
from tests.support.partition_results import partition_result
from tests.support.quality_tables import real, synthetic

PARTITIONS, COLUMNS, ROWS = 300, 500, 2_000
DIGEST = "xxh3:0123456789abcdef0123456789abcdef"
WHEN = datetime(2026, 11, 21, 13, 5, tzinfo=UTC)
NAMES = (
    "total_amount_of_the_transaction_in_euros",  # 40 characters without a space
    "Überweisungsbetrag für grenzüberschreite",
    "温度传感器读数的平均值和标准偏差以及最大值和最小值的每日汇总数据表",
    "المبلغ الإجمالي للمعاملة",
    "🛰️ telemetry channel, ground segment (kHz)",
)
NIGHTS = tuple(f"dt={datetime(2026, 1, 1) + timedelta(days=day):%Y-%m-%d}" for day in range(PARTITIONS))


def wide_page() -> ReportPage:
    """Return a page of 300 partitions and 500 columns with long names, keys of nanoseconds and every section."""
    rng = np.random.default_rng(0)
    scores = rng.lognormal(0, 1, ROWS)
    columns = [f"{NAMES[at % len(NAMES)]} {at}" for at in range(COLUMNS)]
    return ReportPage(
        header=Header(
            "überwachung_der_grenzüberschreitenden_zahlungen",
            f"payments/{'0123456789abcdef' * 3}",
            WHEN,
            "champion",
            0.01,
            20_000,
        ),
        notices=(f"the source of {NIGHTS[3]} is missing or has changed since it was scored",),
        partitions=_partitions(rng),
        scores=Scores(scores, rng.lognormal(0, 1, ROWS), 4.5),
        what_if=_what_if(rng),
        drift=tuple(
            DriftLine(NIGHTS[-1], name, "column", 0.1 + at / 50, 0.05, 0.3, 0.3, at > 2)
            for at, name in enumerate(columns[:12])
        ),
        entities=tuple(EntityLine(f"{name} / {name}", 4_000, 3, 0.01, 4.5, True) for name in NAMES),
        reasons={name: 40 - at for at, name in enumerate(columns[:20])},
        anomalies=_anomalies(columns),
        latents=LatentMap(
            points=rng.normal(size=(ROWS, 2)),
            scores=scores,
            flagged=scores > 4.5,
            places=[(NIGHTS[at % 5], 1_204 + at) for at in range(ROWS)],
        ),
        comparisons=(
            Comparison(
                "against the labels of all partitions",
                ("AUROC", "average precision", "precision at 100"),
                dict.fromkeys(("this model, mahalanobis", *NAMES[:2], "isolation forest"), (0.9, 0.3, 0.25)),
                "this model, mahalanobis",
                ranges={"isolation forest": ((0.8, 0.95), (0.2, 0.4), (0.2, 0.3))},
            ),
        ),
        training=_training(),
        files=tuple(
            FileLine("read", night, f"data/{night}/{NAMES[0]}.parquet", 123_456_789, DIGEST, 1_234_567)
            for night in NIGHTS
        ),
        card=Card(
            family="tabular_vae",
            trunk="mlp",
            options={name: [0.001] * 30 for name in NAMES},
            rows={"train": 1_234_567},
            partitions=NIGHTS,
            parity={"encoder": dict.fromkeys(NAMES, 1e-06)},
            versions={"onnxruntime": "1.22.0"},
        ),
    )


def month_page(*, rows_without_keys: bool = True) -> ReportPage:
    """Return a page of 31 nights of a narrow table; rows without keys are named by partition and position."""
    rng = np.random.default_rng(1)
    page, nights = wide_page(), NIGHTS[:31]
    drawn = pa.table({f"departure_delay_{at}": rng.normal(1e6, 1e5, 50) for at in range(8)})
    return replace(
        page,
        header=Header("payments", "payments/20260131-1a2b", WHEN, "champion", 0.01, 20_000),
        partitions=_partitions(rng)[:31],
        anomalies=_anomalies(["amount", "country", "channel"], keys=() if rows_without_keys else ("id",)),
        reasons={"amount": 20, "country": 5, "channel": 2},
        samples=Samples(rows=1_000, seed=1, prior="mixture", table=drawn, real=drawn),
        files=page.files[: len(nights)],
    )


def series_page() -> ReportPage:
    """Return a page of series with many points, events and long names of channels."""
    rng = np.random.default_rng(2)
    score = rng.gamma(2.0, 1.0, 20_000).astype(np.float32)
    event = SeriesEvent(
        "2026-01-01 00:00:00.000000001",
        "2026-01-01 00:10:00.123456789",
        "2026-01-01 00:05:00.000000000",
        "12.3",
        61,
        ", ".join(NAMES),
    )
    lines = tuple(
        SeriesLine(
            entity=name,
            time=np.arange(len(score)) * 60_000_000_000 + 1_767_225_600_000_000_000,
            score=score,
            flagged=score > 11,
            threshold=11.0,
            moments=pa.array(np.arange(len(score)) * 60_000_000_000 + 1_767_225_600_123_456_789, pa.timestamp("ns")),
            partitions=pa.array([NIGHTS[0]] * len(score)),
            events=(event,) * 3,
            count=12,
        )
        for name in NAMES
    )
    header = Header("pumps", "pumps/20260131-1a2b", WHEN, "champion", 0.001, 20_000)
    drawn = tuple(WindowChannel(name=name, read=rng.normal(size=100), known=rng.normal(size=100)) for name in NAMES)
    windows = tuple(
        UnusualWindow(
            entity=name,
            partition=NIGHTS[0],
            first="2026-01-01 00:00:00.000000001",
            last="2026-01-01 00:10:00.123456789",
            score=12.3,
            p_value=1e-5,
            flagged=True,
            channels=drawn,
            main=(0.2, 0.6),
            known=("2025-12-01 00:00:00.000000001", "2025-12-01 00:10:00.123456789"),
            distance=2.5,
        )
        for name in NAMES
    )
    scores = Scores(score, score, 11.0)
    return ReportPage(header=header, partitions=_partitions(rng)[:5], scores=scores, series=lines, windows=windows)


def sample_page() -> SamplePage:
    """Return a page of synthetic rows with long column names."""
    learned, held_out, made = real().slice(0, 250), real().slice(250), synthetic()
    names = [f"{name} {NAMES[at % len(NAMES)]}" for at, name in enumerate(learned.column_names)]
    sides = Sides(*(table.rename_columns(names) for table in (learned, held_out, made)))
    measures = measure_table(sides, categories=(), predict=names[-1], seed=0)
    return SamplePage(
        job="payments",
        model_version="payments/20260131-1a2b",
        partition=NIGHTS[0],
        written_at=WHEN,
        rows=made.num_rows,
        seed=7,
        quality=run_checks(measures, Quality()),
        real=sides.held_out,
        synthetic=sides.synthetic,
        condition=f"{NAMES[1]} = 'Zürich'",
        rejected={f"{NAMES[0]} < {NAMES[3]}": 12},
        relations=((f"{NAMES[0]} = {NAMES[1]} + {NAMES[2]}", 1.0, 0.99, 0.98),),
    )


def image_page() -> ReportPage:
    """Return a page of images with long keys and class names."""
    rng = np.random.default_rng(4)
    pixels = rng.integers(0, 17, (64, 1, 8, 8), dtype=np.uint8)
    anomalies = replace(
        _anomalies([f"rows {at}-{at + 1}, columns {at}-{at + 1}" for at in range(6)]),
        source=None,
        reconstruction=None,
        images=pixels[:24],
        reconstructed=pixels[24:48],
        top=16,
    )
    return replace(
        month_page(),
        anomalies=anomalies,
        samples=Samples(rows=64, seed=1, prior="normal", images=pixels, real_images=pixels, top=16),
    )


def index_page() -> str:
    """Return an index of jobs with long names, many nights, and one that cannot be read."""
    nights = tuple(Night(name, 1_000_000, 10 * at, at / 300, f"out/{name}.html") for at, name in enumerate(NIGHTS))
    jobs = [JobLine(name=name, champion="20260131T000000Z-1a2b3c4d", nights=nights, quarantined=2) for name in NAMES]
    fault = f"/warehouse/{'folder_with_a_long_name/' * 8}job.toml: [data] path is missing"
    return render_index([*jobs, JobLine(name=NAMES[0], fault=fault)], written_at=WHEN)


def compare_page() -> ComparePage:
    """Return a comparison of two versions with long names in every field."""
    rng = np.random.default_rng(5)
    change = Change(0.123, 0.05, 0.2, 1.5)
    sides = tuple(
        Side(
            name=name,
            note=f"family with head {name}",
            model_version=f"payments/{'0123456789abcdef' * 3}",
            rows=370_370_100,
            invalid=12,
            flagged=flagged,
            alpha=0.01,
            calibration_rows=20_000,
            scores=Scores(rng.lognormal(0, 1, ROWS), rng.lognormal(0, 1, ROWS), 4.5),
            reasons={f"{each} {at}": 10 + at for at, each in enumerate(NAMES)},
            measures={"AUROC": Measure(0.9, (0.85, 0.95)), "false alarm rate": Measure(0.0123)},
            rows_per_s=123_456.7,
            facts={"size of the bundle": "1.2 MB"},
        )
        for name, flagged in zip(NAMES[:2], (9_000_000, 3_700_000), strict=True)
    )
    rows = [PairedAlarm(f"{name}, {name}", (1.23e-7, None), (name, NAMES[0])) for name in NAMES]
    return ComparePage(
        job=NAMES[2],
        kind="models",
        written_at=WHEN,
        sides=(sides[0], sides[1]),
        notices=(f"{NIGHTS[0]} is left out: {NAMES[0]}",),
        joined="Both versions scored the same rows.",
        alarms=(AlarmGroup("flagged by both", 1_234_567, rows), AlarmGroup(f"only by {NAMES[1]}", 5, rows, (1,))),
        partitions=tuple(PairedNight(name, 1_234_567, 12_000 + at, 9_000, 8_000) for at, name in enumerate(NIGHTS)),
        drift=tuple(PairedDrift(f"{NAMES[at % 5]} {at}", "column", change, change, change) for at in range(30)),
    )


def _partitions(rng: np.random.Generator) -> tuple[PartitionResult, ...]:
    seconds = {"read": 12.3, "encode": 104.2, "infer": 98.7, "write": 3.21}
    lines = [
        partition_result(
            night,
            "written",
            1_234_567,
            int(rng.integers(5_000, 20_000)),
            {NAMES[1]: 1_204},
            {NAMES[2]: 88},
            seconds,
            220.0,
        )
        for night in NIGHTS
    ]
    lines[20] = partition_result(NIGHTS[20], "quarantined", reason=f"part-0.parquet has no column {NAMES[0]}")
    return tuple(lines)


def _what_if(rng: np.random.Generator) -> WhatIf:
    return WhatIf(
        alphas=np.array([0.001, 0.01, 0.1]),
        current=1,
        partitions=NIGHTS,
        rows=(1_234_567,) * PARTITIONS,
        alarms=np.sort(rng.integers(0, 120_000, (PARTITIONS, 3)), axis=1),
    )


def _anomalies(columns: list[str], keys: tuple[str, ...] = ("event time", "id")) -> TopAnomalies:
    rows = 24
    found = {
        "event time": pa.array([1_767_225_600_123_456_789 + at for at in range(rows)], pa.timestamp("ns", "UTC")),
        "id": [f"{NAMES[at % len(NAMES)]}-{at}" for at in range(rows)],
    }
    table = pa.table(
        {
            **{name: found[name] for name in keys},
            "score": np.linspace(1e9, 5, rows),
            "p_value": np.full(rows, 1.23e-7),
            "p_extrapolated": [True] * rows,
            "is_anomaly": np.arange(rows) < 9,
            "reason_1": [columns[at % len(columns)] for at in range(rows)],
            "reason_1_z": np.linspace(1234.5, 4, rows),
            "reason_2": [columns[(at + 1) % len(columns)] for at in range(rows)],
            "reason_2_z": np.linspace(8, 4, rows),
        }
    )
    rng = np.random.default_rng(3)
    source = pa.table(
        {name: rng.normal(1e6, 1e5, rows) for name in columns[:-1]} | {columns[-1]: [NAMES[4] * 3] * rows}
    )
    expected = pa.table({name: rng.normal(1e6, 1e5, rows) for name in columns[:-1]} | {columns[-1]: [NAMES[3]] * rows})
    return TopAnomalies(
        scores=table,
        keys=keys,
        partitions=[NIGHTS[at % 5] for at in range(rows)],
        rows=[1_204 + at for at in range(rows)],
        source=source,
        reconstruction=expected,
        words=[dict.fromkeys(columns, f"higher than expected for {NAMES[0]} = {NAMES[1]}")] * rows,
    )


def _training() -> Training:
    epochs = np.arange(1, 201)
    fall = 40 * np.exp(-epochs / 5)
    return Training(
        epochs=epochs, train=10 + fall, dev=11 + fall, best_epoch=120, stopped_because="the dev loss did not improve"
    )
