"""The examples with DuckDB and Polars in docs/tables.md, run in their order around one run of `aepipe score`."""

import re
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from aepipe.bundles.registry import Registry
from aepipe.config.job import parse_job
from aepipe.engines.local import MachineSettings, ScoreSettings, run
from aepipe.storage import SCORE, Outputs
from aepipe.tables.partitions import discover
from tests.support.linear_bundle import make_bundle, numbers

PAGE = Path(__file__).parent.parent / "docs" / "tables.md"


def examples() -> list[str]:
    section = PAGE.read_text().partition("## DuckDB and Polars")[2].partition("\n## ")[0]
    return [
        block.replace("exported/payments", "exported/linear")
        for block in re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    ]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_examples_with_duckdb_and_polars_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("duckdb")
    pytest.importorskip("polars")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "warehouse").mkdir()
    rows = numbers(600)
    pq.write_table(rows, "export.parquet")
    bundle = make_bundle(tmp_path, rows, data={"keys": ["id"]})
    Registry(bundle.path.parent).set_alias("champion", bundle.path.name, who="me", why="first")
    written, *others = examples()
    names: dict[str, Any] = {}

    exec(written, names)
    job = parse_job({"name": "payments", "data": {"path": "warehouse/payments"}}, source=tmp_path / "job.toml")
    outputs = Outputs(tmp_path / "out" / "payments")
    run(bundle, discover(job), ScoreSettings(outputs.root), MachineSettings(device="cpu", workers=1))
    for example in others:
        exec(example, names)

    manifests = outputs.manifests(SCORE)
    assert [(str(night), scored, flagged) for night, scored, flagged, _ in names["nights"]] == [
        (m.partition.removeprefix("dt="), m.details.rows, m.details.flagged) for m in manifests
    ]
    assert names["flagged"].height == sum(m.details.flagged for m in manifests) > 0
    assert len(names["worst"]) == 10
    assert names["scores"].num_rows == names["frame"].height == 100
    assert names["scores"]["score"].to_pylist() == names["frame"]["score"].to_list()
