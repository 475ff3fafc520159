"""Scoring without the packages of the extras, and the sentence that names a missing one."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from aepipe.versions import EXTRAS
from tests.conftest import UNCHECKED

ROOT = Path(__file__).parent.parent
MAIN = "from aepipe.cli.main import main; main()"


def run(code: str, *arguments: str | Path, extra: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run Python without the modules of an extra; None: of any extra."""
    absent = {module for module, name in EXTRAS.items() if extra in (None, name)}
    blocked = f"""
import importlib.abc, sys
class Blocked(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {absent!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Blocked())
"""
    words = [sys.executable, "-c", blocked + code, *map(str, arguments)]
    return subprocess.run(words, capture_output=True, text=True, check=False, cwd=ROOT, timeout=300)


def command(*arguments: str | Path, extra: str | None = None) -> subprocess.CompletedProcess[str]:
    return run(MAIN, *arguments, extra=extra)


def test_a_bundle_answers_without_any_extra(cells: Path) -> None:
    code = f"""
import aepipe, pyarrow.parquet as pq
model = aepipe.load({str(cells)!r})
rows = pq.read_table({str(cells.parent / "dt=2026-01-07" / "part-0.parquet")!r}, partitioning=None)
answers = [model.score(rows), model.encode(rows), model.reconstruct(rows), model.explain(rows.slice(0, 1))]
print([answer.num_rows for answer in answers], model.sample(7, format="arrow").num_rows)
print("pandas" in sys.modules)
"""
    done = run(code)

    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["[109, 109, 109, 30] 7", "False"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "words", [["inspect"], ["score"], ["sample", "--rows", "5"], ["explain"], ["models"], ["verify"]]
)
def test_commands_of_a_scoring_machine_need_no_extra(cells: Path, words: list[str]) -> None:
    name, *options = words
    done = command(name, cells, *(["case-000"] if name == "explain" else []), *options)

    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "module", "extra"), [(["train", "--force"], "torch", "train"), (["evaluate"], "sklearn", "train")]
)
def test_a_missing_extra_is_one_sentence_with_the_command(
    cells_with_baselines: Path, words: list[str], module: str, extra: str
) -> None:
    command("score", cells_with_baselines)
    name, *options = words
    done = command(name, cells_with_baselines, *options)

    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].endswith(f'Run: pip install "aepipe[{extra}]".'), done.stderr


@pytest.mark.slow
def test_sampling_on_a_scoring_machine_names_both_remedies(cells: Path) -> None:
    text = cells.read_text()
    assert UNCHECKED in text
    cells.write_text(text.replace(UNCHECKED, ""))

    done = command("sample", cells, "--rows", "5")

    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == (
        "error: the check of synthetic rows, which [samples] quality = { check = false } leaves out, needs the module "
        'sklearn, which is not installed. Run: pip install "aepipe[train]".'
    )


CALLS: dict[str, tuple[str, list[str]]] = {
    "train": (MAIN, ["train", "JOB", "--force"]),
    "report": (MAIN, ["report", "JOB"]),
    "images": ("from aepipe.tables.image_codec import shape_of; shape_of(b'\\x89PNG')", []),
    "flows": (MAIN, ["deploy", "JOB"]),
    "sign": (MAIN, ["sign", "JOB", "--key", "JOB"]),
    "private": (
        "from aepipe.training.privacy_noise import Mechanism, epsilon_of; epsilon_of([Mechanism(1.0, 1.0)], 1e-5)",
        [],
    ),
    "ray": (MAIN, ["score", "JOB"]),
    "spark": ("import aepipe; aepipe.spark", []),
    "mlflow": (MAIN, ["models", "JOB", "--log-mlflow"]),
    "delta": (MAIN, ["init", "delta://tables/rows"]),
    "iceberg": (MAIN, ["init", "iceberg://prod/fraud.rows"]),
    "text": ("from aepipe.encoding.tokens import train_bpe; train_bpe(['a b'])", []),
    "stores": (
        "from aepipe.stores.connection import Root; from aepipe.stores.object_client import client\n"
        "client(Root('abfs', 'rows@lake.dfs.core.windows.net', ''))",
        [],
    ),
    "alerts": (MAIN, ["alert", "JOB"]),
    "example": (
        "from pathlib import Path; from aepipe.jobs.example_flights import write_flights, FIRST_DAY\n"
        "write_flights(Path('nowhere'), FIRST_DAY, FIRST_DAY)",
        [],
    ),
}
"""Uses of each extra: code, and the arguments of a command."""

