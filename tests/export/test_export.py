"""Each family is exported once, with different layouts and heads, and all tests share the files."""

import json
import logging
import pickle
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from aepipe.errors import ExportFailed
from aepipe.export.decomposition import Lowerable
from aepipe.export.export import Exported, export_model, export_parts
from aepipe.export.faster_exporter import OPSET
from aepipe.export.graph_split import BATCH_AXIS, DOMAINS
from aepipe.heads import scores as heads
from aepipe.heads.base import Head, HeadStats, ScoringInputs
from aepipe.heads.scorer import Scorer, fit_scorer
from aepipe.inference.session import CPU, CUDA, usable_device
from aepipe.layout import Category, Layout, Number, Port
from aepipe.models import families
from aepipe.models.base import Model, Part
from aepipe.models.latent_priors import fit_priors
from aepipe.storage import lock, put_bytes
from tests.support.head_models import Rows, cells, image_layout, random_rows, scoring_inputs, table_layout, train
from tests.support.layouts import layout_for

MIXED = Layout(
    columns=("amount", "shop"),
    numbers=(Number(name="amount", column=0, transform="log", may_be_missing=True),),
    categories=(Category(name="shop", column=1, size=7),),
)
CASES = {
    "ae": (MIXED, "robust_mahalanobis"),
    "pca": (table_layout(cells()[0]), "mahalanobis"),
    "vae": (image_layout(9, 7, 1), "consensus"),
}


class Case(NamedTuple):
    scorer: Scorer
    parts: tuple[Part, ...]
    rows: Rows
    exported: dict[str, Exported]
    said: tuple[str, ...]
    traced: tuple[str, ...]


_places: list[Path] = []


@pytest.fixture(scope="session", autouse=True)
def _shared(export_cache: Path) -> None:
    """Share exports between processes and, as long as the sources stay the same, between runs."""
    _places[:] = [export_cache]


@cache
def _case(family: str) -> Case:
    layout, head = CASES.get(family, (layout_for(family), "knn_with_quantiles"))
    rows, dev = random_rows(layout, 300), random_rows(layout, 60, seed=1)
    model = train(layout, rows, dev, epochs=1, family=family)
    scorer = fit_scorer(model, rows, dev, head=head, reasons=3)
    priors = fit_priors(model, rows, components=4)
    kept = _places[0] / f"exported-{family}.pickle"
    with lock(_places[0] / f"exported-{family}.lock", wait_s=300):
        if not kept.exists():
            put_bytes(kept, pickle.dumps(_exported(model, scorer, priors, dev)))
    parts = (*model.parts(), scorer.part(), *priors)
    return Case(scorer, parts, rows, *pickle.loads(kept.read_bytes()))


def _exported(
    model: Model, scorer: Scorer, priors: Sequence[Part], dev: Rows
) -> tuple[dict[str, Exported], tuple[str, ...], tuple[str, ...]]:
    """Export a model: return the files by part, and the messages of torch and of aepipe."""
    with (
        _messages("torch.onnx", logging.NOTSET) as said,
        _messages("aepipe.export", logging.DEBUG) as traced,
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("error")
        exported = export_model(model, scorer, priors, dev)
    return {part.part: part for part in exported}, tuple(said), tuple(traced)


@contextmanager
def _messages(name: str, level: int) -> Iterator[list[str]]:
    said: list[str] = []
    logger, handler = logging.getLogger(name), logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(level)
    yield said
    logger.setLevel(before)
    logger.removeHandler(handler)


def _session(file: bytes) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    return ort.InferenceSession(file, options, providers=["CPUExecutionProvider"])


FAST = ("ae", "pca", "vae")
"""The families that `make test` exports; the others take minutes together."""


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=[] if name in FAST else pytest.mark.slow) for name in families.names()],
)
def family(request: pytest.FixtureRequest) -> str:
    """Return a family; tests run family by family, so that most processes build few models."""
    name: str = request.param
    return name


def test_every_part_scorer_and_prior_becomes_one_file(family: str) -> None:
    case = _case(family)

    assert list(case.exported) == [part.name for part in case.parts]
    assert {"encoder", "decoder", "sampler", "scorer"} <= set(case.exported)


