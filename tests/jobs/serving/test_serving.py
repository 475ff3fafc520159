"""Bundles for other tools: Triton, the Hugging Face Hub and MLflow."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pandas as pd
import pyarrow.parquet as pq
import pytest
import yaml

import aepipe
from aepipe.bundles.bundle import Bundle, PartInfo
from aepipe.errors import BundleNotFound, ExportFailed
from aepipe.jobs.serving import triton
from aepipe.jobs.serving.hugging_face import export_hugging_face
from aepipe.jobs.serving.triton import export_triton, triton_config
from aepipe.layout import Port

_TENSOR = re.compile(r'name: "(\w+)" data_type: TYPE_(\w+) dims: \[ ([\d, ]+) \]( reshape { shape: \[ \] })?')
_NUMPY = {"FP32": "float32", "INT32": "int32", "INT64": "int64", "UINT8": "uint8", "BOOL": "bool", "FP64": "float64"}


@pytest.fixture(params=["cells", "digits"])
def job(request: pytest.FixtureRequest) -> Path:
    folder: Path = request.getfixturevalue(f"trained_{request.param}")
    return folder / "job.toml"


def test_graphs_answer_to_what_their_triton_configuration_states(job: Path, tmp_path: Path) -> None:
    result = export_triton(job, tmp_path / "models")

    assert len(result.models) >= 4
    for name in result.models:
        config = (tmp_path / "models" / name / "config.pbtxt").read_text()
        session = ort.InferenceSession(tmp_path / "models" / name / "1" / "model.onnx")
        inputs, outputs = (_tensors(side) for side in config.split("output [", maxsplit=1))
        answers = session.run(list(outputs), {tensor: np.ones((3, *s), kind) for tensor, (kind, s) in inputs.items()})
        for (tensor, (kind, shape)), answer in zip(outputs.items(), answers, strict=True):
            assert (answer.dtype, answer.shape) == (np.dtype(kind), (3, *shape)), tensor


def _tensors(text: str) -> dict[str, tuple[str, tuple[int, ...]]]:
    return {
        name: (_NUMPY[kind], () if reshape else tuple(map(int, dims.split(","))))
        for name, kind, dims, reshape in _TENSOR.findall(text)
    }


def test_value_per_row_is_reshaped_for_triton() -> None:
    info = PartInfo(inputs=(Port("num", "float32", (4,)),), outputs=(Port("score", "float32", ()),))

    config = triton_config("cells_scorer", info)

    assert '{ name: "num" data_type: TYPE_FP32 dims: [ 4 ] }' in config
    assert '{ name: "score" data_type: TYPE_FP32 dims: [ 1 ] reshape { shape: [ ] } }' in config


def test_graph_with_other_tensors_than_stated_is_refused(trained_cells: Path) -> None:
    bundle = Bundle.open(trained_cells / "exported" / "cells")
    info = bundle.manifest.parts["scorer"]
    spoilt = info.model_copy(update={"outputs": info.outputs[1:]})

    with pytest.raises(ExportFailed, match="graph scorer has other tensors: expected"):
        triton._check_graph(bundle, "scorer", spoilt)


def test_unknown_version_is_refused(trained_cells: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleNotFound):
        export_triton(trained_cells / "job.toml", tmp_path, model="no-such-alias")


def test_hub_folder_has_front_matter_and_a_bundle_that_loads(job: Path, tmp_path: Path) -> None:
    result = export_hugging_face(job, tmp_path / "hub")

    _, front, body = result.card.read_text().split("---\n", maxsplit=2)
    matter = yaml.safe_load(front)
    assert matter["library_name"] == "aepipe"
    assert "anomaly-detection" in matter["tags"]
    assert all(isinstance(m["value"], float) for m in matter["model-index"][0]["results"][0]["metrics"])
    assert "## Options" in body
    assert result.folder.name in body
    assert aepipe.load(result.folder).version == result.version


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of MLflow: about its own hints, its file store and pandas
def test_bundle_in_mlflow_scores_like_aepipe_and_is_logged_once(
    trained_cells: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mlflow: Any = pytest.importorskip("mlflow", reason="the extra mlflow is not installed")
    from aepipe.jobs.serving.mlflow_log import log_mlflow

    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "mlruns").as_uri())
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.chdir(tmp_path)
    rows = pq.read_table(trained_cells / "dt=2026-01-07" / "part-0.parquet", partitioning=None).to_pandas()

    first = log_mlflow(trained_cells / "job.toml")
    again = log_mlflow(trained_cells / "job.toml")

    assert (again.model_version, again.run) == (first.model_version, first.run)
    assert first.aliases == ("champion",)
    scored = mlflow.pyfunc.load_model("models:/cells@champion").predict(rows)
    pd.testing.assert_frame_equal(scored, aepipe.load(trained_cells / "exported" / "cells").score(rows))
    run = mlflow.MlflowClient().get_run(first.run)
    assert run.data.params["family"] == Bundle.open(trained_cells / "exported" / "cells").manifest.family
    assert run.data.metrics["rows.train"] > 0
