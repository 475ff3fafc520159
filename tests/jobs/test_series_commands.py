"""Every command on a series job: those that work on points, and those that refuse them in one sentence."""

import json
import re
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from typer.main import get_command
from typer.testing import CliRunner

import aepipe
from aepipe.bundles.registry import Registry
from aepipe.cli.main import app
from aepipe.config.job import read_job
from aepipe.errors import AepipeError, OptionInvalid
from aepipe.jobs.alarm_warnings import dead_channels
from aepipe.jobs.alerts.alert import alert
from aepipe.jobs.alerts.events import EventLine, one_per_entity
from aepipe.jobs.backfill.backfill import backfill
from aepipe.jobs.backfill.plan import AS_OF, plan_backfill
from aepipe.jobs.promotion.model_diff import diff_models
from aepipe.jobs.promotion.promote import promote, rollback
from aepipe.jobs.report.compare import compare_report
from aepipe.jobs.score import score, score_settings, table_as_of
from aepipe.jobs.train.train import train
from aepipe.storage import PartitionResult, ScoreDetails
from aepipe.storage.run_details import DeadChannel
from tests.support.machines import night

LAST = night(6)
CALLS = {
    "init": ["init", "{folder}/rows", "--job", "{folder}/new/job.toml"],
    "convert": ["convert", "{folder}/rows.csv", "--out", "{folder}/converted"],
    "inspect": ["inspect", "{job}"],
    "contract": ["contract", "{job}"],
    "doctor": ["doctor", "{job}"],
    "train": ["train", "{job}"],
    "calibrate": ["calibrate", "{job}", "--partition", LAST],
    "evaluate": ["evaluate", "{job}"],
    "score": ["score", "{job}"],
    "run": ["run", "{job}"],
    "backfill": ["backfill", "{job}", "--from", LAST, "--dry-run"],
    "publish": ["publish", "{job}"],
    "report": ["report", "{job}"],
    "explain": ["explain", "{job}", "--row", f"{LAST}:0"],
    "top": ["top", "{job}", "--once"],
    "models": ["models", "{job}"],
    "alert": ["alert", "{job}", "--dry-run"],
    "feedback": ["feedback", "{job}", "m1,2026-01-07T11:00:00", "--verdict", "expected"],
    "forget": ["forget", "{job}", LAST],
    "quarantine": ["quarantine", "list", "{job}"],
    "verify": ["verify", "{job}"],
    "sample": ["sample", "{job}", "--rows", "20"],
    "impute": ["impute", "{job}", LAST],
    "recommend": ["recommend", "{job}", LAST],
    "traverse": ["traverse", "{job}", "--key", "m1", "--dimensions", "z_000"],
    "augment": ["augment", "{job}", "--rare", "fault=true"],
    "drift": ["drift", "{job}"],
    "export": ["export", "{job}", "--triton", "{folder}/models"],
}
POINTS_REFUSED = {"impute", "recommend", "traverse", "augment", "export"}
OF_ANY_MODEL = {"promote", "rollback", "deploy", "sign"}
"""They need a second model, a server or a key; the first two have a test of their own."""


def test_every_command_is_tried_on_a_series_job() -> None:
    assert {*CALLS, *OF_ANY_MODEL} == set(get_command(app).commands)  # type: ignore[attr-defined]


@pytest.mark.slow
def test_every_command_works_on_points_or_refuses_them_in_one_sentence(machines: Path) -> None:
    folder = machines.parent
    (folder / "rows.csv").write_text("a,b\n" + "1,2\n" * 30)
    for name, call in CALLS.items():
        arguments = [part.format(job=machines, folder=folder) for part in call]

        result = CliRunner().invoke(app, arguments)

        assert (result.exit_code == 0) == (name not in POINTS_REFUSED), f"{name}: {result.output}"
        assert result.exception is None or isinstance(result.exception, AepipeError), name
        if name in POINTS_REFUSED:
            assert "series job, which" in str(result.exception), name
            assert len(str(result.exception).splitlines()) == 1, name


@pytest.mark.slow
def test_python_methods_for_rows_refuse_points_in_one_sentence(trained_machines: Path) -> None:
    model = aepipe.load(trained_machines)
    frame = pq.ParquetFile(trained_machines / "rows" / LAST / "part-0.parquet").read()
    calls = {
        "encode": lambda: model.encode(frame),
        "reconstruct": lambda: model.reconstruct(frame),
        "step_losses": lambda: model.step_losses(frame),
        "sample": lambda: model.sample(5),
        "fill": lambda: model.fill(frame),
        "interpolate": lambda: model.interpolate(frame, frame),
        "shift": lambda: model.shift(frame, "heat > 20"),
        "traverse": lambda: model.traverse(frame),
    }

    for name, call in calls.items():
        with pytest.raises(OptionInvalid, match=f"is the model of a series job, which {name} cannot use"):
            call()
    assert model.score(frame).num_rows == frame.num_rows


