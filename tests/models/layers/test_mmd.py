"""MMD: the definition by loops, no bias, and the derivative of the kernel."""

import pytest
import torch

from aepipe.models.layers.mmd import SCALES, imq_kernel, squared_mmd


def draws(rows: int, *, seed: int, shift: float = 0.0) -> torch.Tensor:
    return torch.randn(rows, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + shift


def test_the_estimate_is_the_sum_over_pairs() -> None:
    x, y = draws(5, seed=0), draws(4, seed=1)

    def kernel(a: torch.Tensor, b: torch.Tensor) -> float:
        return sum(6 * scale / (6 * scale + float((a - b).square().sum())) for scale in SCALES)

    own = sum(kernel(x[i], x[j]) for i in range(5) for j in range(5) if i != j) / 20
    other = sum(kernel(y[i], y[j]) for i in range(4) for j in range(4) if i != j) / 12
    across = sum(kernel(a, b) for a in x for b in y) / 20
    assert squared_mmd(x, y).item() == pytest.approx(own + other - 2 * across)
    assert imq_kernel(x, y)[2, 3].item() == pytest.approx(kernel(x[2], y[3]))


def test_the_estimate_has_no_bias_for_equal_distributions() -> None:
    found = torch.stack([squared_mmd(draws(20, seed=2 * k), draws(20, seed=2 * k + 1)) for k in range(400)])

    assert abs(found.mean().item()) < 4 * found.std().item() / 20
    assert found.min() < 0 < found.max()


def test_the_estimate_grows_with_the_distance() -> None:
    found = [squared_mmd(draws(200, seed=0), draws(200, seed=1, shift=shift)).item() for shift in (0.0, 0.5, 2.0)]

    assert found == sorted(found)


def test_a_single_row_has_no_estimate_and_a_gradient_of_zero() -> None:
    x = draws(1, seed=0).requires_grad_()

    squared_mmd(x, draws(1, seed=1)).backward()

    assert x.grad is not None
    assert not x.grad.any()


def test_equal_rows_have_finite_gradients() -> None:
    x = torch.zeros(4, 2, requires_grad=True)

    squared_mmd(x, draws(4, seed=0)[:, :2].float()).backward()

    assert x.grad is not None
    assert x.grad.isfinite().all()
