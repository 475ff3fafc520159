"""Files that start a Ray cluster fit the schemas of the tools that read them."""

import json
from pathlib import Path

import pytest
import yaml

DEPLOY = Path(__file__).parents[2] / "deploy"


def test_the_ray_cluster_file_fits_the_schema_of_ray() -> None:
    ray = pytest.importorskip("ray", reason="the extra ray is not installed")
    jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is not installed")
    schema = json.loads((Path(ray.__file__).parent / "autoscaler" / "ray-schema.json").read_text())

    faults = jsonschema.Draft7Validator(schema).iter_errors(yaml.safe_load((DEPLOY / "ray-cluster.yaml").read_text()))
    assert [fault.message for fault in faults] == []


def test_the_kubernetes_job_mounts_its_volume_in_every_container() -> None:
    job = yaml.safe_load((DEPLOY / "kuberay-job.yaml").read_text())

    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    cluster = job["spec"]["rayClusterSpec"]
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        pod = group["template"]["spec"]
        volumes = {volume["name"] for volume in pod["volumes"]}
        assert all({mount["name"] for mount in each["volumeMounts"]} <= volumes for each in pod["containers"])
        path = job["spec"]["entrypoint"].split()[-1]
        assert all(any(path.startswith(m["mountPath"]) for m in each["volumeMounts"]) for each in pod["containers"])
