"""Rules for every module, found by listing the folder, so that new modules are checked without an edit."""

import ast
import configparser
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.code_metrics import parsed

ROOT = Path(__file__).parent.parent
MODULES = sorted((ROOT / "aepipe").rglob("*.py"))
SCRIPTS = sorted(path for name in ("flows", "docs", "benchmarks") for path in (ROOT / name).rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
HEAVY = ("matplotlib", "pandas", "prefect", "scipy", "sklearn", "torch")
MOST_LINES_OF_A_MODULE, MOST_LINES_OF_A_FUNCTION, MOST_LOOSE_MODULES = 500, 60, 8

WRITERS = {
    "builtins": {"open"},
    "method": {
        "mkdir", "rename", "rmdir", "savefig", "symlink_to", "to_csv", "to_feather", "to_parquet", "touch", "unlink",
        "write_bytes", "write_text",
    },
    "os": {"makedirs", "mkdir", "open", "remove", "rename", "replace", "rmdir", "unlink"},
    "shutil": {"copy", "copy2", "copyfile", "copytree", "move", "rmtree"},
    "pq": {"ParquetWriter", "write_table", "write_to_dataset"},
    "np": {"save", "savetxt", "savez", "savez_compressed"},
    "torch": {"save"},
    "onnx": {"save", "save_model"},
    "json": {"dump"},
    "pickle": {"dump"},
    "tempfile": {"NamedTemporaryFile", "TemporaryDirectory", "mkdtemp", "mkstemp"},
}  # fmt: skip
BUFFERS = {"BytesIO", "BufferOutputStream"}

Function = ast.FunctionDef | ast.AsyncFunctionDef


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def _expect_none(faults: list[str]) -> None:
    if faults:
        pytest.fail("\n".join(faults), pytrace=False)


def _nodes(path: Path) -> Iterator[ast.AST]:
    return ast.walk(parsed(path))


MODULES_WITHOUT_TORCH = (
    "aepipe",
    "aepipe.batch.partition_scorer",
    "aepipe.jobs.score",
    "aepipe.jobs.report.report",
    "aepipe.cli.main",
)


@pytest.mark.parametrize("module", MODULES_WITHOUT_TORCH)
def test_scoring_and_reports_import_nothing_heavy(module: str) -> None:
    code = f"import json, sys, {module}; print(json.dumps(sorted(name for name in {HEAVY} if name in sys.modules)))"

    assert json.loads(_run(code)) == []


def test_scoring_starts_without_what_only_some_runs_need() -> None:
    later = ("http.client", "numpy.random", "onnxruntime", "smtplib", "statistics", "urllib.request")
    code = f"import json, sys, aepipe.jobs.score; print(json.dumps([name for name in {later} if name in sys.modules]))"

    assert json.loads(_run(code)) == []


def test_a_whole_scoring_run_imports_nothing_heavy(cells: Path) -> None:
    """Imports at the top of modules are not enough to check: pyarrow imports pandas by itself."""
    code = f"""
import json, sys
from aepipe.jobs.score import score
result = score({str(cells)!r})
assert result.nights and not result.failed, result
print(json.dumps(sorted(name for name in {HEAVY} if name in sys.modules)))
"""

    assert json.loads(_run(code)) == []


def _run(code: str) -> str:
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


def test_every_public_function_and_class_says_what_it_gives() -> None:
    no_progress = [f"{_name(path)}: {name}" for path in MODULES for name in _without_docstring(path)]

    _expect_none(no_progress)


def _without_docstring(path: Path) -> Iterator[str]:
    tree = parsed(path)
    if tree.body and ast.get_docstring(tree) is None:
        yield "the module"
    for node in tree.body:
        is_public = isinstance(node, Function | ast.ClassDef) and not node.name.startswith("_")
        if is_public and ast.get_docstring(node) is None:
            yield node.name


def test_every_write_goes_through_storage() -> None:
    elsewhere = [path for path in MODULES if ROOT / "aepipe" / "storage" not in path.parents]

    found = [f"{_name(path)}:{line} {call}" for path in elsewhere for call, line in _writes(path.read_text())]

    _expect_none(found)


def _writes(source: str) -> Iterator[tuple[str, int]]:
    """Yield name and line of each call that may write a file, except writes to a buffer in memory."""
    nodes = list(ast.walk(ast.parse(source)))
    buffers = {
        target.id
        for node in nodes
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call) and _last_name(node.value.func) in BUFFERS
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for node in nodes:
        if isinstance(node, ast.Call) and (call := _writing_call(node)) and not buffers & _names(node.args):
            yield call, node.lineno


def _names(words: list[ast.expr]) -> set[str]:
    return {word.id for word in words if isinstance(word, ast.Name)}


def _last_name(function: ast.expr) -> str:
    return ast.unparse(function).rpartition(".")[2]


def _writing_call(call: ast.Call) -> str | None:
    """Return the name of a call that may write a file, else None."""
    match call.func:
        case ast.Name(id="open"):
            return "open" if _is_for_writing(call, mode_place=1) else None
        case ast.Attribute(value=ast.Name(id=module), attr=name) if module in WRITERS:
            return f"{module}.{name}" if name in WRITERS[module] else None
        case ast.Attribute(attr="open"):
            return "open" if _is_for_writing(call, mode_place=0) else None
        case ast.Attribute(attr="replace") if len(call.args) == 1 and not call.keywords:
            return "replace"  # the method of a path; that of a string has two arguments
        case ast.Attribute(attr=name) if name in WRITERS["method"]:
            return name
    return None


def _is_for_writing(call: ast.Call, mode_place: int) -> bool:
    modes = [word.value for word in call.keywords if word.arg == "mode"] + call.args[mode_place : mode_place + 1]
    texts = [mode.value for mode in modes if isinstance(mode, ast.Constant) and isinstance(mode.value, str)]
    return any(set(text) <= set("rwaxbt+") and set(text) & set("wax+") for text in texts)


@pytest.mark.parametrize(
    ("code", "call"),
    [
        ("path.unlink(missing_ok=True)", "unlink"),
        ("open(path, 'w')", "open"),
        ("open(path, mode='ab')", "open"),
        ("path.open('r+b')", "open"),
        ("path.write_text('')", "write_text"),
        ("(folder / 'a').write_bytes(b'')", "write_bytes"),
        ("os.replace(a, b)", "os.replace"),
        ("path.replace(other)", "replace"),
        ("pq.write_table(table, path)", "pq.write_table"),
        ("torch.save(state, path)", "torch.save"),
        ("sink = pa.BufferOutputStream(); pq.write_table(table, sink)", None),
        ("buffer = io.BytesIO(); figure.savefig(buffer, format='png')", None),
        ("open(path)", None),
        ("path.open('rb')", None),
        ("Bundle.open('exported/a')", None),
        ("text.replace('a', 'b')", None),
        ("manifest._replace(rows=1)", None),
    ],
)
def test_the_scan_distinguishes_writing_from_reading(code: str, call: str | None) -> None:
    assert [found for found, _ in _writes(code)] == ([call] if call else [])


def test_no_module_and_no_function_is_long() -> None:
    every = (*MODULES, *SCRIPTS)
    long = [_name(path) for path in (*every, *TESTS) if len(path.read_text().splitlines()) > MOST_LINES_OF_A_MODULE]
    long += [f"{_name(path)}: {name}, {lines} lines" for path in every for name, lines in _long_functions(path)]

    _expect_none(long)


def _long_functions(path: Path) -> Iterator[tuple[str, int]]:
    for node in _nodes(path):
        if isinstance(node, Function) and node.end_lineno is not None:
            lines = node.end_lineno - node.lineno + 1
            if lines > MOST_LINES_OF_A_FUNCTION:
                yield node.name, lines


def _contract(name: str, key: str) -> list[list[str]]:
    """Return the module names in a contract of .importlinter, a list per line."""
    contracts = configparser.ConfigParser()
    contracts.read(ROOT / ".importlinter")
    lines = contracts[f"importlinter:contract:{name}"][key].strip().split("\n")
    return [line.replace(":", " ").split() for line in lines]


def test_every_package_has_a_layer() -> None:
    packages = {path.relative_to(ROOT / "aepipe").parts[0].removesuffix(".py") for path in MODULES} - {"__init__"}
    layers = [module.removeprefix("aepipe.") for line in _contract("layers", "layers") for module in line]

    assert sorted(set(layers) - {"flows"}) == sorted(packages)


def test_at_most_eight_modules_are_loose() -> None:
    loose = [path.name for path in MODULES if path.parent == ROOT / "aepipe"]

    assert len(loose) <= MOST_LOOSE_MODULES, loose


def test_the_scoring_wing_is_light() -> None:
    layers = [set(line) for line in _contract("layers", "layers")]
    below = set().union(*layers[next(at for at, layer in enumerate(layers) if "aepipe.models" in layer) + 1 :])
    light = {module for line in _contract("light", "source_modules") for module in line}

    assert below <= light
    assert {"aepipe.batch", "aepipe.engines", "aepipe.inference", "aepipe.jobs.score", "aepipe.bundles"} <= light
    assert [module for line in _contract("light", "forbidden_modules") for module in line] == list(HEAVY)


def test_no_import_cycle_joins_two_modules() -> None:
    graph = {_module_of(path): _imported(path) for path in MODULES}

    _expect_none([" -> ".join(cycle) for cycle in _cycles(graph)])


def _module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULE_NAMES = frozenset(map(_module_of, MODULES))


def _imported(path: Path) -> set[str]:
    """Return the modules of aepipe that a module imports when it is imported itself."""
    known = MODULE_NAMES
    found: set[str] = set()
    for node in parsed(path).body:
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names} & known
            found |= {node.module} & known
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names} & known
    own = _module_of(path)
    return {module for module in found if module != own and not own.startswith(f"{module}.")}


def _cycles(graph: dict[str, set[str]]) -> Iterator[list[str]]:
    """Yield the shortest cycle through every module that can reach itself."""
    for start in graph:
        ways = {module: [start, module] for module in graph[start]}
        frontier = list(ways)
        while frontier and start not in ways:
            module = frontier.pop(0)
            for after in graph.get(module, set()) - ways.keys():
                ways[after] = [*ways[module], after]
                frontier.append(after)
        if start in ways:
            yield ways[start]
