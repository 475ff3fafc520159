"""Commands on a job whose data, outputs and bundles lie in an object store."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

import aepipe
from aepipe.cli.main import app
from aepipe.errors import AepipeError
from aepipe.storage import SCORE, Outputs
from tests.support.linear_bundle import numbers
from tests.support.object_store import Store

JOB = """
name = "rows"
[data]
path = "{rows}"
keys = ["id"]
[model]
family = "ae"
[train]
epochs = 2
to = "2026-01-02"
[output]
path = "{out}"
exported = "{exported}"
[run]
workers = 1
"""


@pytest.fixture
def job(any_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of a job over three nights: the current folder, which no command may change."""
    store = any_store
    folder = tmp_path / "job"
    folder.mkdir()
    monkeypatch.chdir(folder)
    for day in (1, 2, 3):
        store.put_table(f"rows/dt=2026-01-0{day}/p.parquet", numbers(300, seed=day))
    (folder / "job.toml").write_text(JOB.format(**{name: store.bucket / name for name in ("rows", "out", "exported")}))
    return folder


def call(*words: object, code: int = 0) -> str:
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    return result.output


def refusal(*words: object) -> str:
    """Return the message of the error that a command ends with."""
    error = CliRunner().invoke(app, [str(word) for word in words]).exception
    assert isinstance(error, AepipeError)
    return str(error)


@pytest.mark.slow
def test_every_command_works_on_an_object_store(job: Path, any_store: Store) -> None:
    store = any_store
    rows, bundles = store.bucket / "rows", store.bucket / "exported" / "rows"
    assert "3 partitions" in call("inspect", rows)
    call("init", rows, "--job", "new.toml")
    assert f'path = "{rows}"' in Path("new.toml").read_text()
    Path("new.toml").unlink()
    assert f"new bundle {str(bundles).partition('?')[0]}/" in call("train")
    scored = json.loads(call("score", "--json"))
    assert json.dumps(scored).count('"written"') == 3
    assert json.dumps(json.loads(call("score", "--json"))).count('"already done"') == 3
    call("verify")
    call("verify", bundles)
    call("explain", "job.toml", "--row", "dt=2026-01-03:1")
    call("report")
    drift = call("drift")
    assert "does not exist" not in drift
    call("sample", "--rows", 50)
    call("calibrate")
    call("models")
    assert "rows" in call("top", "--once")
    call("backfill")
    call("run")
    assert "removed dt=2026-01-01" in call("forget", "dt=2026-01-01", "--yes")
    call("verify")

    outputs = Outputs(store.bucket / "out")
    assert [manifest.partition for manifest in outputs.manifests(SCORE)] == ["dt=2026-01-02", "dt=2026-01-03"]
    assert not [key for key in store.keys if key.endswith((".lock", ".lease")) or "/staging/" in key]
    assert {path.name for path in job.iterdir()} == {"job.toml"}
    model = aepipe.load(str(bundles.with_name("rows@champion")))
    assert len(model.score(numbers(5))) == 5


@pytest.mark.slow
def test_what_baselines_learned_is_kept_in_the_store(job: Path, any_store: Store) -> None:
    store = any_store

    def put(day: int) -> None:
        rows = numbers(300, seed=day)
        store.put_table(f"rows/dt=2026-01-0{day}/p.parquet", rows.append_column("bad", [[True, *[False] * 29] * 10]))

    def kept() -> list[str]:
        return [key for key in store.keys if "/.aepipe/baselines/" in key]

    for day in (1, 2, 3):
        put(day)
    text = Path("job.toml").read_text().replace("[data]", '[data]\nlabels = ["bad"]')
    Path("job.toml").write_text(f'{text}[evaluate]\nanomaly = "bad = true"\n')
    call("train")
    call("score")
    assert "wrote" in call("report")
    (first,) = kept()

    put(4)
    call("score")
    assert "wrote" in call("report")
    assert kept() == [first]
    assert "has changed since it was written" in " ".join(call("report").split())

    call("forget", "dt=2026-01-01", "--yes")
    assert kept() == []
    assert "wrote" in call("report")


@pytest.mark.slow
def test_a_job_file_may_lie_in_the_store(job: Path, any_store: Store) -> None:
    store, rows = any_store, str(any_store.bucket / "rows").encode()
    store.put("jobs/job.toml", (job / "job.toml").read_bytes().replace(rows, b"../rows"))
    store.put("jobs/b/job.toml", (job / "job.toml").read_bytes().replace(rows, b"rows"))

    assert "3 partitions" in call("inspect", job / "job.toml")
    other = store.bucket / "jobs" / "b"
    assert f"{other / 'rows'} does not exist" in refusal("inspect", other / "job.toml")


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ({"status": 403, "code": "AccessDenied"}, "the credentials are missing or wrong, or lack the permission"),
        ({"status": 404, "code": "NoSuchBucket"}, "does not exist"),
    ],
)
def test_a_store_that_refuses_ends_a_command_with_one_sentence(
    job: Path, any_store: Store, fault: dict[str, object], message: str
) -> None:
    any_store.fail("(GET|HEAD|PUT|POST)", **fault)

    for command in ("inspect", "train", "score"):
        assert message in refusal(command)


@pytest.mark.slow
def test_doctor_names_a_bucket_that_cannot_be_written(job: Path, any_store: Store) -> None:
    any_store.fail("(PUT|POST)", status=403, code="AccessDenied")

    output = " ".join(call("doctor", "job.toml", code=1).split())

    probe = any_store.bucket / "out" / ".aepipe-probe"
    assert f"BAD outputs can be written: {probe} cannot be used" in output
