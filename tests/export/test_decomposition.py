"""A program that decomposes itself: outputs of the module, and the operators of torch's own decomposition."""

from collections import Counter

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram, default_decompositions, export

from aepipe.export.decomposition import lowerable

pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec.* is deprecated:FutureWarning")


class Composed(nn.Module):
    """Composite operators, whole and in parts, on free sizes."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        left, right = x.reshape(-1, 2, 2).flatten(1).chunk(2, dim=1)
        codes = F.one_hot((left > 0).to(torch.int64), 2)
        weights = torch.tensor([0.5, 2.0])
        return (1 - left).square() * weights, codes.float().flatten(1), torch.logsumexp(right.T, 0)


class Writing(nn.Module):
    """Module that writes into a tensor."""

    def forward(self, x: Tensor) -> Tensor:
        y = x.square()
        y[:, 0] = 1
        return y


ROWS = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))


def program(module: nn.Module) -> ExportedProgram:
    return export(module, (ROWS[:3],), dynamic_shapes=({0: Dim("rows")},))


def operators(lowered: ExportedProgram) -> Counter[str]:
    """Count the operators, except checks of row counts and of index ranges."""
    names = [str(node.target) for node in lowered.graph.nodes if node.op == "call_function"]
    checks = (
        "sym_size",
        "_assert",
        "<built-in",
        "aten.all",
        "aten.ge.",
        "aten.lt.",
        "aten.any",
        "aten.logical_not",
        "aten.scalar_tensor",
    )
    return Counter(
        name for name in names if not name.startswith(("aten.clone", "aten.lift")) if not any(c in name for c in checks)
    )


def test_a_lowered_program_computes_what_its_module_computes() -> None:
    lowered = lowerable(program(Composed())).run_decompositions(dict(default_decompositions().items()))

    for answer, expected in zip(lowered.module()(ROWS), Composed()(ROWS), strict=True):
        torch.testing.assert_close(answer, expected, rtol=0, atol=0)


def test_no_operator_of_the_table_is_left_and_the_others_are_those_that_torch_leaves() -> None:
    table = dict(default_decompositions().items())

    lowered = lowerable(program(Composed())).run_decompositions(table)

    assert {node.target for node in lowered.graph.nodes} & set(table) <= {torch.ops.aten.sym_size.int}
    assert operators(lowered) == operators(program(Composed()).run_decompositions(table))


def test_a_program_that_writes_into_a_tensor_is_lowered_as_torch_does() -> None:
    lowered = lowerable(program(Writing())).run_decompositions(dict(default_decompositions().items()))

    assert not any(
        getattr(node.target, "_schema", None) and node.target._schema.is_mutable for node in lowered.graph.nodes
    )
    torch.testing.assert_close(lowered.module()(ROWS), Writing()(ROWS))
