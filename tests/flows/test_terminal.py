"""The command line of the flows."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from aepipe.storage import lock
from flows.backfill import BackfillOptions
from flows.nightly import NightOptions
from flows.score import ScoreOptions
from flows.synthesize import SynthesizeOptions
from flows.terminal import parse
from flows.train import TrainOptions

ROOT = Path(__file__).parent.parent.parent


def test_fields_of_the_parameters_are_the_options() -> None:
    parsed = parse(
        ScoreOptions, ["--job", "a/job.toml", "--partitions", "dt=1", "--partitions", "dt=2", "--device", "cpu"]
    )

    assert parsed == ScoreOptions(job=Path("a/job.toml"), partitions=("dt=1", "dt=2"), device="cpu")


def test_switch_has_an_opposite() -> None:
    assert parse(NightOptions, ["--job", "a"]).samples
    assert not parse(NightOptions, ["--job", "a", "--no-samples"]).samples


@pytest.mark.parametrize("word", ["--at-once=3", "--at_once=3"])
def test_option_of_two_words_takes_dashes_and_underscores(word: str) -> None:
    assert parse(BackfillOptions, ["--job", "a_b/job.toml", word]) == BackfillOptions(
        job=Path("a_b/job.toml"), at_once=3
    )


@pytest.mark.parametrize("options", [TrainOptions, ScoreOptions, SynthesizeOptions, NightOptions])
def test_variables_of_the_shell_are_not_options(options: type[ScoreOptions], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODEL", "challenger")
    monkeypatch.setenv("DEVICE", "cuda")
    monkeypatch.setenv("SEED", "7")

    assert parse(options, ["--job", "a"]) == options(job=Path("a"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--job", "a", "--rows", "-3"], "--rows: Input should be greater than or equal to 0, got '-3'"),
        (["--jbo", "a"], "--job"),
        ([], "--job"),
    ],
)
def test_wrong_option_is_one_sentence_and_exit_code_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        parse(SynthesizeOptions, arguments)

    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.slow
def test_flow_is_a_script_that_runs_from_anywhere(tmp_path: Path) -> None:
    shown = subprocess.run(
        [sys.executable, ROOT / "flows" / "nightly.py", "--help"],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True,
    )  # fmt: skip

    assert "--no-samples" in shown.stdout


@pytest.mark.slow
def test_flow_without_training_imports_no_torch_and_sends_no_telemetry(tmp_path: Path) -> None:
    program = (
        "import flows.nightly, sys\n"
        "from prefect._internal.analytics import is_telemetry_enabled\n"
        "from prefect.settings import get_current_settings\n"
        "print('torch' in sys.modules, is_telemetry_enabled(), get_current_settings().server.analytics_enabled)"
    )
    settings = {
        name: value for name, value in os.environ.items() if not name.startswith("PREFECT") and name != "DO_NOT_TRACK"
    }

    seen = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path, env={**settings, "PYTHONPATH": str(ROOT), "PREFECT_HOME": str(tmp_path)},
        capture_output=True, text=True, check=True,
    )  # fmt: skip

    assert seen.stdout.split() == ["False", "False", "False"]


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_flow_with_one_line_and_the_exit_code_of_the_command(
    cells: Path, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    night = "dt=2026-01-05"
    with lock(cells.parent / "out" / ".aepipe" / "locks" / "score" / f"{night}.lock"):
        process = subprocess.Popen(
            [sys.executable, "flows/score.py", "--job", str(cells)],
            cwd=ROOT,
            env={**os.environ, "PREFECT_HOME": str(tmp_path / "prefect"), "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        owner = cells.parent / "out" / ".aepipe" / "job.json"
        deadline = time.monotonic() + 150
        while not owner.exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.2)
        time.sleep(3)  # the flow waits for the lock
        process.send_signal(number)
        _, said = process.communicate(timeout=60)

    assert process.returncode == code, said[-2_000:]
    assert said.count("stopped: ") == 1
    assert "Traceback" not in said