@pytest.mark.slow
def test_a_challenger_of_a_series_job_is_compared_shown_scored_promoted_and_rolled_back(machines: Path) -> None:
    champion = Registry(read_job(machines).bundle_path).resolve().name
    machines.write_text(machines.read_text().replace("window = 24", "window = 32"))
    challenger = train(machines).bundle.name

    difference = diff_models(machines, champion, challenger)
    assert "window" in difference.model_dump_json()
    compared = promote(machines, dry_run=True).report
    assert compared is not None
    assert compared.comparison.rows > 0
    assert compared.comparison.champion.drift is not None
    assert compared.comparison.champion.drift.column in {"heat", "load"}
    page = compare_report(machines, "champion", "challenger")
    both, first, second = page.alarms.values()
    (last,) = [line for line in compared.comparison.partitions if line.partition == LAST]
    assert (both, first + both, second + both) == tuple(
        sum(getattr(line, name) for line in compared.comparison.partitions)
        for name in ("both", "champion", "challenger")
    )
    assert last.both > 0
    shown = page.path.read_text()
    assert re.search(r'<th scope="row">m1, 2026-01-07[ T]\d\d:', shown)  # a point is named by its entity and time
    assert "thresholds that adapt from night to night are left out" in shown
    by_challenger = score(machines, model="challenger", partitions=[LAST])
    assert by_challenger.model_version.endswith(challenger)
    assert [each.status for each in by_challenger.nights] == ["written"]

    done = promote(machines, force=True, why="a test")
    assert (done.promoted, Registry(read_job(machines).bundle_path).resolve().name) == (True, challenger)
    back = rollback(machines, why="a test")
    assert (back.version, back.before) == (champion, challenger)


@pytest.mark.slow
def test_a_channel_without_a_value_in_a_partition_is_a_warning(machines: Path) -> None:
    file = machines.parent / "rows" / LAST / "part-0.parquet"
    table = pq.ParquetFile(file).read()
    at = table.schema.get_field_index("heat")
    pq.write_table(table.set_column(at, "heat", pa.nulls(table.num_rows, table.schema.field("heat").type)), file)

    result = score(machines)

    (night,) = (each for each in result.nights if each.status == "written")
    assert (night.partition, night.details.absent) == (LAST, ("heat",))
    assert [text for text in result.warnings if "channel 'heat' has no value in " + LAST in text]


@pytest.mark.slow
def test_dead_channels_of_one_machine_are_warnings(machines: Path) -> None:
    file = machines.parent / "rows" / LAST / "part-0.parquet"
    table = pq.ParquetFile(file).read()
    is_m0 = pc.equal(table["machine"], "m0")
    heat = pc.if_else(is_m0, pa.scalar(20.25), table["heat"])
    load = pc.if_else(is_m0, pa.scalar(None, pa.float64()), table["load"])
    columns = {name: {"heat": heat, "load": load}.get(name, table[name]) for name in table.column_names}
    pq.write_table(pa.table(columns), file)

    result = score(machines)

    (night,) = (each for each in result.nights if each.status == "written")
    assert night.details.absent == ()
    assert [(each.entity, each.channel, each.value) for each in night.details.dead] == [
        ("m0", "heat", 20.25),
        ("m0", "load", None),
    ]
    (constant,) = (text for text in result.warnings if "channel 'heat'" in text)
    assert constant == (
        f"channel 'heat' of m0 is 20.25 in every row of {LAST}; in training it had one value for at most 1 point. "
        "Check its source."
    )
    assert any(text.startswith(f"channel 'load' of m0 has no value in {LAST}: ") for text in result.warnings)


def test_dead_channels_are_described_in_five_lines() -> None:
    def result(partition: str, machines: range, count: int) -> PartitionResult:
        dead = tuple(DeadChannel(entity=f"m{each}", channel="heat", longest=2) for each in machines)
        details = ScoreDetails(rows=10, dead=dead, dead_count=count)
        return PartitionResult(partition=partition, status="written", details=details)

    lines = list(dead_channels([result("a", range(7), 7), result("b", range(3), 3)]))

    assert len(lines) == 6
    assert lines[0].startswith("channel 'heat' of m0 has no value in a and 1 more partitions: ")
    assert lines[-1] == "2 more channels of single entities have no value or a single one"


