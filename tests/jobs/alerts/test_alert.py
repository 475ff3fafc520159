"""Alerts on real loopback servers: their content, recipients and frequency."""

from pathlib import Path

import pyarrow as pa
import pytest
from typer.testing import CliRunner

from aepipe.cli.main import app
from aepipe.config.job import read_job
from aepipe.errors import ArgumentInvalid, DataUnreadable, JobInvalid
from aepipe.jobs.alerts.alert import LOG, alert, alert_night
from aepipe.jobs.alerts.events import _times
from aepipe.jobs.alerts.message import group_by_entity
from aepipe.jobs.score import score
from aepipe.jobs.top_alarms import Alarm
from tests.support.mail_server import mail_server, web_server
from tests.support.two_models import DAYS, write_job, write_partition


def with_alerts(folder: Path, settings: str, *, extra: str = "") -> Path:
    return write_job(folder, f"{extra}[alerts]\n{settings}\n")


def test_webhook_and_mail_receive_one_message_with_the_flagged_rows(tmp_path: Path) -> None:
    with web_server() as (web, posts), mail_server() as (smtp, mails):
        job = with_alerts(
            tmp_path,
            f'webhook = "http://127.0.0.1:{web}/hook"\nlink = "https://reports/{{job}}/{{partition}}.html"\nmost = 3\n'
            f'[alerts.email]\nto = ["ops@example.org"]\nhost = "127.0.0.1"\nport = {smtp}',
        )
        nights = score(job).nights
        result = alert(job, partitions=DAYS)

    assert result.sent == ("webhook", "email")
    (post,), (mail,) = posts, mails
    flagged = sum(night.flagged for night in nights)
    assert (post["rows"], post["flagged"]) == (600, flagged)
    assert post["expected"] == pytest.approx(30)
    assert len(post["lines"]) == 3
    assert post["left_out"] == flagged - 3
    assert post["link"] == "https://reports/linear/dt=2026-03-03.html"
    p_values = [line["alarm"]["p_value"] for line in post["lines"]]
    assert p_values == sorted(p_values)
    assert mail["To"] == "ops@example.org"
    assert mail["Subject"] == post["subject"] == f"linear {DAYS[0]} to {DAYS[2]}: {flagged} of 600 rows flagged"
    text = mail.get_content().replace("\r\n", "\n")
    assert "alpha explains 30 rows, at most " in text
    assert f"{post['lines'][0]['alarm']['partition']}  id " in text
    assert "report: https://reports/linear/dt=2026-03-03.html" in text
    assert text.strip() == post["text"]


def test_a_message_is_sent_once_and_again_for_other_data(tmp_path: Path) -> None:
    with web_server() as (web, posts):
        job = with_alerts(tmp_path, f'webhook = "http://127.0.0.1:{web}/"')
        score(job)
        assert alert(job).sent == ("webhook",)

        again = alert(job)
        assert (again.sent, again.known) == ((), ("webhook",))
        write_partition(tmp_path, DAYS[2], seed=99)
        score(job)
        assert alert(job).sent == ("webhook",)
    assert len(posts) == 2


def test_a_channel_that_failed_is_tried_again_and_the_others_are_not(tmp_path: Path) -> None:
    with web_server() as (web, posts):
        job = with_alerts(
            tmp_path,
            f'webhook = "http://127.0.0.1:{web}/"\n'
            '[alerts.email]\nto = ["a@example.org"]\nhost = "127.0.0.1"\nport = 9',
        )
        score(job)
        result = alert(job)
        assert result.sent == ("webhook",)
        assert result.failed["email"] == "mail to 127.0.0.1:9 failed: Connection refused. Check [alerts.email]."
        with mail_server() as (smtp, mails):
            job.write_text(job.read_text().replace("port = 9\n", f"port = {smtp}\n"))
            assert alert(job).sent == ("email",)
            assert len(mails) == 1
    assert len(posts) == 1


