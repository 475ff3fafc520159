"""Settings under which torch's exporter makes the same graphs in less time.

They are private to torch and onnxscript: what another version lacks stays as it is, and takes longer.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from importlib import import_module
from types import SimpleNamespace
from typing import Any

from torch import fx

OPSET = 20

_REGISTRATION = "torch.onnx._internal.exporter._registration"


@contextmanager
def faster_exporter() -> Iterator[None]:
    """Trace without a cache of operators, run no operator again for its type, and try rewrite rules where they match.

    With a free number of rows, a hit or a miss of the cache of fake tensors compares and rebuilds symbolic sizes, which
    costs more than the operator. The pass that inserts type conversions runs the whole program again, though the type
    of every node is known. The rewriter tries every rule on every node, and one rule on every pair of nodes. Each
    export collects the functions that write nodes, and the operators that they lack, and each node converts the schema
    of its operator. To record the line that made a size, which is not used, torch loads its compiler.
    """
    with ExitStack() as settings:
        for module, path, change in (
            ("torch._dynamo.config", "fake_tensor_cache_enabled", lambda _: False),
            ("torch.onnx._internal.fx.passes.type_promotion", "_TypePromotionInterpreter.run_node", _known_value_first),
            ("onnxscript.rewriter", "_DEFAULT_REWRITE_RULES", lambda rules: tuple(map(RuleOfOperator, rules))),
            (_REGISTRATION, "ONNXRegistry.from_torchlib", _collects_once),
            ("torch.onnx._internal.exporter._decomp", "create_onnx_friendly_decomposition_table", _selects_once),
            ("torch.fx.experimental.symbolic_shapes", "uninteresting_files", lambda _: frozenset),
            ("onnx_ir.schemas", "OpSignature.from_op_schema", _converts_once),
        ):
            settings.enter_context(_replaced(module, path, change))
        yield


def decompositions() -> dict[Any, Callable[..., Any]]:
    """Return the decompositions of operators for which torch has no function that writes nodes."""
    from torch.onnx._internal.exporter import _decomp, _registration

    with faster_exporter():
        supported = _decomp.get_onnx_implemented_overloads(_registration.ONNXRegistry().from_torchlib(OPSET))
        return _decomp.create_onnx_friendly_decomposition_table(set(supported))


def _converts_once(convert: Callable[[Any], Any]) -> Any:
    known: dict[tuple[str, str, int], Any] = {}

    def once(schema: Any) -> Any:
        key = (schema.domain, schema.name, schema.since_version)
        if key not in known:
            known[key] = convert(schema)
        return known[key]

    return staticmethod(once)


def _selects_once(select: Callable[[Any], Any]) -> Any:
    return lambda supported: _selected(select, frozenset(supported))


@cache
def _selected(select: Callable[[Any], Any], supported: frozenset[Any]) -> Any:
    return select(supported)


def _collects_once(collect: Callable[[int], Any]) -> Any:
    def once(opset_version: int) -> Any:
        return _collected(collect, opset_version)

    return staticmethod(once)


@cache
def _collected(collect: Callable[[int], Any], opset: int) -> Any:
    """Collect the functions once per process, without parsing the source of each for an unused domain."""
    no_source = property(lambda _: SimpleNamespace(domain=""))
    with _replaced("onnxscript._internal.values", "TracedOnnxFunction.function_ir", lambda _: no_source):
        return collect(opset)


@contextmanager
def _replaced(module: str, path: str, change: Callable[[Any], Any]) -> Iterator[None]:
    """Replace an attribute of a module, or of a class in it, by what `change` makes of it; none if it is absent."""
    *owners, name = path.split(".")
    try:
        owner: Any = import_module(module)
        for each in owners:
            owner = getattr(owner, each)
        before = getattr(owner, name)
        after = change(before)
    except (ImportError, AttributeError):
        yield
        return
    setattr(owner, name, after)
    try:
        yield
    finally:
        setattr(owner, name, before)


def _known_value_first(run_node: Callable[[Any, fx.Node], Any]) -> Callable[[Any, fx.Node], Any]:
    """Return the step of the interpreter that inserts conversions, with the value that tracing recorded of a node."""
    from torch.onnx._internal.fx.passes.type_promotion import get_type_promotion_rule

    def step(interpreter: Any, node: fx.Node) -> Any:
        if node.op != "call_function" or node.meta.get("val") is None:
            return run_node(interpreter, node)
        rule = get_type_promotion_rule(node, interpreter.type_promotion_table)
        if rule is not None:
            with interpreter._set_current_node(node):
                interpreter._maybe_promote_node(node, rule)
        return node.meta["val"]

    return step


class RuleOfOperator:
    """Rewrite rule of onnxscript that is tried on the nodes of its last operator only; else as the rule."""

    def __init__(self, rule: Any) -> None:
        self._rule = rule
        outputs = getattr(getattr(rule, "_target_pattern", None), "output_nodes", ())
        self._operator: tuple[str, str, str] | None = outputs[0].op_identifier() if outputs else None
        """domain, type and overload; None: any"""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._rule, name)

    def try_rewrite(self, model: Any, graph: Any, node: Any, **options: Any) -> Any:
        """Return the replacement of a node and the nodes before it; None if the rule does not match."""
        if self._operator is not None and node.op_identifier() != self._operator:
            return None
        return self._rule.try_rewrite(model, graph, node, **options)