@pytest.mark.slow
def test_an_alert_lists_events_and_not_points(machines: Path) -> None:
    events = pq.ParquetFile(machines.parent / "out" / "machines" / "events" / LAST / "part-0.parquet").read()
    highest = max(events.to_pylist(), key=lambda event: event["peak_score"])

    message = alert(machines, dry_run=True).message

    assert message is not None
    assert message.lines == ()
    assert message.event_count == events.num_rows
    assert len(message.events) == len(set(events["machine"].to_pylist()))
    first = next(event for event in message.events if event.entity == "m1")
    assert first.peak == str(highest["peak"])
    assert (first.first, first.points, first.channels[0]) == (str(highest["first"]), highest["points"], "load")
    assert f"{events.num_rows} event" in message.subject
    assert f"m1  {first.first} to {first.last}, peak {first.peak}" in message.text
    assert json.loads(message.model_dump_json())["events"][0]["partition"] == LAST


@pytest.mark.slow
def test_an_event_whose_peak_is_muted_is_left_out_of_alerts(machines: Path) -> None:
    message = alert(machines, dry_run=True).message
    assert message is not None
    first = next(event for event in message.events if event.entity == "m1")

    muted = CliRunner().invoke(
        app, ["feedback", str(machines), f"m1,{first.peak}", "--verdict", "expected", "--reason", "planned"]
    )

    assert muted.exit_code == 0, muted.output
    after = alert(machines, dry_run=True).message
    assert after is None or first.peak not in {event.peak for event in after.events}
    assert after is None or after.muted == 1


def test_one_line_per_entity_summarises_its_events() -> None:
    def event(entity: str, peak: str) -> EventLine:
        return EventLine(
            partition=LAST,
            entity=entity,
            first="09:00",
            last="10:00",
            peak=peak,
            points=4,
            score=3.0,
            p_value=0.001,
            channels=("load",),
            continues=False,
        )

    first, second = one_per_entity([event("m1", "09:30"), event("m0", "09:40"), event("m1", "09:50")])

    assert (first.entity, first.peak, first.events) == ("m1", "09:30", 2)
    assert first.text == f"{LAST}  m1  09:00 to 10:00, peak 09:30, 4 points and 1 more event, p = 0.001: load"
    assert second.text == f"{LAST}  m0  09:00 to 10:00, peak 09:40, 4 points, p = 0.001: load"


@pytest.mark.slow
def test_a_backfill_uses_scored_nights_and_reads_no_later_one(machines: Path) -> None:
    plan = plan_backfill(machines)
    assert {step.status for step in plan.steps} == {"already done"}

    shutil.rmtree(machines.parent / "rows" / night(4))
    after = {step.partition: step.status for step in plan_backfill(machines).steps}
    assert after[night(3)] == "already done"
    assert after[night(5)] == "due"  # its windows reached into the missing night

    job = read_job(machines)
    settings = table_as_of(job, score_settings(job), night(3))
    assert [each.name for each in settings.table] == [night(day) for day in range(4)]
    assert plan_backfill(machines, first=night(6), model=AS_OF).steps[0].partition == LAST


@pytest.mark.slow
def test_a_backfill_as_of_writes_the_points_that_the_champion_wrote_on_its_night(machines: Path) -> None:
    job, rows, scores = read_job(machines), machines.parent / "rows", machines.parent / "out" / "machines" / "scores"
    compared = ["machine", "at", "score", "p_value", "is_anomaly", "model_version"]

    def points() -> pa.Table:
        return pq.read_table(scores / night(4), partitioning=None).select(compared)

    later = [rows / night(day) for day in (5, 6)]
    for folder in later:
        folder.rename(machines.parent / folder.name)
    score(machines, partitions=[night(4)])  # there were no later nights then
    on_its_night = points()
    for folder in later:
        (machines.parent / folder.name).rename(folder)
    machines.write_text(machines.read_text().replace("window = 24", "window = 32"))
    train(machines)
    promote(machines, force=True, why="a test")
    log = job.bundle_path / "aliases.jsonl"
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    lines[0]["when"] = "2026-01-02T00:00:00Z"
    log.write_text("".join(json.dumps(line) + "\n" for line in lines))
    score(machines, partitions=[night(4)])
    assert not points()["score"].equals(on_its_night["score"])

    done = backfill(machines, model=AS_OF, first=night(4), last=night(4))

    assert [each.status for each in done.nights] == ["written"]
    assert points().equals(on_its_night)
