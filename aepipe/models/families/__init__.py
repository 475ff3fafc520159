"""Registry of families, one per file of this folder; builds a network from [model] of a job."""

import importlib
import pkgutil
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import torch
from pydantic import BaseModel, ValidationError
from torch import nn

from aepipe.config import job as config
from aepipe.errors import OptionInvalid, did_you_mean
from aepipe.layout import Layout
from aepipe.models import backbone as backbones
from aepipe.models.base import BackbonePlan, Family, Model, OptionsT
from aepipe.models.layers.corruption import Corruption, CorruptionOptions, corruption_faults
from aepipe.models.layers.likelihood import Likelihood, LikelihoodOptions, make_likelihood

NO_BACKBONE = "none"


PRESETS: dict[str, tuple[str, dict[str, object]]] = {
    "denoising_ae": ("ae", {"corruption": "gaussian"}),
    "denoising_vae": ("vae", {"corruption": "gaussian"}),
}
"""Names for a family with other defaults."""


class Plan(NamedTuple):
    """Validated plan of a model: family, options and backbone that fit the layout."""

    family: Family[BaseModel]
    options: BaseModel
    backbone: BackbonePlan
    likelihood: LikelihoodOptions
    corruption: CorruptionOptions
    resolved: dict[str, object]
    """[model] with every default in its place, for the model card"""


