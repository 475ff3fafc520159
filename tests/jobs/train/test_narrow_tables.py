"""Narrow tables: one column, linear relations, constants and duplicates are trained, exported and scored."""

from pathlib import Path

import numpy as np
import onnx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from onnx import numpy_helper

from aepipe.export.export import export_parts
from aepipe.export.parity import check_parity
from aepipe.heads.scorer import fit_scorer
from aepipe.jobs.score import score
from aepipe.jobs.train.train import train
from aepipe.models.base import Part
from tests.support.head_models import table_layout
from tests.support.head_models import train as train_model

ROWS = 600


def celsius_and_fahrenheit(rng: np.random.Generator) -> dict[str, object]:
    celsius = np.round(rng.normal(20, 5, ROWS), 1)
    return {"c": celsius, "f": np.round(celsius * 1.8 + 32, 2), "other": rng.normal(size=ROWS)}


def net_vat_gross(rng: np.random.Generator) -> dict[str, object]:
    net = np.round(rng.lognormal(3, 1, ROWS), 2)
    return {"net": net, "vat": np.round(net * 0.19, 2), "gross": np.round(net * 1.19, 2)}


def a_code_and_its_name(rng: np.random.Generator) -> dict[str, object]:
    codes = rng.choice(["de", "fr", "it"], ROWS).tolist()
    names = {"de": "Germany", "fr": "France", "it": "Italy"}
    return {"code": codes, "name": [names[code] for code in codes], "x": rng.normal(size=ROWS)}


TABLES = {
    "one number": lambda rng: {"a": rng.normal(20, 5, ROWS)},
    "celsius and fahrenheit": celsius_and_fahrenheit,
    "net, vat and gross": net_vat_gross,
    "a code and its name": a_code_and_its_name,
    "a number and two constants": lambda rng: {"x": rng.normal(size=ROWS), "k": np.full(ROWS, 5.0), "c": ["x"] * ROWS},
}


def random_table(rng: np.random.Generator) -> dict[str, object]:
    """Draw one to five columns: independent, linear in a common one, nearly so, copies, constants or categories."""
    common = rng.normal(rng.normal() * 10.0 ** rng.integers(-2, 4), 10 ** rng.uniform(-2, 3), ROWS)
    columns: dict[str, object] = {"first": rng.normal(size=ROWS) * 10 ** rng.uniform(-3, 4)}
    for index in range(rng.integers(0, 5)):
        columns[f"c{index}"] = {
            "linear": common * rng.normal() + rng.normal() * 50,
            "nearly linear": common * rng.normal() + rng.normal(0, common.std() * 10 ** -rng.uniform(1, 5), ROWS),
            "copy": common,
            "constant": np.full(ROWS, float(rng.integers(9))),
            "rounded": np.round(common * 1.8 + 32, 2),
            "category": rng.choice(["de", "fr", "it"], ROWS).tolist(),
        }[str(rng.choice(["linear", "nearly linear", "copy", "constant", "rounded", "category"]))]
    return columns


def write(folder: Path, columns: dict[str, object], *, family: str = "ae", data: str = "clean") -> Path:
    for partition in ("dt=2026-01-01", "dt=2026-01-02"):
        (folder / "data" / partition).mkdir(parents=True)
        pq.write_table(pa.table(columns), folder / "data" / partition / "part-0.parquet")
    job = folder / "job.toml"
    job.write_text(
        f'name = "narrow"\n[data]\npath = "data"\n[model]\nfamily = "{family}"\n'
        f'[train]\nto = "2026-01-01"\nepochs = 3\ndata = "{data}"\n[calibration]\nalpha = 0.05\n[run]\nworkers = 1\n'
    )
    return job


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "family"),
    [*((name, "ae") for name in TABLES), ("one number", "pca"), ("a number and two constants", "pca")],
)
def test_a_narrow_table_is_trained_and_scored(tmp_path: Path, name: str, family: str) -> None:
    job = write(tmp_path, TABLES[name](np.random.default_rng(0)), family=family)

    train(job)
    result = score(job)

    assert not result.failed
    assert result.nights[0].flagged <= 0.1 * ROWS


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(24))
def test_a_random_narrow_table_is_trained(tmp_path: Path, seed: int) -> None:
    family, data = ("ae", "vae", "pca", "denoising_ae")[seed % 4], ("clean", "polluted")[seed % 2]
    job = write(tmp_path, random_table(np.random.default_rng(seed)), family=family, data=data)

    assert train(job).created


@pytest.mark.slow
@pytest.mark.parametrize("head", ["knn_with_row", "knn_with_quantiles", "consensus", "reconstruction"])
def test_a_weight_changed_by_one_percent_is_still_refused(head: str) -> None:
    rng = np.random.default_rng(0)
    common = rng.normal(size=ROWS)
    num = np.column_stack([common, 1.8 * common + 32, rng.normal(size=ROWS)]).astype(np.float32)
    layout = table_layout(num)
    model = train_model(layout, {"num": num[:500]}, {"num": num[500:]}, epochs=3)
    scorer = fit_scorer(model, {"num": num[:500]}, {"num": num[500:]}, head=head, reasons=3)
    part = scorer.part()
    exported = export_one(part, num[:512])

    whole, changed = exported, [scaled(exported, name, 1.01) for name in large_weights(exported)]

    assert check_parity(part, whole, [num[:512]]).faults == ()
    assert changed
    assert all(check_parity(part, file, [num[:512]]).faults for file in changed)


def export_one(part: Part, num: np.ndarray) -> bytes:
    (found,) = export_parts([part], {"num": num})
    return found.onnx


def large_weights(file: bytes) -> list[str]:
    """Name the weights of the encoder and decoder: products with matrices of more than eight numbers."""
    graph = onnx.load_from_string(file).graph
    sizes = {each.name: numpy_helper.to_array(each).size for each in graph.initializer if len(each.dims) == 2}
    used = [name for node in graph.node if node.op_type in ("MatMul", "Gemm") for name in node.input]
    return [name for name in used if sizes.get(name, 0) > 8][:4]


def scaled(file: bytes, name: str, factor: float) -> bytes:
    model = onnx.load_from_string(file)
    for each in model.graph.initializer:
        if each.name == name:
            each.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(each) * np.float32(factor), name))
    return model.SerializeToString()
