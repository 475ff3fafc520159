"""Recorded parts: outputs of the module, shared operators, and fallback to torch where two runs differ."""

import logging
from collections import Counter

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aepipe.export.export import export_parts
from aepipe.export.recorded_program import PartTensors, Recorded, combine
from aepipe.export.recording import RUNS, NotRecordable, record
from aepipe.layout import Port
from aepipe.models.base import Part
from aepipe.models.layers.scan import unroll

GENERATOR = np.random.default_rng(0)
ROWS = {"x": GENERATOR.normal(size=(512, 4)).astype(np.float32)}
X = (Port("x", "float32", (4,)),)
Y = (Port("y", "float32", (2,)),)


class Mixed(nn.Module):
    """Parameters, literals, views, decomposed operators, operators with several outputs, and free sizes."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(4, 4)
        self.register_buffer("scale", torch.tensor([0.5, 2.0]))

    def forward(self, x: Tensor) -> Tensor:
        left, right = self.layer(x).reshape(-1, 2, 2).flatten(1).chunk(2, dim=1)
        best = torch.topk(right, 2, dim=1)
        chosen = right[:, torch.tensor([1, 0])]
        hot = F.one_hot((left[:, 0] > 0).to(torch.int64), 2)
        return left * self.scale + best.values * hot + chosen + torch.logsumexp(right, 1, keepdim=True)


class Longer(nn.Module):
    """Sizes that are a multiple of the number of rows, or one more."""

    def forward(self, x: Tensor) -> Tensor:
        left, right = x.chunk(2, dim=1)
        places = torch.arange(2 * len(x)).reshape(-1, 2) % 2 + torch.zeros(len(x), 1)
        return torch.cat([left, left.new_zeros(1, 2)])[:-1] * places + right


def unavailable(*_: object) -> None:
    raise AttributeError("what is private may change")


def exported(module: nn.Module, caplog: pytest.LogCaptureFixture) -> tuple[bytes, list[str]]:
    """Export a module: return the ONNX file, and the messages about parts that torch traces."""
    caplog.clear()
    with caplog.at_level(logging.DEBUG, logger="aepipe.export"):
        (part,) = export_parts([Part("part", module, X, Y)], ROWS)
    return part.onnx, [record.message for record in caplog.records if "traced by torch" in record.message]


@pytest.mark.parametrize("made", [Mixed, Longer])
def test_a_recorded_part_computes_what_its_module_computes(
    made: type[nn.Module], caplog: pytest.LogCaptureFixture
) -> None:
    file, said = exported(made(), caplog)

    assert not said
    session = ort.InferenceSession(file, providers=["CPUExecutionProvider"])
    for rows in (1, 2, 3, 4, 7, 300):
        x = ROWS["x"][:rows]
        wanted = made()(torch.from_numpy(x)).detach().numpy()
        np.testing.assert_allclose(session.run(None, {"x": x})[0], wanted, rtol=1e-5, atol=1e-6)


def test_a_recorded_part_has_the_operators_that_torch_writes(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    recorded, _ = exported(Mixed(), caplog)

    monkeypatch.setattr("aepipe.export.recording.record", unavailable)
    traced, said = exported(Mixed(), caplog)

    assert len(said) == 1
    assert _operators(recorded) == _operators(traced)


def _operators(file: bytes) -> Counter[str]:
    """Count the operators, except those that read and write sizes."""
    names = Counter(node.op_type for node in onnx.load_from_string(file).graph.node)
    return Counter({name: count for name, count in names.items() if name not in {"Shape", "Concat", "Mul", "Expand"}})


class Encoder(nn.Module):
    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        z: Tensor = torch.tanh(self.layer(x))
        return z


class Scorer(Encoder):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).square().sum(1)


def test_parts_share_the_operators_that_they_have_in_common() -> None:
    layer = nn.Linear(4, 2).requires_grad_(False)
    inputs = [torch.from_numpy(ROWS["x"])]
    names = {id(tensor): name for name, tensor in layer.named_parameters()}

    recorded = [Recorded(record(module(layer), inputs), X) for module in (Encoder, Scorer, Encoder)]
    program, places = combine(recorded, names)

    targets = [str(node.target) for node in program.graph.nodes if node.op == "call_function"]
    assert targets == ["aten.linear.default", "aten.tanh.default", "aten.pow.Tensor_Scalar", "aten.sum.dim_IntList"]
    assert places == (PartTensors((0,), (0,)), PartTensors((0,), (1,)), PartTensors((0,), (0,)))
    assert set(program.constants) == {"weight", "bias"}


def test_shared_parts_are_separate_files() -> None:
    layer = nn.Linear(4, 2)
    parts = [Part("encoder", Encoder(layer), X, Y), Part("scorer", Scorer(layer), X, (Port("score", "float32", ()),))]

    encoder, scorer = export_parts(parts, ROWS)

    assert [node.op_type for node in onnx.load_from_string(encoder.onnx).graph.node] == ["Gemm", "Tanh"]
    assert len(onnx.load_from_string(scorer.onnx).graph.node) > 2


class Writes(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        y = x[:, :2].clone()
        y[:, 0] = 1
        return y


class Loops(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        (last,), _ = unroll(
            lambda state, now: ((state[0] + now[0],), (now[0],)), (x[:, :2],), (x.T.unsqueeze(2) + x[:, :2],)
        )
        return last


class AsksForValues(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x[:, :2] * float(x.sum())


class AsksForRows(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x[:, :2] + (1 if len(x) > 5 else torch.tanh(x[:, 2:]))


class HalfOfTheRows(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x[:, :2] + x[: len(x) // 2].sum()


class MeanOverRows(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x[:, :2] * (1 / len(x))


class LiteralOfRows(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x[:, :2] * torch.tensor(float(len(x)))


class SelectedRows(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x[:, :2] + x[x[:, 0] > 0].sum()


@pytest.mark.parametrize(
    "module",
    [
        Writes(),
        Loops(),
        AsksForValues(),
        AsksForRows(),
        HalfOfTheRows(),
        MeanOverRows(),
        LiteralOfRows(),
        SelectedRows(),
    ],
    ids=lambda module: type(module).__name__,
)
def test_what_two_runs_hide_is_not_recorded(module: nn.Module) -> None:
    with pytest.raises(NotRecordable):
        _, (part,) = combine([Recorded(record(module, [torch.from_numpy(ROWS["x"])]), X)], {})
        assert isinstance(part, NotRecordable)
        raise part


def test_a_part_whose_runs_differ_is_left_out_of_the_program() -> None:
    inputs = [torch.from_numpy(ROWS["x"])]

    recorded = [Recorded(record(module, inputs), X) for module in (MeanOverRows(), Scorer(nn.Linear(4, 2)))]
    program, (left_out, scorer) = combine(recorded, {})

    assert isinstance(left_out, NotRecordable)
    assert scorer == PartTensors((0,), (0,))
    assert len(program.graph_signature.user_outputs) == 1


def test_parts_that_cannot_be_recorded_are_traced_by_torch(caplog: pytest.LogCaptureFixture) -> None:
    modules = {"writes": Writes(), "mixed": Mixed()}

    with caplog.at_level(logging.DEBUG, logger="aepipe.export"):
        parts = export_parts([Part(name, module, X, Y) for name, module in modules.items()], ROWS)

    said = [record.message.split(" is traced")[0] for record in caplog.records if "traced by torch" in record.message]
    assert said == ["writes"]
    for part, module in zip(parts, modules.values(), strict=True):
        answer = ort.InferenceSession(part.onnx, providers=["CPUExecutionProvider"]).run(None, ROWS)[0]
        wanted = module(torch.from_numpy(ROWS["x"])).detach().numpy()
        np.testing.assert_allclose(answer, wanted, rtol=1e-5, atol=1e-6)


class Thresholded(nn.Module):
    """Module that changes its output from eight rows on, more than a recording has."""

    def forward(self, x: Tensor) -> Tensor:
        return x[:, :2] * (2 if x.shape[0] > max(RUNS) else 1)


def test_a_recording_that_differs_from_torch_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(Exception, match="part"):
        exported(Thresholded(), caplog)

    assert any("because its recording differs" in record.message for record in caplog.records)
