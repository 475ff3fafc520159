"""Latent traversals on the command line, by `aepipe traverse` and the former options of `aepipe sample`."""

import json
import re
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from aepipe.cli.main import app
from aepipe.cli.traverse_output import WalkRequest
from aepipe.errors import AepipeError, JobInvalid


def test_plain_sample_is_not_a_walk() -> None:
    assert WalkRequest().walk() is None
    assert WalkRequest(traverse="a", steps=3, dimensions="z_000").walk() == "traverse"


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (WalkRequest(interpolate=("a", "b"), shift="x = 1"), "one of --interpolate and --shift at a time"),
        (WalkRequest(interpolate=("a", "b"), amount=2.0), "--amount goes with --shift"),
        (WalkRequest(key=("a",)), "--key goes with --shift"),
        (WalkRequest(traverse="a", how="lerp"), "--how goes with --interpolate"),
        (WalkRequest(shift="x = 1", steps=4), "--steps goes with --interpolate or --traverse"),
    ],
)
def test_conflicting_options_are_rejected(request_: WalkRequest, message: str) -> None:
    with pytest.raises(JobInvalid, match=message):
        request_.walk()


def test_each_walk_is_written_and_printed(cells: Path) -> None:
    runner = CliRunner()

    between = runner.invoke(app, ["sample", str(cells), "--interpolate", "case-000", "case-001", "--steps", "4"])
    shifted = runner.invoke(
        app, ["sample", str(cells), "--shift", "diagnosis = 'malignant'", "--key", "case-000", "--key", "case-001"]
    )
    traversed = runner.invoke(
        app, ["sample", str(cells), "--traverse", "case-000", "--dimensions", "z_000, z_003", "--json"]
    )

    assert between.output.startswith("wrote 4 rows in ")
    assert "case-000 to case-001" in between.output
    assert shifted.output.startswith("wrote 4 rows in ")
    printed = json.loads(traversed.output)
    assert (printed["kind"], printed["rows"], printed["created"]) == ("traversal", 14, True)
    assert Path(printed["path"]).exists()


def test_walk_rejects_sampling_options(cells: Path) -> None:
    found = CliRunner().invoke(app, ["sample", str(cells), "--traverse", "case-000", "--where", "x = 1"])

    assert isinstance(found.exception, JobInvalid)
    assert "--where does not go with --traverse, which draws nothing" in str(found.exception)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (
            ["--interpolate", "case-000", "case-001", "--steps", "3"],
            ["--interpolate", "case-000", "case-001", "--steps", "3"],
        ),
        (
            ["--shift", "diagnosis = 'malignant'", "--key", "case-000", "--amount", "2"],
            ["--shift", "diagnosis = 'malignant'", "--key", "case-000", "--amount", "2"],
        ),
        (["--traverse", "case-000", "--dimensions", "z_000"], ["--key", "case-000", "--dimensions", "z_000"]),
    ],
    ids=["interpolate", "shift", "traverse"],
)
def test_options_of_sample_equal_traverse(cells: Path, old: list[str], new: list[str]) -> None:
    runner = CliRunner()
    printed, rows = [], []

    for arguments in (["sample", str(cells), *old, "--json"], ["traverse", str(cells), *new, "--json"]):
        found = runner.invoke(app, arguments)
        assert found.exit_code == 0, found.output
        printed.append(json.loads(found.stdout) | {"seconds": 0})
        rows.append(pq.read_table(printed[-1]["path"]))
        shutil.rmtree(cells.parent / "out" / "walks")
        shutil.rmtree(cells.parent / "out" / ".aepipe")

    assert printed[0] == printed[1]
    assert printed[0]["created"]
    assert rows[0].equals(rows[1])
    tables = [
        runner.invoke(app, [command, str(cells), *given]) for command, given in (("sample", old), ("traverse", new))
    ]
    lines = [found.output.split("\n", 1) for found in tables]
    assert lines[0][0].replace("wrote", "already there:") == lines[1][0]
    assert lines[0][1] == lines[1][1]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (["--interpolate", "case-000", "absent"], ["--interpolate", "case-000", "absent"]),
        (["--shift", "diagnosis = 'malignant'"], ["--shift", "diagnosis = 'malignant'"]),
        (["--shift", "absent = 1", "--key", "case-000"], ["--shift", "absent = 1", "--key", "case-000"]),
        (["--traverse", "absent"], ["--key", "absent"]),
    ],
)
def test_options_of_sample_fail_as_traverse_does(cells: Path, old: list[str], new: list[str]) -> None:
    runner = CliRunner()

    first = runner.invoke(app, ["sample", str(cells), *old]).exception
    second = runner.invoke(app, ["traverse", str(cells), *new]).exception

    assert isinstance(first, AepipeError)
    assert type(first) is type(second)
    assert str(first) == str(second)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "expected one --key to traverse, got 0"),
        (["--key", "a", "--key", "b"], "expected one --key to traverse, got 2"),
        (["--interpolate", "a", "b", "--dimensions", "z_000"], "--dimensions goes with --key alone"),
        (["--key", "a", "--amount", "2"], "--amount goes with --shift"),
        (["--interpolate", "a", "b", "--shift", "x = 1"], "one of --interpolate and --shift at a time"),
    ],
)
def test_traverse_rejects_conflicting_options(arguments: list[str], message: str) -> None:
    found = CliRunner().invoke(app, ["traverse", "job.toml", *arguments])

    assert isinstance(found.exception, JobInvalid)
    assert message in str(found.exception)


def test_sample_help_hides_the_former_options() -> None:
    options = {option for command in ("sample", "traverse") for option in help_options(command)}

    assert {"--rows", "--share", "--interpolate", "--shift", "--key"} <= options
    former = {
        "--fill",
        "--interpolate",
        "--shift",
        "--traverse",
        "--key",
        "--amount",
        "--dimensions",
        "--steps",
        "--how",
    }
    assert not former & help_options("sample")


def help_options(command: str) -> set[str]:
    text = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "200", "NO_COLOR": "1"}).output
    return set(re.findall(r"--[a-z-]+", text.split("Options", 1)[1]))
