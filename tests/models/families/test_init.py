"""From [model] to a network: refusals and defaults."""

import pytest

from aepipe.config.job import Model as Section
from aepipe.errors import OptionInvalid
from aepipe.models.families import build, find, names, plan
from tests.support.layouts import GREY, MIXED, NUMBERS


def section(**keys: object) -> Section:
    return Section.model_validate(keys)


def test_the_folder_is_the_registry() -> None:
    assert {"ae", "pca", "vae"} <= set(names())
    assert [find(name).name for name in names()] == list(names())


def test_a_table_gets_an_mlp_and_an_image_convolutions() -> None:
    assert plan(MIXED, section(family="vae")).backbone.name == "mlp"
    assert plan(GREY, section(family="vae")).backbone.name == "conv"
    assert plan(GREY, section(family="pca")).backbone.name == "none"


def test_what_was_resolved_names_every_option() -> None:
    resolved = plan(MIXED, section(family="vae", hidden=[8], free_bits=0.1)).resolved

    assert resolved["family"] == "vae"
    assert resolved["trunk"] == "mlp"
    assert resolved["hidden"] == [8]
    assert resolved["free_bits"] == 0.1
    assert resolved["sigma"] == "optimal"
    assert {"latent", "warm_up", "activation", "pixels"} <= set(resolved)


def test_what_was_resolved_plans_the_same_model_again() -> None:
    first = plan(MIXED, section(family="vae", latent=3))

    again = plan(MIXED, Section.model_validate(first.resolved))

    assert again.options == first.options
    assert again.resolved == first.resolved


@pytest.mark.parametrize(
    "layout,keys,sentence",
    [
        (NUMBERS, {"family": "vea"}, "[model] family = 'vea' is not one; did you mean 'vae'?"),
        (NUMBERS, {"family": "ae", "trunk": "mpl"}, "trunk = 'mpl' is not one of family 'ae'; did you mean 'mlp'?"),
        (NUMBERS, {"family": "ae", "latnet": 2}, "unknown key 'latnet'; did you mean 'latent'?"),
        (NUMBERS, {"family": "ae", "trunk": "conv"}, "trunk = 'conv' does not fit the rows: expected image, got table"),
        (NUMBERS, {"family": "pca", "trunk": "mlp"}, "family 'pca' has no backbone. Omit trunk = 'mlp'"),
        (NUMBERS, {"family": "pca", "hidden": [3]}, "unknown key 'hidden'"),
        (NUMBERS, {"family": "ae", "latent": 6}, "latent = 6 is too wide: expected at most 5, the columns of a row"),
        (GREY, {"family": "ae", "latent": 65}, "latent = 65 is too wide: expected at most 64, the pixels of a row"),
        (NUMBERS, {"family": "ae", "latent": 0}, "latent = 0: Input should be greater than or equal to 1"),
        (NUMBERS, {"family": "ae", "hidden": [0]}, "hidden = 0: Input should be greater than 0"),
        (NUMBERS, {"family": "vae", "warm_up": 2}, "warm_up = 2: Input should be less than or equal to 1"),
        (NUMBERS, {"family": "vae", "sigma": "best"}, "sigma = 'best': Input should be 'optimal' or 'learned'"),
        (GREY, {"family": "vae", "pixels": "poisson"}, "pixels = 'poisson': Input should be 'gaussian' or 'bernoulli'"),
    ],
)
def test_a_bad_option_is_refused_in_a_sentence_before_anything_is_built(
    layout: object, keys: dict[str, object], sentence: str
) -> None:
    with pytest.raises(OptionInvalid) as refused:
        plan(layout, section(**keys))  # type: ignore[arg-type]

    assert sentence in str(refused.value)


def test_every_fault_is_listed_at_once() -> None:
    with pytest.raises(OptionInvalid) as refused:
        plan(NUMBERS, section(family="vae", latnet=2, warm_up=-1, activation="sine"))

    assert all(key in str(refused.value) for key in ("latnet", "warm_up", "activation"))


def test_an_image_may_have_an_mlp() -> None:
    assert build(GREY, section(family="ae", trunk="mlp"), 0).likelihood.width == 64
