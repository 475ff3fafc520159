"""Generated pages are up to date, and every key of a job has a description."""

from collections.abc import Iterator

from pydantic import BaseModel

from aepipe.config.job import ColumnSpec, Job
from aepipe.models import backbone as backbones
from aepipe.models import families
from aepipe.models.layers.likelihood import LikelihoodOptions
from tests.support.scripts import DOCS, docs_script


def test_generated_pages_are_up_to_date() -> None:
    for page, write in docs_script("make").PAGES.items():
        assert (DOCS / page).read_text() == write(), f"run: python docs/make.py, for {page}"


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
