import numpy as np
import pytest
import torch

from aepipe.config.job import Model as Section
from aepipe.export.export import export_parts
from aepipe.layout import FIRST_VALUE, MANY_CODES, MISSING, RARE, UNSEEN, Category, Layout
from aepipe.models.families import build
from aepipe.models.layers.categorical import Categoricals
from aepipe.models.layers.input_projection import InputProjection
from aepipe.models.layers.preprocessing import Row
from aepipe.models.layers.two_level_softmax import ClassFactoredSoftmax
from tests.support.layouts import CATEGORIES, random_rows

SIZE = 37  # seven members per class, the last class has two


def distribution(size: int = SIZE) -> tuple[ClassFactoredSoftmax, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    level = ClassFactoredSoftmax(size, absent=(MISSING,)).double()
    with torch.no_grad():
        level.table.copy_(torch.randn(level.table.shape, generator=generator, dtype=torch.float64))
    return level, torch.randn(1, level.width, generator=generator, dtype=torch.float64)


def probabilities(level: ClassFactoredSoftmax, logits: torch.Tensor) -> np.ndarray:
    """Compute p of every code by definition: softmax over classes times softmax within the class."""
    classes, features = logits[0, : level.classes].softmax(0), logits[0, level.classes :]
    found = []
    for code in range(level.size):
        first = code // level.members * level.members
        own = torch.arange(first, min(first + level.members, level.size)) - first
        table = level.table[code // level.members].reshape(level.members, -1)[own]
        scores = table[:, :-1] @ features + table[:, -1]
        found.append(classes[code // level.members] * scores.softmax(0)[code - first])
    return torch.stack(found).detach().numpy()


def test_the_likelihood_equals_its_definition_and_sums_to_one() -> None:
    level, logits = distribution()

    nll = level.nll(logits.expand(SIZE, -1), torch.arange(SIZE))

    expected = probabilities(level, logits)
    np.testing.assert_allclose(expected.sum(), 1)
    np.testing.assert_allclose(torch.exp(-nll).detach().numpy(), expected, rtol=1e-9)


def test_draws_are_existing_codes_as_frequent_as_their_probabilities() -> None:
    level, logits = distribution()
    uniform = torch.rand(100_000, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)

    codes = level.draw(logits.expand(len(uniform), -1), uniform).numpy()

    own, classes = probabilities(level, logits), np.arange(SIZE) // level.members
    first = own[classes == 0].sum()  # the other codes of the class gain what it loses
    own[[MISSING, UNSEEN]] = 0
    own[classes == 0] *= first / own[classes == 0].sum()
    np.testing.assert_allclose(np.bincount(codes, minlength=SIZE) / len(codes), own, atol=0.005)


def test_extreme_uniforms_give_valid_codes() -> None:
    level, logits = distribution()
    ends = torch.cartesian_prod(torch.tensor([0.0, 1.0]), torch.tensor([0.0, 1.0])).double()

    codes = level.draw(logits.expand(4, -1), ends)

    assert set(codes.tolist()) <= {RARE, *range(FIRST_VALUE, SIZE)}


def test_the_guess_is_the_likeliest_value_of_the_likeliest_class() -> None:
    level, logits = distribution()
    logits[0, 0] = 9.0

    assert level.guess(logits).item() == probabilities(level, logits)[FIRST_VALUE : level.members].argmax() + 3


@pytest.mark.parametrize("sizes", [(5, 2_000, 40), (300_000,), (MANY_CODES, MANY_CODES + 1)])
def test_large_and_small_columns_can_be_combined(sizes: tuple[int, ...]) -> None:
    many = Categoricals(sizes, [(MISSING, UNSEEN, RARE)] * len(sizes))
    logits = torch.randn(64, many.width, generator=torch.Generator().manual_seed(2))
    codes = torch.stack(
        [torch.randint(3, size, (64,), generator=torch.Generator().manual_seed(3)) for size in sizes], 1
    )

    drawn, guessed = many.draw(logits, torch.rand(64, many.uniforms)), many.guess(logits)

    assert many.width <= sum(size**0.5 + 10 if size > MANY_CODES else size + 3 for size in sizes)
    for found in (drawn, guessed):
        assert (found >= FIRST_VALUE).all()
        assert (found < torch.tensor(sizes)).all()
    assert many.one_hot(codes).shape == (64, many.width)
    at_once = many.nll(logits, codes)
    assert at_once.shape == codes.shape
    for level, begin, column in zip(many.wide, many.begins, many.wide_columns, strict=False):
        assert isinstance(level, ClassFactoredSoftmax)
        alone = level.nll(logits[:, begin : begin + level.width], codes[:, column])
        torch.testing.assert_close(at_once[:, column], alone)


@pytest.mark.slow
def test_large_columns_compute_the_same_in_onnx_and_torch() -> None:
    model = build(CATEGORIES, Section(family="vae", trunk="mlp"), 0).eval()
    with torch.no_grad():  # as if trained: otherwise all members are equally likely
        for level in model.likelihood.get_submodule("categories.wide"):
            level.table.normal_(generator=torch.Generator().manual_seed(0))

    exported = export_parts(model.parts(), random_rows(CATEGORIES, 512))

    assert [part.part for part in exported] == ["encoder", "decoder", "sampler"]


def test_large_columns_use_an_embedding_or_none_at_all() -> None:
    layout = Layout(
        columns=("shop", "kind"),
        categories=(Category(name="shop", column=0, size=300_000), Category(name="kind", column=1, size=5)),
    )
    codes = torch.tensor([[299_999, 4], [3, 4]])
    row = Row(torch.zeros(2, 0), torch.zeros(2, 0), codes, torch.zeros(2, 0))

    full, bare = InputProjection(layout, 8), InputProjection(layout, 8, embeds=False)

    assert sum(parameter.numel() for parameter in full.parameters()) == 300_000 * 16 + 16 * 8 + 5 * 8 + 8
    assert not torch.equal(full(row)[0], full(row)[1])
    assert torch.equal(bare(row)[0], bare(row)[1])
