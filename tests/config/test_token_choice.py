"""Temperature, top_k and top_p of a job or a call."""

from pathlib import Path

import pytest

from aepipe.config.job import parse_job
from aepipe.config.text import TokenChoice
from aepipe.errors import ArgumentInvalid, JobInvalid


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"temperature": 0}, "temperature: expected more than 0 and at most 100, got 0. For the likeliest"),
        ({"temperature": float("nan")}, "temperature: expected more than 0"),
        ({"top_k": 0}, "top_k: expected a whole number of at least 1, got 0"),
        ({"top_k": 2.5}, "top_k: expected a whole number of at least 1, got 2.5"),
        ({"top_p": 1.5}, "top_p: expected more than 0 and at most 1, got 1.5"),
        ({"top_p": True}, "top_p: expected more than 0 and at most 1, got True"),
    ],
)
def test_values_out_of_range_are_refused(given: dict[str, float], message: str) -> None:
    with pytest.raises(ArgumentInvalid) as refused:
        TokenChoice(**given)  # type: ignore[arg-type]

    assert message in str(refused.value)


def test_a_job_names_the_key_that_is_out_of_range_and_leaves_the_others_open() -> None:
    raw = {"name": "logs", "data": {"path": "logs"}}

    job = parse_job({**raw, "samples": {"temperature": 0.8, "top_k": 40}}, source=Path("/job.toml"))

    assert job.samples.token_choice == TokenChoice(0.8, 40)
    assert job.samples.token_choice.named == {"temperature": 0.8, "top_k": 40}
    assert not parse_job(raw, source=Path("/job.toml")).samples.token_choice
    with pytest.raises(JobInvalid, match=r"samples.top_p: expected at most 1, got 2"):
        parse_job({**raw, "samples": {"top_p": 2}}, source=Path("/job.toml"))