def test_a_file_has_the_ports_of_its_part_with_a_free_batch_axis(family: str) -> None:
    case = _case(family)

    for part in case.parts:
        graph = onnx.load_from_string(case.exported[part.name].onnx).graph
        for values, ports in ((graph.input, part.inputs), (graph.output, part.outputs)):
            assert [_described(value) for value in values] == [
                (port.name, port.dtype, (BATCH_AXIS, *port.row_shape)) for port in ports
            ]


def _described(value: onnx.ValueInfoProto) -> tuple[str, str, tuple[int | str, ...]]:
    tensor = value.type.tensor_type
    dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)
    return value.name, str(dtype), tuple(axis.dim_param or axis.dim_value for axis in tensor.shape.dim)


def test_a_file_is_whole_and_plain(family: str) -> None:
    for part in _case(family).exported.values():
        model = onnx.load_from_string(part.onnx)
        onnx.checker.check_model(model, full_check=True)

        assert {node.domain for node in model.graph.node} <= DOMAINS
        assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", OPSET)]
        assert not model.functions
        assert not any(tensor.external_data for tensor in model.graph.initializer)


def test_parts_are_recorded_unless_they_loop(family: str) -> None:
    case = _case(family)

    loops = [name for name, part in case.exported.items() if "Scan" in _operators(part.onnx)]
    written = {part.name for part in case.parts if part.write is not None}
    reason = "is traced by torch, which takes longer: a loop over steps becomes a Scan"
    assert [message for message in case.traced if "which takes longer" in message] == [
        f"{name} {reason}" for name in loops if name not in written
    ]


def _operators(file: bytes) -> set[str]:
    return {node.op_type for node in onnx.load_from_string(file).graph.node}


def test_a_file_says_nothing_of_the_machine_that_made_it(family: str) -> None:
    for part in _case(family).exported.values():
        assert b".py" not in part.onnx
        assert b"site-packages" not in part.onnx


def test_the_scorer_is_one_graph_without_what_an_optimiser_would_remove(family: str) -> None:
    graph = onnx.load_from_string(_case(family).exported["scorer"].onnx).graph

    assert not {"Identity", "Dropout", "If", "Loop", "Constant"} & {node.op_type for node in graph.node}


def test_the_differences_from_torch_are_small_and_kept(family: str) -> None:
    for part in _case(family).exported.values():
        assert set(part.info.parity) == {"1", "7", "512"}
        for of_rows in part.info.parity.values():
            assert isinstance(of_rows, dict)
            assert set(of_rows) == {port.name for port in part.info.outputs}
            for found in of_rows.values():
                assert isinstance(found, dict)
                assert float(str(found.get("rel", found.get("differ")))) < 1e-4


def test_the_number_of_rows_never_changes_a_score(family: str) -> None:
    case = _case(family)
    session = _session(case.exported["scorer"].onnx)
    names = [port.name for port in case.exported["scorer"].info.inputs]

    def score(rows: int) -> np.ndarray:
        starts = range(0, 300, rows)
        return np.concatenate(
            [session.run(["score"], {n: case.rows[n][i : i + rows] for n in names})[0] for i in starts]
        )

    whole = score(300)
    for rows in (1, 2, 7, 64):
        np.testing.assert_allclose(score(rows), whole, rtol=1e-5)


@pytest.mark.gpu
@pytest.mark.skipif(usable_device("auto")[0] != "cuda", reason="there is no GPU")
def test_on_a_gpu_only_sizes_are_left_to_the_cpu(family: str, tmp_path: Path) -> None:
    case = _case(family)
    options = ort.SessionOptions()
    options.enable_profiling, options.profile_file_prefix = True, str(tmp_path / "profile")
    session = ort.InferenceSession(case.exported["scorer"].onnx, options, providers=[CUDA, CPU])

    session.run(None, {port.name: case.rows[port.name] for port in case.exported["scorer"].info.inputs})

    events = json.loads(Path(session.end_profiling()).read_text())
    nodes = [event["args"] for event in events if event.get("cat") == "Node" and "provider" in event["args"]]
    on_cpu = {node["op_name"] for node in nodes if node["provider"] == CPU}
    assert {node["provider"] for node in nodes} >= {CUDA}
    assert on_cpu <= {"Shape", "Size", "Gather", "Concat", "Squeeze", "Unsqueeze", "Slice", "Cast", "Range", "Mul"}


