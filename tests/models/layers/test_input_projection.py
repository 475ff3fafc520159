import pytest
import torch

from aepipe.models.layers.input_projection import InputProjection
from aepipe.models.layers.preprocessing import Preprocessing
from tests.support.layouts import LAYOUTS, random_rows


@pytest.mark.parametrize("learns", [True, False])
@pytest.mark.parametrize(
    "name", [name for name, layout in LAYOUTS.items() if layout.kind != "series" and not layout.texts]
)
def test_the_output_is_linear_in_the_vector_of_a_row(name: str, learns: bool) -> None:
    layout = LAYOUTS[name]
    row = Preprocessing(layout)({key: torch.from_numpy(array) for key, array in random_rows(layout, 9).items()})
    input_projection = InputProjection(layout, 6, embeds=False).train(learns)
    weight, bias = torch.randn(6, input_projection.dense + input_projection.codes), torch.randn(6)

    input_projection.become(weight, bias)

    torch.testing.assert_close(input_projection(row), input_projection.vector(row) @ weight.T + bias)


def test_a_number_that_may_be_missing_has_a_flag() -> None:
    layout = LAYOUTS["mixed"]
    row = Preprocessing(layout)({key: torch.from_numpy(array) for key, array in random_rows(layout, 99).items()})

    vector = InputProjection(layout, 2).vector(row)

    assert torch.equal(vector[:, 2], 1 - row.observed[:, 0])
    assert vector[:, 2].sum() > 3