def test_damaged_lines_of_the_log_are_skipped_with_one_warning_each(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with web_server() as (web, posts):
        job = with_alerts(tmp_path, f'webhook = "http://127.0.0.1:{web}/"')
        score(job)
        alert(job)
        log = tmp_path / "out" / "linear" / ".aepipe" / LOG
        log.write_bytes(b'\xff\x00half\n[1]\n{"sent": []}\n' + log.read_bytes() + b'{"ident')

        assert alert(job).known == ("webhook",)
        assert alert(job).known == ("webhook",)

    numbers = [record.getMessage().split(" line ")[1] for record in caplog.records]
    assert numbers == [f"{number} is incomplete; it is skipped" for number in (1, 2, 3, 5)]
    assert len(posts) == 1


def test_a_reason_with_any_line_separator_is_one_line_of_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with web_server() as (web, posts):
        job = with_alerts(tmp_path, f'webhook = "http://127.0.0.1:{web}/"\nservices = ["nonsense:\\u2028\\u0085://"]')
        score(job)
        assert set(alert(job).failed) == {"service 1"}
        caplog.clear()

        assert alert(job).known == ("webhook",)

    assert "is incomplete" not in caplog.text
    assert len(posts) == 1


@pytest.mark.parametrize("path", ["500", "refused"])
def test_a_refusal_is_reported(tmp_path: Path, path: str) -> None:
    with web_server() as (web, _), mail_server() as (smtp, _):
        channel = {
            "500": f'webhook = "http://127.0.0.1:{web}/500"',
            "refused": f'[alerts.email]\nto = ["refused@example.org"]\nhost = "127.0.0.1"\nport = {smtp}',
        }[path]
        job = with_alerts(tmp_path, channel)
        score(job)

        (why,) = alert(job).failed.values()

    assert {"500": "the webhook answered 500", "refused": "no such user"}[path] in why


def test_services_of_apprise_receive_the_message(tmp_path: Path) -> None:
    with web_server() as (web, posts):
        job = with_alerts(tmp_path, f'services = ["json://127.0.0.1:{web}/", "nonsense"]')
        score(job)
        result = alert(job)

    assert result.sent == ("service 1",)
    assert "[alerts] services has an address that apprise does not take: nonsense:" in result.failed["service 2"]
    assert "rows flagged" in posts[0]["title"]


def test_addresses_come_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = with_alerts(tmp_path, 'webhook = "$HOOK"')
    score(job)
    assert "the environment has no variable HOOK" in alert(job).failed["webhook"]
    with web_server() as (web, posts):
        monkeypatch.setenv("HOOK", f"http://127.0.0.1:{web}/")
        assert alert(job).sent == ("webhook",)
    assert len(posts) == 1


def test_a_dry_run_sends_nothing(tmp_path: Path) -> None:
    with web_server() as (web, posts):
        job = with_alerts(tmp_path, f'webhook = "http://127.0.0.1:{web}/"')
        score(job)
        result = alert(job, dry_run=True)

    assert result.message is not None
    assert posts == []
    assert not list((tmp_path / "out").rglob("alerts.jsonl"))


def test_a_dry_run_checks_the_addresses_of_the_channels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = 'webhook = "$HOOK"\nservices = ["slack://secret", "json://127.0.0.1:9/"]\n'
    job = with_alerts(tmp_path, settings + '[alerts.email]\nto = ["a@example.org"]\nuser = "$UNSET"\n')
    monkeypatch.setenv("HOOK", "ftp://example.org")
    score(job)

    failed = alert(job, dry_run=True).failed

    assert list(failed) == ["webhook", "email", "service 1"]
    assert "expected http:// or https://" in failed["webhook"]
    assert "no variable UNSET" in failed["email"]
    assert "slack:..." in failed["service 1"] and "secret" not in failed["service 1"]
    shown = CliRunner().invoke(app, ["alert", str(job), "--dry-run"])
    assert shown.exit_code == 1
    assert "dry run: nothing is sent" in shown.output
    assert "FAILED for email" in shown.output


def test_a_job_without_channels_says_so(tmp_path: Path) -> None:
    job = with_alerts(tmp_path, "")
    score(job)

    assert alert(job).sentence == "not sent: the job has no channel. Name one under [alerts]."
    assert alert(job, dry_run=True).failed == {}


def test_nothing_flagged_or_no_excess_is_silent(tmp_path: Path) -> None:
    job = with_alerts(tmp_path, 'webhook = "http://127.0.0.1:9/"\nwhen = "excess"\n')
    rows = tmp_path / "rows"
    for day in DAYS:
        (rows / day / "part-0.parquet").unlink()
    write_quiet(tmp_path, DAYS[0])
    score(job)

    assert alert(job).message is None
    job.write_text(job.read_text().replace('when = "excess"', 'when = "flagged"'))
    assert alert(job).message is not None


def write_quiet(folder: Path, name: str) -> None:
    """Write a partition of rows as in training, without outliers."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from tests.support.linear_bundle import numbers

    table = numbers(400, seed=3)
    pq.write_table(table.append_column("bad", pa.array([0] * 400)), folder / "rows" / name / "part-0.parquet")


def test_rows_of_one_entity_are_one_line() -> None:
    def row(device: str, p_value: float) -> Alarm:
        return Alarm(partition="dt=1", row=0, keys={"device": device}, score=1.0, p_value=p_value, reasons=("a",))

    lines = group_by_entity([row("x", 0.001), row("y", 0.002), row("x", 0.003)], ("device",))

    assert [(line.entity, line.rows, line.alarm.p_value) for line in lines] == [("x", 2, 0.001), ("y", 1, 0.002)]
    assert lines[0].text == "dt=1  device x and 1 more rows, p = 0.001: a"


def test_a_missing_entity_and_texts_like_it_are_lines_of_their_own() -> None:
    devices = [None, "null", "", '"null"', None, "null"]
    alarms = [
        Alarm(partition="dt=1", row=at, keys={"device": device}, score=1.0, p_value=0.001 * at, reasons=())
        for at, device in enumerate(devices)
    ]

    lines = group_by_entity(alarms, ("device",))

    assert [(line.entity, line.alarm.keys["device"], line.rows) for line in lines] == [
        ("null", None, 2),
        ('"null"', "null", 2),
        ("", "", 1),
        ('"""null"""', '"null"', 1),
    ]
    assert [line.text.split(", ")[0] for line in lines[:2]] == [
        "dt=1  device null and 1 more rows",
        'dt=1  device "null" and 1 more rows',
    ]


def test_the_capacity_bounds_the_lines(tmp_path: Path) -> None:
    job = with_alerts(tmp_path, 'webhook = "http://127.0.0.1:9/"', extra="[calibration]\ncapacity = 2\n")
    score(job)

    message = alert(job, dry_run=True).message

    assert message is not None
    assert len(message.lines) == 2
    assert message.left_out == message.flagged - 2


def test_a_night_without_news_or_channel_sends_nothing(tmp_path: Path) -> None:
    job = with_alerts(tmp_path, "")
    first = score(job)
    assert alert_night(read_job(job), first.model_version, first.nights) is None
    job.write_text(job.read_text() + 'webhook = "http://127.0.0.1:9/"\n')
    again = score(job)
    assert alert_night(read_job(job), again.model_version, again.nights) is None
    found = alert_night(read_job(job), first.model_version, first.nights)
    assert found is not None
    assert list(found.failed) == ["webhook"]


def test_a_partition_without_scores_is_named(tmp_path: Path) -> None:
    with web_server() as (web, posts):
        job = with_alerts(tmp_path, f'webhook = "http://127.0.0.1:{web}/"')
        (tmp_path / "rows" / DAYS[1] / "part-0.parquet").write_bytes(b"PAR1 and nothing more")
        done = score(job)
        alert_night(read_job(job), done.model_version, done.nights)

    assert list(posts[0]["failed"]) == [DAYS[1]]
    assert f"failed: {DAYS[1]}: " in posts[0]["text"]


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ('webhook = "ftp://a"', "expected a URL that starts with https:// or http://"),
        (
            'entity = "device"',
            "alerts.entity is not copied to the scores: expected a key, label, event-time or entity column",
        ),
        ('link = "{night}"', "expected no fields but {job} and {partition}"),
    ],
)
def test_wrong_settings_are_refused(tmp_path: Path, settings: str, fault: str) -> None:
    with pytest.raises(JobInvalid) as refused:
        read_job(with_alerts(tmp_path, settings))
    assert fault in str(refused.value)


def test_partitions_without_scores_are_refused(tmp_path: Path) -> None:
    job = with_alerts(tmp_path, "")
    with pytest.raises(DataUnreadable, match="has no scores of linear/"):
        alert(job)
    score(job, partitions=[DAYS[0]])
    with pytest.raises(ArgumentInvalid, match=f"'{DAYS[1]}' has no scores of linear/"):
        alert(job, partitions=[DAYS[1]])


def test_a_partition_is_named_in_full_or_without_its_key(tmp_path: Path) -> None:
    job = with_alerts(tmp_path, "")
    score(job, partitions=[DAYS[0]])

    found = [alert(job, partitions=[name], dry_run=True).message for name in (DAYS[0], DAYS[0].removeprefix("dt="))]

    assert found[0] is not None
    assert found[0] == found[1]


def test_times_of_events_keep_their_nanoseconds() -> None:
    moments = pa.array([1_767_225_600_000_000_001, 1_767_225_600_000_000_000, None], pa.timestamp("ns"))

    assert _times(moments) == ["2026-01-01 00:00:00.000000001", "2026-01-01 00:00:00", "null"]