NOT_IMPORTED = {"all", "gpu", "dev", "docs", "benchmarks"}
"""Extras without a module that aepipe imports: `doctor` and the message about the device name what the GPU needs."""


def test_every_extra_has_a_call_that_needs_it() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

    assert set(project["optional-dependencies"]) == set(CALLS) | NOT_IMPORTED
    assert set(EXTRAS.values()) == set(CALLS)


@pytest.mark.slow
@pytest.mark.parametrize("extra", CALLS)
def test_every_missing_extra_is_one_sentence(extra: str, scored_cells: Path) -> None:
    settings = {"ray": '\n[run]\nengine = "ray"\n', "alerts": '\n[alerts]\nservices = ["json://127.0.0.1:9"]\n'}
    scored_cells.write_text(scored_cells.read_text() + settings.get(extra, ""))
    code, words = CALLS[extra]

    done = run(code, *(str(scored_cells) if word == "JOB" else word for word in words), extra=extra)

    assert done.returncode != 0
    if code == MAIN:
        assert "Traceback" not in done.stderr
    assert f'Run: pip install "aepipe[{extra}]".' in done.stdout + done.stderr


def test_python_calls_name_the_extra_too() -> None:
    done = run("""
import aepipe, pyarrow as pa
from aepipe.errors import ExtraMissing
for call in (lambda: aepipe.sklearn, lambda: aepipe.fit(pa.table({"a": [float(at) for at in range(50)]}))):
    try:
        call()
    except ExtraMissing as error:
        print(isinstance(error, ImportError), error)
""")

    assert done.stderr == ""
    assert [line.endswith('Run: pip install "aepipe[train]".') for line in done.stdout.splitlines()] == [True, True]


def test_doctor_accepts_a_scoring_machine(cells: Path) -> None:
    done = command("doctor", cells)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "BAD" not in done.stdout


def test_every_module_of_an_extra_has_a_requirement() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = {
        "sklearn": "scikit-learn",
        "PIL": "pillow",
        "mlflow": "mlflow-skinny",
        "pydantic_settings": "pydantic-settings",
    }

    def packages(lines: list[str]) -> set[str]:
        return {re.split(r"[^\w-]", line)[0] for line in lines}

    for module, extra in EXTRAS.items():
        assert named.get(module, module) in packages(project["optional-dependencies"][extra])
        assert named.get(module, module) not in packages(project["dependencies"])


def test_the_wheel_holds_one_package() -> None:
    build = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]

    assert build["packages"] == ["aepipe"]


NO_PREFECT = {"__init__", "examples", "night_summary", "options"}
"""Modules of flows/ that work without Prefect."""


@pytest.mark.slow
@pytest.mark.parametrize("script", sorted((ROOT / "flows").glob("*.py")), ids=lambda path: path.stem)
def test_every_flow_without_prefect_is_one_sentence(script: Path) -> None:
    done = run(f"import runpy; runpy.run_path({str(script)!r}, run_name='__main__')", extra="flows")

    if script.stem in NO_PREFECT:
        assert "Traceback" not in done.stderr
        assert "prefect" not in done.stderr
    else:
        assert done.returncode == 2
        assert done.stderr == (
            "error: the module prefect is not installed: expected the extra 'flows'. "
            'Run: pip install "aepipe[flows]".\n'
        )


def test_one_module_of_the_flows_imports_prefect() -> None:
    sources = {path.stem: path.read_text() for path in (ROOT / "flows").glob("*.py")}
    found = re.compile(r"^ *(?:from|import) (?:prefect|pydantic_settings)\b", re.MULTILINE)

    assert [name for name, text in sources.items() if found.search(text)] == ["prefect_api"]
