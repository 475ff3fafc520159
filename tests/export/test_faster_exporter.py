"""The settings of the faster exporter change no byte of a graph, and end with the export."""

from contextlib import nullcontext

import numpy as np
import onnx_ir.schemas
import onnxscript.rewriter
import pytest
import torch
from torch import Tensor, nn
from torch.fx.experimental import symbolic_shapes
from torch.onnx._internal.exporter import _decomp
from torch.onnx._internal.exporter._registration import ONNXRegistry
from torch.onnx._internal.fx.passes.type_promotion import _TypePromotionInterpreter

from aepipe.export.export import export_parts
from aepipe.export.faster_exporter import OPSET, RuleOfOperator, faster_exporter
from aepipe.layout import Port
from aepipe.models.base import Part

ROWS = {"x": np.random.default_rng(0).normal(size=(512, 4)).astype(np.float32)}


class Mixed(nn.Module):
    """Operators that need conversions (integers with reals), and patterns that the rewriter replaces."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        left, right = x[:, :2], x[:, 2:]
        codes = (left > 0).to(torch.int64)
        return (codes * right + codes.sum(1, keepdim=True) / 3).clamp(min=0).clamp(max=9) * 1.0, x.reshape(-1, 2, 2)


PART = Part("mixed", Mixed(), (Port("x", "float32", (4,)),), (Port("y", "float32", (2,)), Port("z", "float32", (2, 2))))


def settings() -> tuple[object, ...]:
    config = torch._dynamo.config
    rules = onnxscript.rewriter._DEFAULT_REWRITE_RULES
    collect, select = ONNXRegistry.from_torchlib, _decomp.create_onnx_friendly_decomposition_table
    names, convert = symbolic_shapes.uninteresting_files, onnx_ir.schemas.OpSignature.from_op_schema
    return config.fake_tensor_cache_enabled, _TypePromotionInterpreter.run_node, rules, collect, select, names, convert


@pytest.mark.parametrize("is_recorded", [True, False])
def test_the_graph_is_the_one_that_torch_makes_on_its_own(is_recorded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def unavailable(*_: object) -> None:
        raise AttributeError("what is private may change")

    if not is_recorded:
        monkeypatch.setattr("aepipe.export.recording.record", unavailable)

    (faster,) = export_parts([PART], ROWS)

    monkeypatch.setattr("aepipe.export.export.faster_exporter", nullcontext)
    (slower,) = export_parts([PART], ROWS)

    assert faster.onnx == slower.onnx


def test_all_settings_apply_to_the_pinned_versions_and_end() -> None:
    before = settings()

    with pytest.raises(RuntimeError, match="stopped"), faster_exporter():
        has_cache, run_node, rules, *others = settings()
        raise RuntimeError("stopped")

    assert not has_cache
    assert run_node is not before[1]
    assert isinstance(rules, tuple)
    assert all(isinstance(rule, RuleOfOperator) for rule in rules)
    assert all(now != then for now, then in zip(others, before[3:], strict=True))
    assert settings() == before


def test_functions_that_write_nodes_are_those_of_torch_and_collected_once() -> None:
    collected = ONNXRegistry.from_torchlib(opset_version=OPSET)

    with faster_exporter():
        once, again = (ONNXRegistry().from_torchlib(opset_version=OPSET) for _ in range(2))

    assert once is again
    assert _functions(once) == _functions(collected)


def _functions(registry: ONNXRegistry) -> dict[object, list[object]]:
    return {target: [each.onnx_function for each in found] for target, found in registry.functions.items()}


def test_a_version_without_what_is_private_keeps_the_other_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(onnxscript.rewriter, "_DEFAULT_REWRITE_RULES")

    with faster_exporter():
        assert not torch._dynamo.config.fake_tensor_cache_enabled

    assert not hasattr(onnxscript.rewriter, "_DEFAULT_REWRITE_RULES")
