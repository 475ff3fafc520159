"""Generate docs/job.md and docs/families.md from the code: `python docs/make.py`."""

import html
import importlib
import inspect
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import NoneType
from typing import Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from aepipe.config.job import ColumnSpec, Job
from aepipe.heads import scores as heads
from aepipe.models import backbone as backbones
from aepipe.models import families
from aepipe.models.layers.corruption import CorruptionOptions
from aepipe.models.layers.likelihood import LikelihoodOptions
from aepipe.storage import put_bytes

DOCS = Path(__file__).parent

EXAMPLES: tuple[tuple[str, dict[str, object]], ...] = (
    ("vanilla: one hidden layer", {"family": "ae", "trunk": "mlp", "latent": 8}),
    ("deep", {"family": "ae", "trunk": "mlp", "hidden": [512, 256], "latent": 16}),
    ("linear: spans the principal components", {"family": "ae", "trunk": "mlp", "hidden": [], "latent": 8}),
    ("convolutional, for images", {"family": "ae", "trunk": "conv", "latent": 16}),
    ("denoising: noisy rows in, clean rows out", {"family": "denoising_ae", "corruption": "swap"}),
    ("sparse, wider than the row", {"family": "sparse_ae", "latent": 64, "sparsity": 3.0}),
    (
        "groups of eight with one active latent each",
        {"family": "binary_ae", "codes": "one_hot", "latent": 16, "choices": 8},
    ),
)
"""Name of a kind of autoencoder, and its keys in [model]."""


def job_reference() -> str:
    """Describe every section and key of a job file, with default and meaning."""
    lines = [
        "# The job file",
        "",
        "After this page you can write a job file by hand, and look up the meaning and default of each key.",
        "`python docs/make.py` writes the page from the code.",
        "",
        "Only `name` and `[data] path` are required. An unknown key is rejected, with the closest valid name.",
        "",
    ]
    for name, field in Job.model_fields.items():
        section, repeated = _section_of(field)
        if section is not None and section is not ColumnSpec:
            lines += _section(f"[[{name}]]" if repeated else f"[{name}]", section)
    lines += ["## [columns]", "", "The name of a kind, or a table with these keys:", "", *_table(ColumnSpec), ""]
    for name, field in ColumnSpec.model_fields.items():
        inner, _ = _section_of(field)
        if inner is not None:
            lines += _section(f"[columns] {name}", inner)
    return "\n".join(lines)


def _section(title: str, section: type[BaseModel]) -> Iterator[str]:
    """Describe a section and its nested sections."""
    yield from (f"## {title}", "", _paragraph(section), "", *_table(section), "")
    for name, field in section.model_fields.items():
        inner, repeated = _section_of(field)
        if inner is not None:
            whole = f"{title.strip('[]')}.{name}"
            yield from _section(f"[[{whole}]]" if repeated else f"[{whole}]", inner)


def _section_of(field: FieldInfo) -> tuple[type[BaseModel] | None, bool]:
    """Return the model of a nested section, and whether the section is repeated."""
    kinds = (field.annotation, *get_args(field.annotation))
    found = next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), None)
    return found, get_origin(field.annotation) is tuple


def _paragraph(section: type[BaseModel]) -> str:
    return " ".join((section.__doc__ or "").split())


