import pytest
import torch

from aepipe.layout import Image, Layout, Number
from aepipe.models.base import deterministic_posterior
from aepipe.models.latent_space import bottleneck_for, draw_from, latents_for, real_space, split_gaussian, too_wide
from tests.support.layouts import GREY, TEXT


def table(columns: int) -> Layout:
    names = tuple(f"c{j}" for j in range(columns))
    return Layout(columns=names, numbers=tuple(Number(name=n, column=j) for j, n in enumerate(names)))


@pytest.mark.parametrize("columns,latents", [(1, 1), (2, 1), (3, 2), (8, 2), (30, 8), (64, 16), (500, 16)])
def test_a_table_gets_a_quarter_of_its_columns(columns: int, latents: int) -> None:
    assert latents_for(table(columns), None) == latents


@pytest.mark.parametrize("side,latents", [(2, 2), (8, 16), (28, 16), (128, 32)])
def test_an_image_gets_latents_by_its_size(side: int, latents: int) -> None:
    layout = Layout(columns=("i",), image=Image(channels=1, height=side, width=side))

    assert latents_for(layout, None) == latents


def test_a_text_gets_eight_latents_whatever_its_length() -> None:
    assert latents_for(TEXT, None) == 8
    assert latents_for(TEXT, 3) == 3


@pytest.mark.parametrize(("lengths", "latents"), [((4,), 8), ((13,), 13), ((13, 9), 22), ((128,), 32)])
def test_an_autoencoder_of_texts_gets_a_latent_per_token_from_8_to_32(lengths: tuple[int, ...], latents: int) -> None:
    (text,) = TEXT.texts
    texts = tuple(text.model_copy(update={"length": length}) for length in lengths)

    assert bottleneck_for(TEXT.model_copy(update={"texts": texts}), None) == latents
    assert bottleneck_for(TEXT, 3) == 3
    assert bottleneck_for(table(30), None) == latents_for(table(30), None)


def test_a_requested_width_is_used() -> None:
    assert latents_for(GREY, 7) == 7


def test_more_latents_than_allowed_are_a_fault() -> None:
    assert too_wide(table(3), 4, most=3) == ("latent = 4 is too wide: expected at most 3, the columns of a row",)
    assert too_wide(table(3), 3, most=3) == ()
    assert too_wide(table(3), None, most=3) == ()


def test_a_limit_other_than_the_columns_is_stated() -> None:
    assert too_wide(table(3), 5_000, most=4_096) == ("latent = 5000 is too wide: expected at most 4096",)


def test_names_of_latents_sort_in_their_order() -> None:
    assert real_space(12).names[:2] == ("z_000", "z_001")
    assert list(real_space(12).names) == sorted(real_space(12).names)


def test_a_draw_has_the_mean_and_variance_of_its_posterior() -> None:
    mean, log_var = torch.full((50_000, 2), 3.0), torch.full((50_000, 2), -1.0)
    posterior = split_gaussian(torch.cat([mean, log_var], 1), torch.float32)

    z = draw_from(posterior, torch.Generator().manual_seed(0))

    assert z.mean().item() == pytest.approx(3.0, abs=0.01)
    assert z.var().item() == pytest.approx(torch.tensor(-1.0).exp().item(), rel=0.02)


def test_gradients_pass_through_a_draw() -> None:
    answer = torch.zeros(4, 6, requires_grad=True)

    draw_from(split_gaussian(answer, torch.float32), torch.Generator()).sum().backward()

    assert answer.grad is not None
    assert (answer.grad != 0).all()


def test_the_draw_of_a_deterministic_posterior_is_its_mean() -> None:
    mean = torch.randn(3, 2)

    assert draw_from(deterministic_posterior(mean), torch.Generator()) is mean


def test_an_absurd_log_variance_is_held_in_bounds() -> None:
    posterior = split_gaussian(torch.tensor([[0.0, 0.0, 1e6, -1e6]]), torch.float64)

    assert posterior.log_var is not None
    assert posterior.log_var.exp().isfinite().all()
    assert posterior.mean.dtype == torch.float64
