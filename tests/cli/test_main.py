"""The command line as a user types it."""

import json
import subprocess
import sys
from pathlib import Path

from typer.testing import CliRunner

from aepipe.cli.main import app

COMMANDS = [
    "init",
    "inspect",
    "train",
    "calibrate",
    "score",
    "sample",
    "impute",
    "traverse",
    "augment",
    "report",
    "evaluate",
    "explain",
    "run",
    "models",
    "promote",
    "rollback",
    "verify",
    "doctor",
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


def test_doctor_reports_problems_that_would_stop_a_run(cells: Path, tmp_path: Path) -> None:
    assert "BAD" not in aepipe("doctor", cells).stdout

    broken = tmp_path / "broken.toml"
    broken.write_text('name = "t"\n[data]\npath = "nowhere"\n')

    assert "BAD" in aepipe("doctor", broken, code=1).stdout


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


def test_version_is_printed() -> None:
    assert aepipe("--version").stdout.startswith("aepipe 0.")


def test_library_error_about_an_option_is_printed_with_dashes(cells: Path) -> None:
    done = aepipe("sample", cells, "--prior", "uniform", code=2)

    assert done.stderr == "error: --prior: expected mixture or normal, got 'uniform'\n"
