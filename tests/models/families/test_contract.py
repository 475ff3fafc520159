"""Contract of every family, on every backbone and every kind of row; new families are found by listing the folder."""

import copy
import functools
import importlib
import inspect
import io
import re
from collections.abc import Iterator

import pytest
import torch
from pydantic import BaseModel
from torch.optim import SGD

from aepipe.config.job import Model as Section
from aepipe.export.export import export_parts
from aepipe.layout import RANKER, TEXT_SAMPLER, Category, Layout
from aepipe.models import backbone as backbones
from aepipe.models import families
from aepipe.models.base import Batch, Family, Model, StepContext
from aepipe.models.export_parts import latent_tensors, named
from aepipe.models.families import build, find, names, takes_texts
from aepipe.models.layers.preprocessing import Row
from aepipe.training.loop import optimizer_step
from tests.support.layouts import LAYOUTS, random_rows, with_conditions

Case = tuple[str, str | None, str]


VARIANTS: dict[str, tuple[str, dict[str, object]]] = {
    "vae+vampprior": ("vae", {"prior": "vampprior", "pseudo_inputs": 7}),
    "vae+planar": ("vae", {"posterior": "planar"}),
    "vae+iaf": ("vae", {"posterior": "iaf", "flow_steps": 3}),
    "vq_vae+fsq": ("vq_vae", {"quantizer": "fsq", "levels": [5, 4, 3]}),
    "vq_vae+residual": ("vq_vae", {"codebook": 8, "residual": 3}),
}
"""Families with options that change their latents, tested on the default backbone of few layouts."""


def section_of(case: Case) -> Section:
    family, options = VARIANTS.get(case[0], (case[0], {}))
    return Section.model_validate({"family": family, "trunk": case[1], **options})


def family_of(case: Case) -> Family[BaseModel]:
    return find(section_of(case).family)


def cases() -> Iterator[Case]:
    for family in names():
        for backbone in find(family).backbones or (None,):
            for name, layout in LAYOUTS.items():
                if backbone is not None and layout.kind not in backbones.find(backbone).kinds:
                    continue
                if layout.kind == "text" and not takes_texts(find(family)):
                    continue
                if (layout.kind == "items" and not find(family).takes_items) or (
                    family == "mult_vae" and layout.kind != "items"
                ):
                    continue
                if not find(family).takes_codes or (layout.categories and not layout.numbers):
                    yield family, backbone, name
    for variant, (family, _) in VARIANTS.items():
        for name in ("mixed", "grey", "series"):
            backbone = backbones.best_for(LAYOUTS[name].kind)
            if backbone in find(family).backbones:
                yield variant, backbone, name


def layout_of(case: Case) -> Layout:
    layout = LAYOUTS[case[2]]
    if family_of(case).takes_codes:  # it gets a column with many codes as two with few
        layout = layout.model_copy(update={"categories": tuple(map(_of_few_codes, layout.categories))})
    return with_conditions(layout) if family_of(case).takes_conditions else layout


def _of_few_codes(category: Category) -> Category:
    return category.model_copy(update={"size": min(category.size, 40)})


every_case = pytest.mark.parametrize("case", list(cases()), ids=lambda case: "-".join(map(str, case)))


def make(case: Case) -> tuple[Model, tuple[torch.Tensor, ...], Row]:
    """Return a copy of a prepared model of a case, its rows as tensors, and the preprocessed rows."""
    return copy.deepcopy(_made(case))


@functools.cache  # what a family prepares may take seconds
def _made(case: Case, rows: int = 40, seed: int = 0) -> tuple[Model, tuple[torch.Tensor, ...], Row]:
    layout = layout_of(case)
    model = build(layout, section_of(case), seed)
    tensors = tuple(torch.from_numpy(random_rows(layout, rows)[port.name]) for port in layout.ports)
    row = model.preprocessing(named(layout, tensors))
    model.prepare(Batch(row, row))
    return model.eval(), tensors, row


@every_case
def test_shapes_follow_the_layout(case: Case) -> None:
    model, _, row = make(case)
    latents = len(model.latent.names)

    posterior = model.posterior(row)
    params = model.reconstruct(row).params

    assert posterior.mean.shape == (40, latents)
    assert posterior.log_var is None or posterior.log_var.shape == (40, latents)
    assert params.shape == (40, model.likelihood.width)
    assert model.likelihood.nll(params, row).shape == (40, model.layout.features)
    assert model.likelihood.residual(params, row).shape == (40, model.layout.features)
    assert posterior.kl.shape[0] == 40
    assert case[0] in ("vae+planar", "vae+iaf") or (posterior.kl.sum(1) >= 0).all()  # with a flow it is an estimate
    assert posterior.pooled.shape == (40, len(model.latent.pooled))
    assert len(set(model.latent.names)) == latents


