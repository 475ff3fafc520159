"""Files of deploy/: they parse, their names exist, and they agree. Docker and systemd are not needed."""

import configparser
import json
import re
import shlex
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from prefect.client.schemas.actions import WorkPoolCreate

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
SERVICE_KEYS = {
    "build", "image", "command", "entrypoint", "environment", "volumes", "ports", "healthcheck", "depends_on",
    "restart", "profiles", "stop_grace_period", "deploy",
}  # fmt: skip
TEMPLATE: dict[str, Any] = json.loads((DEPLOY / "kubernetes-work-pool.json").read_text())


def test_every_service_has_known_keys_and_an_image() -> None:
    assert set(COMPOSE["services"]) == {"database", "server", "worker", "job"}
    for name, service in COMPOSE["services"].items():
        assert set(service) <= SERVICE_KEYS, name
        assert service["image"]


def test_services_depend_on_services_with_a_health_check_and_use_declared_volumes() -> None:
    for service in COMPOSE["services"].values():
        for other, condition in service.get("depends_on", {}).items():
            assert condition == {"condition": "service_healthy"}
            assert "healthcheck" in COMPOSE["services"][other]
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert source in COMPOSE["volumes"] or source.startswith("${")


def test_the_server_is_published_on_loopback_only_and_keeps_leases_on_disk() -> None:
    server = COMPOSE["services"]["server"]

    assert server["ports"] == ["127.0.0.1:4200:4200"]
    assert "postgresql+asyncpg://" in server["environment"]["PREFECT_API_DATABASE_CONNECTION_URL"]
    assert server["environment"]["PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE"].endswith(".filesystem")


def test_secrets_come_from_the_environment() -> None:
    text = (DEPLOY / "compose.yaml").read_text()

    assert re.findall(r"POSTGRES_PASSWORD: (.*)", text) == ["${POSTGRES_PASSWORD:?set POSTGRES_PASSWORD}"]


def test_the_gpu_file_extends_services_that_exist() -> None:
    services = yaml.safe_load((DEPLOY / "compose.gpu.yaml").read_text())["services"]

    assert set(services) <= set(COMPOSE["services"])
    for service in services.values():
        (device,) = service["deploy"]["resources"]["reservations"]["devices"]
        assert device == {"driver": "nvidia", "count": 1, "capabilities": ["gpu"]}


def test_the_image_copies_what_exists() -> None:
    lines = (DEPLOY / "Dockerfile").read_text().splitlines()
    copied = [word for line in lines if line.startswith("COPY") for word in line.split()[1:-1]]

    assert COMPOSE["x-aepipe"]["build"] == {"context": "..", "dockerfile": "deploy/Dockerfile"}
    assert {"aepipe", "flows", "pyproject.toml"} <= set(copied)
    assert all((ROOT / name).exists() for name in copied)


@pytest.mark.parametrize("name", ["prefect-server", "prefect-worker"])
def test_units_start_prefect_and_are_started_again(name: str) -> None:
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read(DEPLOY / "systemd" / f"{name}.service")

    assert unit["Service"]["Restart"] == "always"
    assert unit["Install"]["WantedBy"] == "default.target"
    command = shlex.split(unit["Service"]["ExecStart"])
    assert command[0].endswith("/.venv/bin/prefect")
    assert command[1] == name.removeprefix("prefect-")


def test_the_server_unit_listens_on_loopback() -> None:
    assert "--host 127.0.0.1" in (DEPLOY / "systemd" / "prefect-server.service").read_text()


def placeholders(value: Any) -> set[str]:
    if isinstance(value, dict):
        return set().union(*map(placeholders, value.values())) if value else set()
    if isinstance(value, list):
        return set().union(*map(placeholders, value)) if value else set()
    return set(re.findall(r"{{ (\w+) }}", value)) if isinstance(value, str) else set()


def test_the_work_pool_template_is_valid_and_declares_its_variables() -> None:
    jsonschema.Draft202012Validator.check_schema(TEMPLATE["variables"])
    WorkPoolCreate(name="aepipe", type="kubernetes", base_job_template=TEMPLATE)

    assert placeholders(TEMPLATE["job_configuration"]) == set(TEMPLATE["variables"]["properties"])
    defaults = {n: p["default"] for n, p in TEMPLATE["variables"]["properties"].items() if "default" in p}
    jsonschema.validate(defaults, TEMPLATE["variables"])


def test_files_hold_nothing_of_one_machine() -> None:
    for path in DEPLOY.rglob("*"):
        if path.is_file():
            assert str(Path.home()) not in path.read_text().replace("/home/aepipe", ""), path
