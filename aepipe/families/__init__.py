"""The families there are: the folder is the registry. From [model] of a job to a network that can be trained."""

import difflib
import importlib
import pkgutil
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from pydantic import BaseModel, ValidationError
from torch import nn

from aepipe import config
from aepipe.errors import OptionInvalid
from aepipe.family import Family, Model, TrunkPlan
from aepipe.layout import Layout
from aepipe.nets import trunk as trunks
from aepipe.nets.likelihood import Likelihood, LikelihoodOptions, make_likelihood

NO_TRUNK = "none"


class Plan(NamedTuple):
    """A model that can be built: everything about it is known, and fits the layout."""

    family: Family
    options: BaseModel
    trunk: TrunkPlan
    likelihood: LikelihoodOptions
    resolved: dict[str, object]
    """[model] with every default in its place, for the model card"""


def names() -> tuple[str, ...]:
    """The families there are, sorted."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(__path__)))


def find(name: str) -> Family:
    """The family of that name. Raises OptionInvalid with the nearest right name."""
    if name not in names():
        raise OptionInvalid(f"[model] family = '{name}' is not one{_nearest(name, names())}.")
    family: Family = importlib.import_module(f"{__name__}.{name}").FAMILY
    return family


def build(layout: Layout, model: config.Model, seed: int) -> Model:
    """The untrained network of [model] for this layout; the same seed gives the same weights. Raises OptionInvalid."""
    planned = plan(layout, model)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        likelihood = make_likelihood(layout, planned.likelihood)
        return planned.family.build(layout, planned.options, planned.trunk, likelihood)


def plan(layout: Layout, model: config.Model) -> Plan:
    """[model] against the layout: which family, trunk and options. Raises OptionInvalid with every fault at once."""
    family = find(model.family)
    trunk = _trunk_name(family, layout, model.trunk)
    groups: dict[str, type[BaseModel]] = {"family": family.options, "likelihood": LikelihoodOptions}
    if trunk != NO_TRUNK:
        groups["trunk"] = trunks.find(trunk).options
    options = _sorted_into(groups, model)
    faults = family.faults(layout, options["family"])
    if faults:
        raise OptionInvalid(f"[model] {'; '.join(faults)}.")
    likelihood = LikelihoodOptions.model_validate(options["likelihood"])
    resolved: dict[str, object] = {"family": family.name, "trunk": trunk}
    for each in options.values():
        resolved |= each.model_dump(mode="json")
    return Plan(family, options["family"], _trunk_plan(trunk, layout, options.get("trunk")), likelihood, resolved)


def _trunk_name(family: Family, layout: Layout, asked: str | None) -> str:
    if not family.trunks:
        if asked is not None:
            raise OptionInvalid(f"[model] family '{family.name}' has no trunk; leave out trunk = '{asked}'.")
        return NO_TRUNK
    if asked is None:
        return trunks.best_for(layout.kind)
    if asked not in family.trunks:
        raise OptionInvalid(
            f"[model] trunk = '{asked}' is not one of family '{family.name}'{_nearest(asked, family.trunks)}."
        )
    kinds = trunks.find(asked).kinds
    if layout.kind not in kinds:
        raise OptionInvalid(
            f"[model] trunk = '{asked}' takes {' or '.join(kinds)} rows, these are {layout.kind} rows; "
            f"take trunk = '{trunks.best_for(layout.kind)}'."
        )
    return asked


def _sorted_into(groups: Mapping[str, type[BaseModel]], model: config.Model) -> dict[str, BaseModel]:
    """The options of each group, validated. Raises OptionInvalid with every fault at once."""
    known = {key for group in groups.values() for key in group.model_fields}
    faults = [f"unknown key '{key}'{_nearest(key, sorted(known))}" for key in model.options if key not in known]
    options = {}
    for name, group in groups.items():
        mine = {key: value for key, value in model.options.items() if key in group.model_fields}
        try:
            options[name] = group.model_validate(mine)
        except ValidationError as error:
            faults += [f"{fault['loc'][0]} = {fault['input']!r}: {fault['msg']}" for fault in error.errors()]
    if faults:
        raise OptionInvalid(f"[model] {'; '.join(faults)}.")
    return options


def _trunk_plan(name: str, layout: Layout, options: BaseModel | None) -> TrunkPlan:
    if options is None:
        return TrunkPlan(NO_TRUNK, _no_network, _no_network)
    trunk = trunks.find(name)

    def encoder(layout: Layout, outputs: int) -> nn.Module:
        return trunk.encoder(layout, options, outputs)

    def decoder(layout: Layout, inputs: int, likelihood: Likelihood) -> nn.Module:
        return trunk.decoder(layout, options, inputs, likelihood)

    return TrunkPlan(name, encoder, decoder, trunk.learning_rate(layout), trunk.start)


def _no_network(*_: object) -> nn.Module:
    raise AssertionError("a family without trunks asked for a network")


def _nearest(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f", did you mean '{near[0]}'?" if near else f"; known are {', '.join(known)}"
