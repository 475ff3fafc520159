"""The command line as a user types it."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.main import get_command
from typer.testing import CliRunner

from aepipe.cli.console import print_table
from aepipe.cli.groups import EXAMPLES, GROUPS
from aepipe.cli.main import app
from aepipe.errors import AepipeError
from aepipe.jobs.score import score

COMMANDS = [
    "init",
    "convert",
    "inspect",
    "contract",
    "train",
    "calibrate",
    "score",
    "sample",
    "impute",
    "recommend",
    "traverse",
    "augment",
    "report",
    "evaluate",
    "explain",
    "export",
    "run",
    "models",
    "promote",
    "rollback",
    "forget",
    "quarantine",
    "backfill",
    "drift",
    "publish",
    "alert",
    "feedback",
    "deploy",
    "verify",
    "sign",
    "doctor",
    "top",
]


def aepipe(*arguments: str | Path, code: int = 0) -> subprocess.CompletedProcess[str]:
    """Run the command in a separate process, as a shell does."""
    done = subprocess.run(
        [sys.executable, "-m", "aepipe.cli.main", *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done


def test_every_command_is_listed_with_help_and_example() -> None:
    runner = CliRunner()

    listed = runner.invoke(app, ["--help"]).output
    for command in COMMANDS:
        assert command in listed
        help_text = runner.invoke(app, [command, "--help"]).output
        assert "Example" in help_text, command
        assert f"aepipe {command}" in help_text, command


def test_every_command_is_documented() -> None:
    assert sorted(command.callback.__name__ for command in app.registered_commands if command.callback) == sorted(
        COMMANDS
    )
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    for command in COMMANDS:
        assert f"aepipe {command}" in readme, command


def test_scoring_imports_neither_torch_nor_slow_packages(cells: Path) -> None:
    code = (
        "import sys; from aepipe.cli.main import app\n"
        f"try: app(['score', {str(cells)!r}])\n"
        "except SystemExit as done: assert not done.code, done.code\n"
        "heavy = {'torch', 'pandas', 'prefect', 'sklearn', 'scipy', 'matplotlib', 'onnxscript'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    assert (cells.parent / "out" / "scores" / "dt=2026-01-07" / "part-0.parquet").exists()


def test_help_imports_no_slow_packages() -> None:
    code = (
        "import sys; from aepipe.cli.main import app\n"
        "try: app(['--help'])\n"
        "except SystemExit as done: assert not done.code, done.code\n"
        "heavy = {'numpy', 'pyarrow', 'pydantic', 'onnxruntime', 'torch'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr


def test_user_error_is_one_sentence_and_exit_code_2(tmp_path: Path) -> None:
    done = aepipe("score", tmp_path / "absent.toml", code=2)

    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert "aepipe init" in line


def test_every_fault_of_a_job_is_printed_on_one_line(tmp_path: Path) -> None:
    job = tmp_path / "job.toml"
    job.write_text('name = "t"\n[data]\npth = "."\n[trian]\nx = 1\n')

    lines = aepipe("train", job, code=2).stderr.splitlines()

    assert len(lines) == 4
    assert any("'pth'; did you mean 'path'" in line for line in lines)
    assert any("'trian'; did you mean 'train'" in line for line in lines)


def test_score_prints_json_with_output_paths(cells: Path) -> None:
    result = json.loads(aepipe("score", cells, "--partition", "dt=2026-01-07", "--json").stdout)

    (night,) = result["nights"]
    assert night["status"] == "written"
    assert Path(night["scores"]).exists()
    assert night["rows"] > 0


def test_failed_partition_is_exit_code_1_with_reason(cells: Path) -> None:
    (cells.parent / "dt=2026-01-06" / "part-0.parquet").write_bytes(b"PAR1 but no more")

    done = aepipe("score", cells, code=1)

    assert "quarantined" in done.stdout
    assert "part-0.parquet" in done.stderr


def test_repeated_training_does_nothing(cells: Path) -> None:
    assert "nothing to do" in aepipe("train", cells).stdout


@pytest.mark.slow
def test_sample_writes_once(cells: Path) -> None:
    first = aepipe("sample", cells, "--rows", "20", "--seed", "3", "--partition", "dt=2026-02-01").stdout
    second = aepipe("sample", cells, "--rows", "20", "--seed", "3", "--partition", "dt=2026-02-01").stdout

    assert first.startswith("wrote 20 rows")
    assert second.startswith("already there: 20 rows")


def test_models_lists_and_promotes(cells: Path) -> None:
    (version,) = json.loads(aepipe("models", cells, "--json").stdout)["versions"]
    assert version["aliases"] == ["champion"]

    aepipe("models", cells, "--promote", version["version"], "--alias", "challenger", "--why", "a test")

    (version,) = json.loads(aepipe("models", cells, "--json").stdout)["versions"]
    assert version["aliases"] == ["challenger", "champion"] or version["aliases"] == ["champion", "challenger"]


@pytest.mark.slow
def test_verify_finds_a_changed_output(cells: Path) -> None:
    aepipe("score", cells)
    aepipe("verify", cells)
    scores = cells.parent / "out" / "scores" / "dt=2026-01-07" / "part-0.parquet"
    changed = bytearray(scores.read_bytes())
    changed[50] ^= 1
    scores.write_bytes(bytes(changed))

    done = aepipe("verify", cells, code=1)

    assert "FAULT" in done.stderr
    assert "dt=2026-01-07" in done.stderr


@pytest.mark.slow
def test_doctor_reports_problems_that_would_stop_a_run(cells: Path, tmp_path: Path) -> None:
    assert "BAD" not in aepipe("doctor", cells).stdout

    broken = tmp_path / "broken.toml"
    broken.write_text('name = "t"\n[data]\npath = "nowhere"\n')

    assert "BAD" in aepipe("doctor", broken, code=1).stdout


@pytest.mark.slow
def test_init_writes_valid_job_and_does_not_overwrite_it(cells: Path, tmp_path: Path) -> None:
    job = tmp_path / "new" / "job.toml"

    aepipe("init", cells.parent / "dt=2026-01-01", "--name", "fresh", "--job", job)

    text = job.read_text()
    assert "mean_radius" in text
    assert "float64" in text or "double" in text
    seen = json.loads(aepipe("inspect", job, "--json").stdout)
    assert {column["name"]: column["kind"] for column in seen["columns"]}["mean_radius"] == "number"
    aepipe("init", cells.parent / "dt=2026-01-01", "--job", job, code=2)


def test_inspect_shows_kinds_and_partitions_of_plain_parquet(cells: Path) -> None:
    seen = json.loads(aepipe("inspect", cells, "--json").stdout)

    assert [part["partition"] for part in seen["partitions"]] == [f"dt=2026-01-{day:02d}" for day in range(1, 8)]
    kinds = {column["name"]: column["kind"] for column in seen["columns"]}
    assert kinds["case_id"] == "key"
    assert kinds["diagnosis"] == "label"


def test_every_command_has_json() -> None:
    for command in get_command(app).commands.values():  # type: ignore[attr-defined]
        assert "--json" in {name for option in command.params for name in option.opts}, command.name


JSON_CALLS = {
    "init": ["init", "{folder}/dt=2026-01-01", "--job", "{folder}/new/job.toml"],
    "convert": ["convert", "{folder}/rows.csv", "--out", "{folder}/converted"],
    "inspect": ["inspect", "{job}"],
    "contract": ["contract", "{job}"],
    "train": ["train", "{job}"],
    "calibrate": ["calibrate", "{job}", "--partition", "dt=2026-01-06"],
    "score": ["score", "{job}"],
    "sample": ["sample", "{job}", "--rows", "20"],
    "impute": ["impute", "{job}", "dt=2026-01-07"],
    "recommend": ["recommend", "{job}", "dt=2026-01-07"],
    "traverse": ["traverse", "{job}", "--key", "case-000", "--steps", "2", "--dimensions", "z_000"],
    "augment": ["augment", "{job}", "--rare", "diagnosis=malignant"],
    "report": ["report", "{job}"],
    "evaluate": ["evaluate", "{job}"],
    "explain": ["explain", "{job}", "case-000"],
    "export": ["export", "{job}", "--triton", "{folder}/models"],
    "run": ["run", "{job}"],
    "models": ["models", "{job}"],
    "promote": ["promote", "{job}", "--dry-run"],
    "rollback": ["rollback", "{job}"],
    "backfill": ["backfill", "{job}", "--from", "2026-01-06"],
    "drift": ["drift", "{job}"],
    "alert": ["alert", "{job}", "--dry-run"],
    "deploy": ["deploy", "{job}"],
    "feedback": ["feedback", "{job}", "case-000", "--verdict", "expected"],
    "forget": ["forget", "{job}", "dt=2026-01-07"],
    "quarantine": ["quarantine", "list", "{job}"],
    "publish": ["publish", "{job}"],
    "verify": ["verify", "{job}"],
    "sign": ["sign", "{job}", "--key", "{folder}/absent.pem"],
    "doctor": ["doctor", "{job}"],
    "top": ["top", "{job}"],
}
REFUSED_FOR_CELLS = {"deploy", "impute", "recommend", "augment", "promote", "rollback", "sign"}
"""Commands that fail: an autoencoder neither imputes nor samples labels; one version, no server and no key exist."""


def test_every_command_has_a_call_with_json() -> None:
    assert set(JSON_CALLS) >= set(COMMANDS), "add a call of the new command to JSON_CALLS"


@pytest.mark.parametrize(
    "command", ["init", "inspect", "contract", "train", "explain", "models", "doctor", "traverse", "impute"]
)
def test_json_is_one_document_on_standard_output(cells: Path, command: str) -> None:
    expect_json(cells, command)


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_json_of_every_command_is_one_document_on_standard_output(cells_with_baselines: Path, command: str) -> None:
    score(cells_with_baselines)

    expect_json(cells_with_baselines, command)


def expect_json(job: Path, command: str) -> None:
    (job.parent / "rows.csv").write_text("x\n1\n")
    words = [word.format(job=job, folder=job.parent) for word in JSON_CALLS[command]]
    done = CliRunner().invoke(app, [*words, "--json"])

    if command in REFUSED_FOR_CELLS:
        assert isinstance(done.exception, AepipeError)
        assert done.stdout == ""
    else:
        assert done.exit_code == 0, done.output
        assert isinstance(json.loads(done.stdout), dict | list)


def test_promotion_is_json(cells: Path) -> None:
    (version,) = json.loads(aepipe("models", cells, "--json").stdout)["versions"]
    words = ["models", str(cells), "--promote", version["version"], "--alias", "challenger", "--json"]

    found = json.loads(CliRunner().invoke(app, words).stdout)

    assert (found["alias"], found["version"], found["before"]) == ("challenger", version["version"], None)


def test_redirected_scoring_is_one_line_per_stage_and_ends_with_alarms(cells: Path) -> None:
    done = aepipe("score", cells)

    line, *warnings = done.stderr.splitlines()
    assert re.fullmatch(r"  score: 329 rows, [\d.]+ s", line)
    assert all(
        re.match(r"warning: partition dt=2026-01-0\d: .* are flagged, far above alpha", each) for each in warnings
    )
    assert "top alarms" in done.stdout
    assert "case_id case-" in done.stdout
    assert f"aepipe explain {cells} --row dt=2026-01-0" in done.stdout


def test_rows_without_score_are_counted_by_column_and_reason(cells: Path) -> None:
    file = cells.parent / "dt=2026-01-07" / "part-0.parquet"
    table = pq.read_table(file, partitioning=None)
    column = table["mean_radius"].to_numpy().copy()
    column[:3] = np.inf
    at = table.schema.get_field_index("mean_radius")
    pq.write_table(table.set_column(at, table.schema.field(at), pa.array(column)), file)

    done = aepipe("score", cells, "--partition", "dt=2026-01-07")
    found = json.loads(aepipe("score", cells, "--partition", "dt=2026-01-07", "--json").stdout)

    ((reason, rows),) = found["invalid_reasons"].items()
    assert rows == 3
    assert "mean_radius" in reason
    assert "infinite" in reason
    assert f"3 rows have no score: {reason} (3)" in done.stdout


def test_no_color_and_narrow_terminals_are_respected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "30")
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("NO_COLOR", "1")
    runner = CliRunner()
    with runner.isolation() as (out, *_):
        print_table("models", ("a_long_column_name", "another_long_name"), [("a_value_of_some_length", 12_345)])
        text = out.getvalue().decode()

    assert "a_long_column_name: a_value_of_some_length" in re.sub(r"\s+", " ", text)
    assert "another_long_name: 12,345" in text
    assert "\x1b[3" not in text  # no colour; bold is allowed


def test_help_groups_every_command_by_task() -> None:
    grouped = [name for names in GROUPS.values() for name in names]
    listed = CliRunner().invoke(app, ["--help"]).output

    assert sorted(grouped) == sorted(COMMANDS), "add the new command to aepipe/cli/groups.py"
    places = [listed.index(f" {title} ") for title in GROUPS]
    assert places == sorted(places)
    for title, names in GROUPS.items():
        panel = listed[listed.index(f" {title} ") :].split("╰")[0]
        assert all(name in panel for name in names), title
        assert EXAMPLES[title] in listed
        assert EXAMPLES[title].split()[1] in names


@pytest.mark.parametrize(("shell", "typed"), [("bash", "aepipe sco"), ("zsh", "aepipe sco"), ("fish", "aepipe sco")])
def test_the_shell_completes_commands(shell: str, typed: str) -> None:
    environment = os.environ | {
        "_AEPIPE_COMPLETE": f"complete_{shell}",
        "_TYPER_COMPLETE_ARGS": typed,
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
        "COMP_WORDS": typed,
        "COMP_CWORD": "1",
    }
    code = "import sys; from aepipe.cli.main import main; sys.argv = ['aepipe']; main()"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)

    assert "score" in done.stdout, done.stderr
    assert "train" not in done.stdout


def test_version_is_printed() -> None:
    assert aepipe("--version").stdout.startswith("aepipe 0.")


def test_library_error_about_an_option_is_printed_with_dashes(cells: Path) -> None:
    done = aepipe("sample", cells, "--prior", "uniform", code=2)

    assert done.stderr == "error: --prior: expected mixture or normal, got 'uniform'\n"
