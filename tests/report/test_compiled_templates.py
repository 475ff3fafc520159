"""Compiled templates: used while nothing that they depend on has changed."""

import marshal
from pathlib import Path

import pytest
from jinja2 import Environment, FileSystemLoader

from aepipe.report.compiled_templates import CompiledTemplates

HERE = Path(__file__)


@pytest.fixture(autouse=True)
def cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("sys.pycache_prefix", str(tmp_path / "cache"))
    monkeypatch.setattr("sys.dont_write_bytecode", False)
    (tmp_path / "page.html").write_text("{{ 2 | doubled }} of {{ name }}")
    return tmp_path / "cache"


def rendered(folder: Path, *, factor: int = 2, depends_on: Path = HERE) -> str:
    environment = Environment(
        loader=FileSystemLoader(folder), autoescape=True, bytecode_cache=CompiledTemplates([depends_on])
    )
    environment.filters["doubled"] = lambda value: value * factor
    return environment.get_template("page.html").render(name="<x>")


def kept(cached: Path) -> Path:
    (path,) = cached.rglob("*.jinja")
    return path


def test_a_kept_template_is_not_compiled_again(tmp_path: Path, cached: Path) -> None:
    assert rendered(tmp_path) == "4 of &lt;x&gt;"
    before = kept(cached).stat().st_mtime_ns

    # the constant was computed when the template was compiled: a filter that changes alone shows that it was not again
    assert rendered(tmp_path, factor=5) == "4 of &lt;x&gt;"
    assert kept(cached).stat().st_mtime_ns == before


def test_a_changed_template_is_compiled_again(tmp_path: Path) -> None:
    rendered(tmp_path)
    (tmp_path / "page.html").write_text("{{ name }}!")

    assert rendered(tmp_path) == "&lt;x&gt;!"


def test_a_changed_module_compiles_again(tmp_path: Path) -> None:
    module = tmp_path / "filters.py"
    module.write_text("factor = 2")
    rendered(tmp_path, depends_on=module)
    module.write_text("factor = 50")

    assert rendered(tmp_path, factor=50, depends_on=module) == "100 of &lt;x&gt;"


@pytest.mark.parametrize("content", [b"", b"j2", b"x" * 500])
def test_a_damaged_file_is_replaced(tmp_path: Path, cached: Path, content: bytes) -> None:
    rendered(tmp_path)
    whole = kept(cached).read_bytes()
    kept(cached).write_bytes(content)

    assert rendered(tmp_path) == "4 of &lt;x&gt;"
    assert kept(cached).read_bytes() == whole


def test_a_file_that_ends_too_early_is_replaced(tmp_path: Path, cached: Path) -> None:
    rendered(tmp_path)
    whole = kept(cached).read_bytes()
    kept(cached).write_bytes(whole[: -len(marshal.dumps(compile("1", "", "eval"))) // 2])

    assert rendered(tmp_path) == "4 of &lt;x&gt;"


def test_nothing_is_written_where_bytecode_is_not(
    tmp_path: Path, cached: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.dont_write_bytecode", True)

    assert rendered(tmp_path) == "4 of &lt;x&gt;"
    assert not cached.exists()


def test_a_folder_that_cannot_be_written_costs_the_cache_only(tmp_path: Path, cached: Path) -> None:
    cached.write_text("no folder")

    assert rendered(tmp_path) == "4 of &lt;x&gt;"