def names() -> tuple[str, ...]:
    """List the names of all families, sorted."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(__path__)))


def find(name: str) -> Family[BaseModel]:
    """Return the family of a name or preset.

    Raises:
        OptionInvalid: the name is unknown; suggests the nearest one.
    """
    known = (*names(), *PRESETS)
    if name not in known:
        raise OptionInvalid(f"[model] family = '{name}' is not one{did_you_mean(name, sorted(known), listed=40)}")
    name = PRESETS[name][0] if name in PRESETS else name
    family: Family[BaseModel] = importlib.import_module(f"{__name__}.{name}").FAMILY
    return family


def build(layout: Layout, model: config.Model | Plan, seed: int) -> Model:
    """Build an untrained network for a layout; the same seed gives the same weights.

    Args:
        layout: Layout of the rows.
        model: [model] of a job, or the plan made from it for this layout.
        seed: Seed of the weights.

    Raises:
        OptionInvalid: options do not fit.
    """
    planned = model if isinstance(model, Plan) else plan(layout, model)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        state = getattr(planned.backbone.options, "state", None)
        likelihood = make_likelihood(layout, planned.likelihood, state=state)
        built = planned.family.build(layout, planned.options, planned.backbone, likelihood)
    built.corruption = Corruption(planned.corruption)
    return built


def plan(layout: Layout, model: config.Model, *, is_private: bool = False) -> Plan:
    """Resolve family, backbone and options of [model] for a layout.

    Args:
        layout: Layout of the rows.
        model: [model] of a job.
        is_private: The weights will be differentially private.

    Raises:
        OptionInvalid: lists every fault.
    """
    family = find(model.family)
    _refuse_items(family, layout)
    if layout.kind == "text" and not takes_texts(family):
        takers = " or ".join(name for name in names() if takes_texts(find(name)))
        raise OptionInvalid(
            f"[model] family '{family.name}' has no texts, but '{layout.texts[0].name}' is one: use {takers}, or name "
            'it "category" or "ignore" under [columns].'
        )
    backbone = _backbone_name(family, layout, model.trunk)
    _, preset = PRESETS.get(model.family, (family.name, {}))
    if layout.texts and preset:  # noise on numbers would leave the texts clean
        preset = {"corruption": "masking"}
    private = family.private_options if is_private else {}
    options = _sorted_into(
        family,
        None if backbone == NO_BACKBONE else backbones.find(backbone).options,
        {**preset, **private, **model.options},
    )
    corruption = options.corruption or CorruptionOptions()
    faults = [*_condition_faults(family, layout), *family.faults(layout, options.family)]
    if options.backbone is not None:
        faults += backbones.find(backbone).faults(layout, options.backbone)
    faults += corruption_faults(layout, corruption)
    if faults:
        raise OptionInvalid(f"[model] {'; '.join(faults)}")
    resolved: dict[str, object] = {"family": model.family, "trunk": backbone}
    for each in options:
        resolved |= each.model_dump(mode="json") if each is not None else {}
    planned = _backbone_plan(backbone, layout, options.backbone)
    return Plan(family, options.family, planned, options.likelihood, corruption, resolved)


def _refuse_items(family: Family[BaseModel], layout: Layout) -> None:
    """Check that a family models the items of a layout, one list without texts.

    Raises:
        OptionInvalid: it does not, or there are several lists or texts, too.
    """
    items = [text.name for text in layout.texts if text.is_set]
    if not items:
        return
    if len(layout.texts) > 1:
        both = " and ".join(f"'{text.name}'" for text in layout.texts)
        raise OptionInvalid(
            f"[model] {both} cannot be modelled together: expected one list of items and no text. Name all but one "
            '"ignore" under [columns].'
        )
    if not family.takes_items:
        takers = " or ".join(name for name in names() if find(name).takes_items)
        raise OptionInvalid(
            f"[model] family '{family.name}' has no lists of items, but '{items[0]}' is one: use {takers}, or name it "
            '"tags" or "ignore" under [columns].'
        )


def takes_texts(family: Family[BaseModel]) -> bool:
    """Return True if the family models rows with texts."""
    return family.takes_texts and any("text" in backbones.find(name).kinds for name in family.backbones)


def _condition_faults(family: Family[BaseModel], layout: Layout) -> Iterator[str]:
    if family.takes_conditions and not layout.given:
        yield (
            f"family '{family.name}' needs a condition, but no column is one: "
            f'set a column to "condition" under [columns]'
        )
    if layout.given and not (family.takes_conditions or (family.may_take_conditions and layout.kind == "table")):
        which = ", ".join(f"'{name}'" for name in layout.conditions)
        known = [find(name) for name in names()]
        takers = [each.name for each in known if each.takes_conditions]
        takers += [each.name for each in known if each.may_take_conditions and layout.kind == "table"]
        use = " or ".join(takers)
        yield f"family '{family.name}' has no conditions, but {which} is one: use {use}, or leave it out"


def _backbone_name(family: Family[BaseModel], layout: Layout, asked: str | None) -> str:
    if not family.backbones:
        if asked is not None:
            raise OptionInvalid(f"[model] family '{family.name}' has no backbone. Omit trunk = '{asked}'.")
        return NO_BACKBONE
    if asked is None:
        return _best_backbone(family, layout)
    if asked not in family.backbones:
        hint = did_you_mean(asked, family.backbones, listed=40)
        raise OptionInvalid(f"[model] trunk = '{asked}' is not one of family '{family.name}'{hint}")
    kinds = backbones.find(asked).kinds
    if layout.kind not in kinds:
        raise OptionInvalid(
            f"[model] trunk = '{asked}' does not fit the rows: expected {' or '.join(kinds)}, got {layout.kind}. "
            f"Use trunk = '{backbones.best_for(layout.kind)}'."
        )
    return asked


def _backbones_for(family: Family[BaseModel], layout: Layout) -> list[str]:
    return [name for name in family.backbones if layout.kind in backbones.find(name).kinds]


def _best_backbone(family: Family[BaseModel], layout: Layout) -> str:
    """Choose the default backbone: the best for the layout, otherwise the first that supports it."""
    best = backbones.best_for(layout.kind)
    able = _backbones_for(family, layout)
    if not able:
        others = [each for each in map(find, names()) if layout.given or not each.takes_conditions]
        takers = " or ".join(each.name for each in others if _backbones_for(each, layout))
        raise OptionInvalid(
            f"[model] family '{family.name}' does not accept {layout.kind} rows: its backbones are "
            f"{', '.join(family.backbones)}. Use {takers}."
        )
    return best if best in able else able[0]


class _Options(NamedTuple):
    """Validated options of [model], by the part that they belong to."""

    family: BaseModel
    likelihood: LikelihoodOptions
    backbone: BaseModel | None
    corruption: CorruptionOptions | None


def _sorted_into(family: Family[BaseModel], backbone: type[BaseModel] | None, given: Mapping[str, object]) -> _Options:
    """Validate the options of each group.

    Raises:
        OptionInvalid: lists every fault.
    """
    corruption = None if backbone is None else CorruptionOptions
    groups = (family.options, LikelihoodOptions, backbone, corruption)
    known = {key for group in groups if group is not None for key in group.model_fields}
    faults = [f"unknown key '{key}'{did_you_mean(key, sorted(known), listed=40)}" for key in given if key not in known]
    options = _Options(
        _validated(family.options, given, faults),
        _validated(LikelihoodOptions, given, faults),
        None if backbone is None else _validated(backbone, given, faults),
        None if corruption is None else _validated(corruption, given, faults),
    )
    if faults:
        raise OptionInvalid(f"[model] {'; '.join(faults)}")
    return options


def _validated(group: type[OptionsT], given: Mapping[str, object], faults: list[str]) -> OptionsT:
    """Validate the options of one group and append its faults to `faults`."""
    mine = {key: value for key, value in given.items() if key in group.model_fields}
    try:
        return group.model_validate(mine)
    except ValidationError as error:
        faults += [f"{fault['loc'][0]} = {fault['input']!r}: {fault['msg']}" for fault in error.errors()]
        return group.model_construct()  # a placeholder, so that the other groups are checked too: the caller raises


def _backbone_plan(name: str, layout: Layout, options: BaseModel | None) -> BackbonePlan:
    if options is None:
        return BackbonePlan(NO_BACKBONE, _no_network, _no_network)
    backbone = backbones.find(name)

    def encoder(layout: Layout, outputs: int) -> nn.Module:
        return backbone.encoder(layout, options, outputs)

    def decoder(layout: Layout, inputs: int, likelihood: Likelihood) -> nn.Module:
        return backbone.decoder(layout, options, inputs, likelihood)

    make_grid = backbone.grid

    def grid(layout: Layout, width: int, likelihood: Likelihood) -> backbones.GridNets:
        assert make_grid is not None
        return make_grid(layout, options, width, likelihood)

    rate = backbone.learning_rate(layout)
    return BackbonePlan(
        name,
        encoder,
        decoder,
        rate,
        backbone.start,
        backbone.output_layer,
        None if make_grid is None else grid,
        options,
        backbone.averaged(layout),
    )


def _no_network(*_: object) -> nn.Module:
    raise AssertionError("a family without backbones asked for a network")
