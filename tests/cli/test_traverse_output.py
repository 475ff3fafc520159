"""The walks of `aepipe sample` as a user types them."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from aepipe.cli.main import app
from aepipe.cli.traverse_output import Asked
from aepipe.errors import JobInvalid


def test_a_plain_sample_is_no_walk() -> None:
    assert Asked().walk is None
    assert Asked(traverse="a", steps=3, dimensions="z_000").walk == "traverse"


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (Asked(interpolate=("a", "b"), shift="x = 1"), "one of --interpolate and --shift at a time"),
        (Asked(interpolate=("a", "b"), amount=2.0), "--amount goes with --shift"),
        (Asked(key=("a",)), "--key goes with --shift"),
        (Asked(traverse="a", how="lerp"), "--how goes with --interpolate"),
        (Asked(shift="x = 1", steps=4), "--steps goes with --interpolate or --traverse"),
    ],
)
def test_options_that_do_not_go_together_are_refused(asked: Asked, said: str) -> None:
    with pytest.raises(JobInvalid, match=said):
        _ = asked.walk


def test_each_walk_is_written_and_told(cells: Path) -> None:
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
    told = json.loads(traversed.output)
    assert (told["kind"], told["rows"], told["created"]) == ("traversal", 14, True)
    assert Path(told["path"]).exists()


def test_options_of_draws_are_refused_beside_a_walk(cells: Path) -> None:
    found = CliRunner().invoke(app, ["sample", str(cells), "--traverse", "case-000", "--where", "x = 1"])

    assert isinstance(found.exception, JobInvalid)
    assert "--where does not go with --traverse, which draws nothing" in str(found.exception)