def test_exporting_prints_nothing_and_leaves_the_model_unchanged(family: str) -> None:
    case = _case(family)

    assert case.said == ()
    assert all(parameter.requires_grad for parameter in case.scorer.probe.model.parameters())


@pytest.mark.slow
def test_every_loop_over_steps_is_one_scan_of_tens_of_nodes() -> None:
    case = _case("vrnn")

    for name in ("encoder", "decoder", "sampler", "prior"):
        graph = onnx.load_from_string(case.exported[name].onnx).graph
        scans = [node for node in graph.node if node.op_type == "Scan"]
        assert len(scans) == 1, name
        assert len(onnx.helper.get_node_attr_value(scans[0], "body").node) < 60
        assert len(graph.node) < 250


def test_the_exported_prior_draws_as_numpy_does() -> None:
    case = _case("ae")
    prior = next(part for part in case.parts if part.name == "prior").module
    generator = np.random.default_rng(0)
    width = case.exported["prior"].info.outputs[0].row_shape[0]
    eps, u = generator.normal(size=(200, width)).astype(np.float32), generator.random((200, 1)).astype(np.float32)

    (z,) = _session(case.exported["prior"].onnx).run(["z"], {"eps": eps, "u": u})

    means, ends = prior.means.numpy(), prior.ends.numpy()
    factors = prior.factors.numpy().reshape(width, len(means), width)
    component = (u >= ends).sum(axis=1)
    np.testing.assert_allclose(
        z, means[component] + np.einsum("bj,jbi->bi", eps, factors[:, component]), rtol=1e-4, atol=1e-5
    )


class OfScoringInputs(nn.Module):
    """Head that takes its scoring inputs as separate tensors."""

    def __init__(self, head: Head) -> None:
        super().__init__()
        self.head = head

    def forward(self, *inputs: Tensor) -> Tensor:
        score: Tensor = self.head(ScoringInputs(*inputs))
        return score


def test_every_head_can_be_exported() -> None:
    rows = scoring_inputs(900, categories=2)  # with the dev rows 1,000, which nearest neighbours search by groups
    inputs = tuple(
        Port(name, "float32", tuple(tensor.shape[1:])) for name, tensor in zip(ScoringInputs._fields, rows, strict=True)
    )
    arrays = {name: tensor.numpy() for name, tensor in zip(ScoringInputs._fields, rows, strict=True)}
    fitted = {
        name: heads.find(name).fit(HeadStats(rows, scoring_inputs(100, categories=2, seed=1))) for name in heads.names()
    }
    needed = [
        Part(name, OfScoringInputs(head), inputs, (Port("score", "float32", ()),)) for name, head in fitted.items()
    ]

    exported = export_parts(needed, arrays)

    assert [part.part for part in exported] == list(heads.names())


class Fixed(nn.Module):
    """Module that returns three rows for any number of rows."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.ones(3, 2) * x.sum()


class Searched(nn.Module):
    """Module that needs an operator that ONNX does not have."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.searchsorted(torch.arange(4.0), x).float()


class Drifting(nn.Module):
    """Module whose output differs every time."""

    calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return x + self.calls


class Fine(nn.Module):
    """Module that doubles its input."""

    def forward(self, x: Tensor) -> Tensor:
        return 2 * x


def _tiny(name: str, module: nn.Module) -> Part:
    return Part(name, module, (Port("x", "float32", (2,)),), (Port("y", "float32", (2,)),))


ROWS = {"x": np.random.default_rng(0).normal(size=(20, 2)).astype(np.float32)}


