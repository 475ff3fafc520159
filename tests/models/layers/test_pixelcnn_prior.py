from itertools import product

import onnx
import pytest
import torch
from torch import Tensor

from aepipe.export.export import export_parts
from aepipe.layout import Port
from aepipe.models.base import Part
from aepipe.models.layers.pixelcnn_prior import Grid, PixelCnnPrior

GRIDS = [Grid(7, 7), Grid(3, 5), Grid(5, 2), Grid(4, 1), Grid(1, 6), Grid(1, 1), Grid(2, 9)]
every_grid = pytest.mark.parametrize("grid", GRIDS, ids=lambda grid: f"{grid.height}x{grid.width}")


def make(grid: Grid, size: int = 5) -> PixelCnnPrior:
    torch.manual_seed(0)
    prior = PixelCnnPrior(grid, size, channels=8).double()
    for parameter in prior.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    return prior.requires_grad_(False)


def codes_of(grid: Grid, rows: int = 6, size: int = 5) -> Tensor:
    return torch.randint(size, (rows, grid.positions), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("grid", [Grid(2, 2), Grid(1, 4), Grid(3, 1)])
def test_the_probabilities_of_all_rows_sum_to_one(grid: Grid) -> None:
    prior, every = make(grid, size=3), torch.tensor(list(product(range(3), repeat=grid.positions)))

    total = torch.exp(-prior.nll(every).sum(1)).sum()

    assert float(total) == pytest.approx(1, abs=1e-9)


@every_grid
def test_a_code_influences_only_later_codes(grid: Grid) -> None:
    prior, codes = make(grid), codes_of(grid)
    before = prior.logits(codes)

    for at in range(grid.positions):
        other = codes.clone()
        other[:, at] = (other[:, at] + 1) % 5
        changed = (prior.logits(other) != before).any(2).any(0)

        assert not changed[: at + 1].any()
        assert at == grid.positions - 1 or changed[at + 1 :].any()


def test_every_earlier_code_of_a_row_has_influence() -> None:
    grid = Grid(1, 6)
    prior, codes = make(grid), codes_of(grid)
    other = codes.clone()
    other[:, 0] = (other[:, 0] + 1) % 5

    changed = (prior.logits(other) != prior.logits(codes)).any(2).all(0)

    assert changed[1:].all()


@every_grid
def test_the_sequential_form_computes_what_masked_convolutions_compute(grid: Grid) -> None:
    prior = make(grid)
    u = torch.rand(9, grid.positions, generator=torch.Generator().manual_seed(2), dtype=torch.float64)

    codes, logits = prior.draw(u)

    torch.testing.assert_close(logits, prior.logits(codes))


@every_grid
def test_a_draw_is_the_inverse_of_the_distribution(grid: Grid) -> None:
    prior, codes = make(grid), codes_of(grid)
    shares = torch.softmax(prior.logits(codes), 2)
    own = shares.gather(2, codes.unsqueeze(2)).squeeze(2)
    below = shares.cumsum(2).gather(2, codes.unsqueeze(2)).squeeze(2) - own

    low, high = (prior.draw(below + share * own)[0] for share in (0.001, 0.999))

    assert torch.equal(low, codes)
    assert torch.equal(high, codes)


def test_the_ends_of_the_uniform_range_give_codes() -> None:
    prior = make(Grid(2, 2))

    codes = prior(torch.stack([torch.zeros(4), torch.full((4,), 1 - 2**-24)]).double())

    assert codes.dtype == torch.int32
    assert codes[0].tolist() == [0, 0, 0, 0]
    assert codes[1].tolist() == [4, 4, 4, 4]


@pytest.mark.slow
@pytest.mark.slow
def test_a_draw_is_exported_as_one_loop_for_any_number_of_codes() -> None:
    prior = make(Grid(7, 7)).float()

    (exported,) = export_parts([Part("prior", prior, prior.noise, (Port("z", "int32", (49,)),))], {})

    nodes = onnx.load_from_string(exported.onnx).graph.node
    (scan,) = (node for node in nodes if node.op_type == "Scan")
    body = onnx.helper.get_node_attr_value(scan, "body").node
    assert len(nodes) + len(body) < 3 * 49  # each of 49 codes would be some 96 nodes
