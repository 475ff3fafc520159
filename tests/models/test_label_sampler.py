"""Distribution of labels given a row, against the true distribution."""

import numpy as np
import pyarrow as pa
import pytest
import torch

from aepipe.encoding import fit
from aepipe.models.label_sampler import fit_label_sampler
from aepipe.tables.schema import Column, Schema


def rows(count: int, seed: int) -> pa.Table:
    """Generate a label that is 1 with probability sigmoid(2 x - 2), and a second one, equal to it in 90 % of rows."""
    generator = np.random.default_rng(seed)
    x = generator.standard_normal(count)
    first = generator.random(count) < 1 / (1 + np.exp(2 - 2 * x))
    second = np.where(generator.random(count) < 0.9, first, ~first)
    return pa.table(
        {
            "x": x,
            "kind": pa.array(generator.choice(["a", "b"], count)),
            "label": first.astype(np.int64),
            "reason": pa.array(np.where(second, "fraud", "none"), mask=generator.random(count) < 0.2),
        }
    )


@pytest.mark.slow
@pytest.mark.parametrize("as_codes", [False, True])
def test_labels_follow_their_probability_given_the_row_and_each_other(as_codes: bool) -> None:
    train, dev = rows(6_000, 0), rows(1_000, 1)
    kinds = {"x": "number", "kind": "category", "label": "label", "reason": "label"}
    columns = [Column(name=name, kind=kind, type=str(train[name].type), why="") for name, kind in kinds.items()]  # type: ignore[arg-type]
    encoding = fit(Schema.of(columns, train.schema), train.to_batches(), as_codes=as_codes, with_labels=True)
    encoded = [(encoding.encode_table(part, rows=2_048).arrays, encoding.encode_labels(part)) for part in (train, dev)]

    model = fit_label_sampler(encoding.layout, encoding.label_categories, *encoded, seed=0)

    test = rows(20_000, 2)
    arrays = encoding.encode_table(test, rows=2_048).arrays
    ports = model.part().inputs
    noise = torch.from_numpy(np.random.default_rng(3).random((test.num_rows, ports[-1].row_shape[0]))).float()
    tensors = [torch.from_numpy(arrays[port.name]) for port in ports[:-1]]
    with torch.no_grad():
        codes = model(*tensors, noise).numpy()
    drawn = encoding.decode_labels(codes, np.full(codes.shape, 0.5))
    label, x = drawn["label"].to_numpy(), test["x"].to_numpy()
    for low in (-2.0, -1.0, 0.0, 1.0):
        inside = (x >= low) & (x < low + 1)
        assert label[inside].mean() == pytest.approx((1 / (1 + np.exp(2 - 2 * x[inside]))).mean(), abs=0.05)
    reason = np.array(drawn["reason"].to_pylist(), object)
    known = np.array([each is not None for each in reason])
    assert 1 - known.mean() == pytest.approx(0.2, abs=0.03)
    assert ((reason == "fraud") == (label == 1))[known].mean() == pytest.approx(0.9, abs=0.03)
    assert drawn.schema.field("reason").type == pa.string()


def test_same_seed_gives_the_same_weights() -> None:
    table = rows(300, 0).select(["x", "label"])
    columns = [
        Column(name="x", kind="number", type="double", why=""),
        Column(name="label", kind="label", type="int64", why=""),
    ]
    encoding = fit(Schema.of(columns, table.schema), table.to_batches(), with_labels=True)
    data = encoding.encode_table(table, rows=2_048).arrays, encoding.encode_labels(table)

    first, again = (fit_label_sampler(encoding.layout, encoding.label_categories, data, data, seed=5) for _ in range(2))

    for name, weights in first.state_dict().items():
        assert torch.equal(weights, again.state_dict()[name])