@pytest.mark.slow
def test_parts_that_cannot_be_converted_are_all_named() -> None:
    parts = [_tiny("searched", Searched()), _tiny("fixed", Fixed())]

    with pytest.raises(ExportFailed, match=r"the network cannot be exported to ONNX: searched: .*; fixed: "):
        export_parts(parts, ROWS)


def test_all_parts_with_different_outputs_are_named() -> None:
    parts = [_tiny("one", Drifting()), _tiny("fine", Fine()), _tiny("other", Drifting())]

    with pytest.raises(ExportFailed, match=r"one\.y at 1 rows exceeds .*; other\.y at 512 rows exceeds") as caught:
        export_parts(parts, ROWS)

    assert "fine.y" not in str(caught.value)


def test_a_part_with_an_unknown_input_is_named() -> None:
    with pytest.raises(ExportFailed, match=r"part 'tiny' has unknown inputs: .* got x"):
        export_parts([_tiny("tiny", Fine())], {"w": ROWS["x"]})


def test_where_operators_cannot_be_lowered_one_by_one_torch_lowers_them(monkeypatch: pytest.MonkeyPatch) -> None:
    def another_torch(*_: object) -> object:
        raise AttributeError("what is private may change")

    monkeypatch.setattr("aepipe.export.recording.record", another_torch)
    monkeypatch.setattr("aepipe.export.export.lowerable", another_torch)

    (found,) = export_parts([_tiny("fine", Fine())], ROWS)

    np.testing.assert_array_equal(_session(found.onnx).run(None, ROWS)[0], 2 * ROWS["x"])


class Decomposable(nn.Module):
    """Module with operators that the exporter has to decompose."""

    def forward(self, x: Tensor) -> Tensor:
        left, right = x.chunk(2, dim=1)
        return torch.cat([torch.logsumexp(torch.stack([left, right]), 0), (1 - left).square()], 1)


def test_pinned_torch_takes_the_fast_decomposition(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    decomposed: list[bool] = []
    fast = Lowerable.run_decompositions

    def recorded(program: Lowerable, *args: Any, **kwargs: Any) -> ExportedProgram:
        lowered = fast(program, *args, **kwargs)
        decomposed.append(lowered is program)
        return lowered

    def unavailable(*_: object) -> None:
        raise AttributeError("what is private may change")

    monkeypatch.setattr(Lowerable, "run_decompositions", recorded)
    monkeypatch.setattr("aepipe.export.recording.record", unavailable)

    with caplog.at_level(logging.DEBUG, logger="aepipe.export"):
        export_parts([_tiny("composed", Decomposable())], ROWS)

    # `lowered is program` holds on the fast path only, and a debug record marks either fallback.
    assert decomposed
    assert all(decomposed)
    messages = [record.getMessage() for record in caplog.records if record.name.startswith("aepipe.export")]
    assert messages == ["composed is traced by torch, which takes longer: what is private may change"]


def test_inputs_may_have_the_names_that_the_exporter_gives_to_its_tensors() -> None:
    class Concatenated(nn.Module):
        def forward(self, cat: Tensor, mul: Tensor) -> Tensor:
            return torch.cat([cat * 2, mul * 3, cat * mul], dim=1)

    inputs = (Port("cat", "float32", (2,)), Port("mul", "float32", (2,)))
    part = Part("named", Concatenated(), inputs, (Port("mul_1", "float32", (6,)),))

    (one,), (again,) = (export_parts([part], {"cat": ROWS["x"], "mul": ROWS["x"]}) for _ in range(2))

    assert one.info.parity["512"] == {"mul_1": {"abs": 0.0, "rel": 0.0}}
    assert one.onnx == again.onnx  # and the same model gives the same bytes


def test_a_layout_of_categories_alone_is_exported() -> None:
    layout = Layout(columns=("shop",), categories=(Category(name="shop", column=0, size=9),))
    rows = random_rows(layout, 100)
    scorer = fit_scorer(train(layout, rows, rows, epochs=1, family="ae"), rows, rows, head="knn", reasons=2)

    (exported,) = export_parts([scorer.part()], rows)

    assert [port.name for port in exported.info.inputs] == ["cat"]