@every_case
def test_a_turn_gives_finite_gradients_to_its_own_parameters_and_to_no_other(case: Case) -> None:
    model, _, row = make(case)
    generator = torch.Generator().manual_seed(0)
    model.train()

    for objective in model.objectives():
        model.zero_grad()
        loss = optimizer_step(
            model, objective, SGD(objective.parameters, lr=0.0), Batch(row, row), StepContext(0.5, generator)
        )

        own = {id(parameter) for parameter in objective.parameters}
        assert loss.total.shape == ()
        assert all(not term.requires_grad and term.isfinite() for term in loss.terms.values())
        for name, parameter in model.named_parameters():
            if id(parameter) in own:
                assert parameter.grad is not None, name
                assert parameter.grad.isfinite().all(), name
            else:
                assert parameter.grad is None, name


@every_case
def test_every_parameter_belongs_to_one_player(case: Case) -> None:
    model, _, _ = make(case)

    owned = [id(parameter) for objective in model.objectives() for parameter in objective.parameters]

    trained = model.parameters() if model.objectives() else ()  # a closed form has no parameters to train
    assert sorted(owned) == sorted(id(parameter) for parameter in trained)


@every_case
def test_outputs_depend_neither_on_the_call_nor_on_the_batch(case: Case) -> None:
    model, _, row = make(case)

    first, again = model.posterior(row).mean, model.posterior(row).mean
    single = torch.cat([model.posterior(Row(*(part[i : i + 1] for part in row))).mean for i in range(5)])

    assert torch.equal(first, again)
    assert torch.equal(model.decode(first, row.given), model.decode(again, row.given))
    torch.testing.assert_close(first[:5], single, rtol=1e-5, atol=1e-5)


@every_case
def test_a_saved_model_answers_as_before(case: Case) -> None:
    model, _, row = make(case)
    other = build(model.layout, section_of(case), 1).eval()
    file = io.BytesIO()

    torch.save(model.state_dict(), file)
    file.seek(0)
    other.load_state_dict(torch.load(file, weights_only=True))

    params, others = (each.reconstruct(row).params for each in (model, other))
    assert torch.equal(params, others)
    assert torch.equal(model.likelihood.nll(params, row), other.likelihood.nll(params, row))


@every_case
def test_parts_output_what_their_ports_declare(case: Case) -> None:
    model, tensors, row = make(case)
    known = dict(zip((port.name for port in model.layout.ports), tensors, strict=True))
    known["z"] = latent_tensors(model, model.posterior(row))[0]

    for part in model.parts():
        noise = {port.name: torch.rand(40, *port.row_shape) for port in part.inputs if port.noise}
        examples = {name: torch.from_numpy(rows[:40]) for name, rows in part.examples.items()}
        answer = part.module(*((known | noise | examples)[port.name] for port in part.inputs))
        for port, tensor in zip(part.outputs, answer if isinstance(answer, tuple) else (answer,), strict=True):
            assert tensor.shape == (40, *port.row_shape), (part.name, port.name)
            assert tensor.detach().numpy().dtype == port.dtype, (part.name, port.name)
            known.setdefault(port.name, tensor)


@every_case
def test_the_same_seed_builds_the_same_weights_and_leaves_torch_s_own_noise_alone(case: Case) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    section = section_of(case)

    first, same, other = (build(layout_of(case), section, seed).state_dict() for seed in (3, 3, 4))

    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(tensor, same[name]) for name, tensor in first.items())
    assert case[0] == "pca" or not all(torch.equal(tensor, other[name]) for name, tensor in first.items())


@pytest.mark.parametrize("family", names())
def test_every_family_has_a_summary(family: str) -> None:
    found = find(family)

    assert found.name == family
    assert found.summary
    assert found.advice.startswith("Prefer it ")
    assert " Not " in found.advice
    assert all(field.description for field in found.options.model_fields.values())
    assert set(found.backbones) <= set(backbones.names())


@pytest.mark.parametrize("family", names())
def test_every_family_names_its_formula_and_its_paper(family: str) -> None:
    module = importlib.import_module(f"{families.__name__}.{family}")

    assert "log" in find(family).formula or "=" in find(family).formula
    assert re.search(r"\b(19|20)\d\d\b", inspect.getdoc(module) or ""), "expected a paper with its year"


@pytest.mark.parametrize("backbone", backbones.names())
def test_every_backbone_says_when_to_prefer_it(backbone: str) -> None:
    assert backbones.find(backbone).advice.startswith("Prefer it ")


def test_keys_of_families_backbones_and_likelihoods_never_mean_two_things() -> None:
    of_backbones = {key for name in backbones.names() for key in backbones.find(name).options.model_fields}
    of_families = {key for name in names() for key in find(name).options.model_fields}

    assert not of_backbones & of_families
    assert not (of_backbones | of_families) & {"sigma", "pixels", "family", "trunk"}


@pytest.mark.slow
@pytest.mark.parametrize("backbone", backbones.names())
def test_an_autoencoder_of_every_backbone_exports_what_torch_computes(backbone: str) -> None:
    name = next(name for name, layout in reversed(LAYOUTS.items()) if layout.kind in backbones.find(backbone).kinds)

    exported = export_parts(make(("ae", backbone, name))[0].parts(), random_rows(LAYOUTS[name], 512))

    further = [RANKER if text.is_set else TEXT_SAMPLER for text in LAYOUTS[name].texts]
    assert [part.part for part in exported] == ["encoder", "decoder", "sampler", *further]
