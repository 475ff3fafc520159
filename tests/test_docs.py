"""Generated pages are up to date, and every command, option, key and name that a page mentions exists."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import click
import pytest
from pydantic import BaseModel
from typer.main import get_command

import aepipe
from aepipe.cli.main import app
from aepipe.config.job import ColumnSpec, Job, parse_job
from aepipe.models import backbone as backbones
from aepipe.models import families
from aepipe.models.layers.likelihood import LikelihoodOptions
from aepipe.sklearn import AutoencoderDetector, LatentFeatures, SyntheticSampler
from tests.support.scripts import DOCS, docs_script

ROOT = DOCS.parent
SCORE_COLUMNS = ("score", "p_value", "is_anomaly", "reason_1", "reason_1_z")


def test_generated_pages_are_up_to_date() -> None:
    for page, write in docs_script("make").PAGES.items():
        assert (DOCS / page).read_text() == write(), f"run: python docs/make.py, for {page}"


@pytest.mark.parametrize("family", families.names())
def test_every_family_has_a_small_picture_with_a_caption(family: str) -> None:
    picture = DOCS / "pictures" / f"{family}.svg"

    assert picture.stat().st_size < 30_000
    assert docs_script("make").picture_caption(family).endswith(".")


def test_every_picture_belongs_to_a_family_and_has_a_script() -> None:
    drawn = set(docs_script("family_pictures").PICTURES)

    assert drawn == set(families.names())
    assert {path.stem for path in (DOCS / "pictures").iterdir()} == drawn


def test_paths_of_pictures_lose_decimals_and_the_second_end_of_points() -> None:
    shortened = docs_script("family_pictures").shortened

    assert (
        shortened('<path d="M 1.23 6.78 \nL 1.23 6.78 \nM 2.34 5 \nL 3 5 "/>')
        == '<path d="M1.2 6.7h0M 2.3 5\nL 3 5 "/>\n'
    )


@pytest.mark.slow
def test_a_picture_is_drawn_the_same_again() -> None:
    script = docs_script("family_pictures")
    first = script.svg_of(script.PICTURES["masked_ae"])
    script.trained.cache_clear()

    assert script.svg_of(script.PICTURES["masked_ae"]) == first


def models() -> Iterator[type[BaseModel]]:
    yield from (ColumnSpec, LikelihoodOptions)
    for field in Job.model_fields.values():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield field.annotation
    yield from (families.find(name).options for name in families.names())
    yield from (backbones.find(name).options for name in backbones.names())


def test_every_key_of_a_job_has_a_description() -> None:
    undocumented = [
        f"{model.__module__}.{model.__name__}.{name}"
        for model in models()
        for name, field in model.model_fields.items()
        if not field.description
    ]

    assert undocumented == []


PAGES = (ROOT / "README.md", *sorted(DOCS.glob("*.md")))
COMMANDS: dict[str, click.Command] = get_command(app).commands  # type: ignore[attr-defined]


def code_of(text: str) -> list[str]:
    """Return the lines of code of a page and its inline code."""
    fenced = re.findall(r"^```[^\n]*\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    inline = re.findall(r"(?<!`)`([^`\n]+)`(?!`)", re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE))
    indented = re.findall(r"^ {4}(.+)$", text, re.MULTILINE)
    return [*(line for block in fenced for line in block.replace("\\\n", " ").splitlines()), *inline, *indented]


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_every_command_and_option_of_a_page_exists(page: Path) -> None:
    wrong = []
    for line in code_of(page.read_text()):
        for name, words in re.findall(r"(?:^|&& )aepipe ([a-z]+)\b([^#|]*)", line.strip()):
            if name not in COMMANDS:
                wrong.append(f"aepipe {name}")
                continue
            options = {option for each in COMMANDS[name].params for option in each.opts}
            wrong += [f"aepipe {name} {word}" for word in re.findall(r"--[a-z-]+", words) if word not in options]

    assert wrong == []


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_every_example_of_a_job_file_is_valid(page: Path) -> None:
    for block in re.findall(r"^```toml\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE):
        if block.count("[model]") > 1:  # several examples of one section
            continue
        raw = tomllib.loads(block)
        job = {"name": "example", **raw, "data": {"path": ".", "entity": "device", **raw.get("data", {})}}

        parse_job(job, source=Path("job.toml"))


def test_names_of_aepipe_in_the_tables_for_other_tools_exist() -> None:
    wrong = []
    rows = re.findall(r"^\| (?!-)[^|]* \| ([^|]*) \|", (DOCS / "coming_from.md").read_text(), re.MULTILINE)
    for code in re.findall(r"`([^`]+)`", " ".join(rows)):
        wrong += [] if is_known(code) else [code]

    assert wrong == []


def is_known(code: str) -> bool:
    """Return whether a command, a key of a job, a column of scores or a name of Python exists."""
    section = re.fullmatch(r"\[?\[([a-z.]+)\]\]?(?: (\w+).*)?", code)
    if section:
        model: type[BaseModel] | dict[str, object] = Job
        for part in section[1].split("."):
            fields = model.model_fields if isinstance(model, type) else {}
            if part == "columns" or part not in fields:
                return part == "columns"
            kinds = (fields[part].annotation, *get_args(fields[part].annotation))
            model = next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), {})
        keys = {field.alias or name for name, field in model.model_fields.items()} if isinstance(model, type) else set()
        return section[2] is None or section[2] in keys
    if code.startswith("aepipe "):
        return code.split()[1] in COMMANDS
    name = re.match(r"-?(?:aepipe\.)?([\w.]+)", code)
    estimators = {each.__name__: each for each in (AutoencoderDetector, LatentFeatures, SyntheticSampler)}
    known = {*estimators, "Model", "capacity", "columns", "contamination", "pickle", "offset_", *SCORE_COLUMNS}
    return name is not None and all(
        part in known or any(hasattr(each, part) for each in (*estimators.values(), aepipe.Model))
        for part in name[1].split(".")
    )


def test_readme_names_every_extra_of_users() -> None:
    for_developers = {"dev", "docs", "benchmarks"}
    declared = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"])
    table = (ROOT / "README.md").read_text().split("| extra | for |")[1].split("\n\n")[0]

    assert set(re.findall(r"`([a-z]+)`", table)) - declared == set()
    assert declared - for_developers - set(re.findall(r"`([a-z]+)`", table)) == set()
