"""prefect.yaml uses the parameters of the flows, and nothing specific to one machine."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect import Flow
from prefect.client.schemas.schedules import CronSchedule
from prefect.exceptions import ParameterTypeError
from prefect.flows import load_flow_from_entrypoint

from aepipe.config.job import read_job

ROOT = Path(__file__).parent.parent.parent
TEXT = (ROOT / "prefect.yaml").read_text()
DEPLOYMENTS: list[dict[str, Any]] = yaml.safe_load(TEXT)["deployments"]
every_deployment = pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=lambda deployment: deployment["name"])


def flow_of(deployment: dict[str, Any]) -> Flow[Any, Any]:
    path, _, name = deployment["entrypoint"].partition(":")
    return load_flow_from_entrypoint(f"{ROOT / path}:{name}")


def test_scoring_training_and_sampling_are_scheduled() -> None:
    assert [deployment["name"] for deployment in DEPLOYMENTS] == [
        "nightly-scoring",
        "weekly-training",
        "weekly-sampling",
    ]


def test_schedule_has_no_absolute_paths() -> None:
    assert str(ROOT) not in TEXT
    assert str(Path.home()) not in TEXT


@every_deployment
def test_flow_takes_its_parameters_and_its_job_is_there(deployment: dict[str, Any]) -> None:
    options = flow_of(deployment).validate_parameters(deployment["parameters"])["options"]

    assert read_job(ROOT / options.job).name == "cells"


@every_deployment
def test_misspelt_parameter_is_refused(deployment: dict[str, Any]) -> None:
    with pytest.raises(ParameterTypeError, match="jbo"):
        flow_of(deployment).validate_parameters({"options": deployment["parameters"]["options"] | {"jbo": "x"}})


@every_deployment
def test_deployment_has_schedule_pool_tags_and_limit(deployment: dict[str, Any]) -> None:
    assert [CronSchedule(**schedule) for schedule in deployment["schedules"]]
    assert deployment["work_pool"]["name"] == "aepipe"
    assert "aepipe" in deployment["tags"]
    assert deployment["concurrency_limit"]["limit"] == 1