def family_reference() -> str:
    """Describe every family, backbone and head, with its options."""
    lines = [
        "# Families, backbones and heads",
        "",
        "After this page you can choose a family, a backbone and a head, and set their options in the job file.",
        "`python docs/make.py` writes the page from the code, and `python docs/family_pictures.py` its pictures.",
        "",
        "In the formulas, x is a row and z its latents, f the encoder or its mean, q(z|x) the distribution that it",
        "gives, g the network of the decoder and p(x|z) the likelihood of a row, p(z) the prior, and ε noise. Greek",
        "letters are weights among the options of the family. A formula is the loss of a row, whose mean training",
        "minimises, unless it says otherwise.",
        "",
    ]
    lines += ["## Examples", "", "Each is a complete `[model]` section.", "", "```toml", *_examples(), "```", ""]
    for name in families.names():
        family = families.find(name)
        lines += [
            f'## family = "{name}"',
            "",
            f"{_sentence(family.summary)} Backbones (`trunk`): {', '.join(family.backbones) or 'none'}.",
            "",
            *_paper(name),
            f"`{family.formula}`",
            "",
            family.advice,
            "",
            f"![{picture_caption(name)}](pictures/{name}.svg)",
            "",
            picture_caption(name),
            "",
            *_figures(name),
        ]
        lines += [*_table(family.options), ""]
    lines += ["## Presets: families with other defaults", "", "| preset | family | options |", "|---|---|---|"]
    for name, (family_name, keys) in families.PRESETS.items():
        lines.append(f"| `{name}` | `{family_name}` | {', '.join(_assignments(keys))} |")
    lines += ["", "## Corruption, for every trained family", "", *_table(CorruptionOptions), ""]
    lines += ["## Likelihood, for every family", "", *_table(LikelihoodOptions), ""]
    for name in backbones.names():
        found = backbones.find(name)
        lines += [
            f'## trunk = "{name}"',
            "",
            f"{_sentence(found.summary)} {found.advice}",
            "",
            *_table(found.options),
            "",
        ]
    lines += ["## [score] head", "", "| head | score |", "|---|---|"]
    lines += [f"| `{name}` | {heads.find(name).summary} |" for name in heads.names()]
    return "\n".join([*lines, ""])


def _paper(name: str) -> Iterator[str]:
    """Yield what the module of a family says after its first line: its papers, and what differs from them."""
    text = inspect.getdoc(importlib.import_module(f"{families.__name__}.{name}")) or ""
    yield from (text.partition("\n")[2].strip(), "")


def picture_caption(name: str) -> str:
    """Return the caption that the picture of a family holds as its title."""
    found = re.search(r"<dc:title>(.*?)</dc:title>", (DOCS / "pictures" / f"{name}.svg").read_text(), re.DOTALL)
    return html.unescape(found[1]) if found else ""


def _figures(name: str) -> Iterator[str]:
    """List the figures of a family from the tables of the benchmark page, which are made of stored results."""
    page = (DOCS / "benchmarks.md").read_text()
    found = []
    for _, block in re.findall(r"<!-- (zoo|zoo-second):begin -->\n(.*?)<!-- \1:end -->", page, flags=re.DOTALL):
        table = block.partition("| measure |")[2].partition("\n\n")[0]
        cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]
        found += [row for row in cells if re.match(rf"{name}(?![\w-])", row[0]) and row[2] != "not measured"]
    if found:
        yield from ("On Fashion-MNIST ([benchmarks](benchmarks.md#the-zoo-of-families)):", "")
        yield from (f"- {row[0]}: {row[2]}{f', against {row[3]}' if row[3] else ''}" for row in found)
        yield ""


def _examples() -> Iterator[str]:
    for index, (name, keys) in enumerate(EXAMPLES):
        yield from ([""] if index else [])
        yield f"[model]  # {name}"
        yield from _assignments(keys)


def _assignments(keys: Mapping[str, object]) -> Iterator[str]:
    """Format keys as TOML assignments; for these values TOML equals JSON."""
    for key, value in keys.items():
        yield f"{key} = {json.dumps(value)}"


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def _table(model: type[BaseModel]) -> Iterator[str]:
    yield "| key | default | meaning |"
    yield "|---|---|---|"
    for name, field in model.model_fields.items():
        if _section_of(field)[0] is not None:
            continue
        yield f"| `{field.alias or name}` | {_default(field)} | {_meaning(field)} |"


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if isinstance(value, bool | tuple):
        value = json.dumps(value)
    return "none" if value is None else f"`{value}`"


def _meaning(field: FieldInfo) -> str:
    kinds = [field.annotation] if get_origin(field.annotation) is Literal else get_args(field.annotation)
    literal = [kind for kind in kinds if kind is not NoneType]
    is_choice = len(literal) == 1 and get_origin(literal[0]) is Literal and len(get_args(literal[0])) > 1
    given = get_args(literal[0]) if is_choice else ()
    choices = [json.dumps(choice) if isinstance(choice, bool) else str(choice) for choice in given]
    text = field.description or ""
    return "; ".join(part for part in (text, " or ".join(f"`{choice}`" for choice in choices)) if part).replace(
        "|", "\\|"
    )


PAGES = {"job.md": job_reference, "families.md": family_reference}

if __name__ == "__main__":
    for page, write in PAGES.items():
        put_bytes(DOCS / page, write().encode())
