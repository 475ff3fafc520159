"""Decomposition of a traced program into operators that ONNX supports.

The exporter decomposes a program by tracing it twice more as a whole, which takes almost half of an export. Here only
the few operators that need it are traced, one by one.
"""

import logging
import operator
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import fx
from torch._subclasses.fake_tensor import FakeTensor
from torch.export import ExportedProgram, ExportGraphSignature
from torch.fx.experimental.proxy_tensor import make_fx

log = logging.getLogger(__name__)

Decompositions = dict[Any, Callable[..., Any]]
"""Decomposition function per operator."""

_CONSTANT = torch.ops.aten.detach_.default
"""Operator that tracing puts around a constant tensor; replaced by its argument."""


class Lowerable(ExportedProgram):
    """Exported program that decomposes operator by operator."""

    def run_decompositions(
        self,
        decomp_table: Decompositions | None = None,
        decompose_custom_triton_ops: bool = False,
    ) -> ExportedProgram:
        """Decompose in place all operators of the table.

        A program that writes into its tensors is traced as a whole by torch instead.
        """
        graphs = [module.graph for module in self.graph_module.modules() if isinstance(module, fx.GraphModule)]
        if decomp_table is None or not all(_may_go_alone(node, decomp_table) for each in graphs for node in each.nodes):
            log.debug("the program is decomposed as a whole, which takes longer")
            whole: ExportedProgram = super().run_decompositions(decomp_table, decompose_custom_triton_ops)
            return whole
        for graph in graphs:
            nodes = list(graph.nodes)
            sizes = _sizes(graph)
            for node in nodes:
                if node.target is _CONSTANT:
                    _replace(node, node.args[0], self.graph_signature)
                elif _is_made_of_others(node, decomp_table):
                    _replace(node, _pieces(node, decomp_table, sizes), self.graph_signature)
            graph.eliminate_dead_code()
        return self


def lowerable(program: ExportedProgram) -> Lowerable:
    """Wrap a program so that the exporter decomposes it in a fraction of the time."""
    return Lowerable(
        program.graph_module,
        program.graph,
        program.graph_signature,
        program.state_dict,
        program.range_constraints,
        program.module_call_graph,
        program.example_inputs,
        program.constants,
        verifiers=program.verifiers,
    )


def _may_go_alone(node: fx.Node, table: Decompositions) -> bool:
    """Return whether an operator mutates no tensor and, if composed, has a tensor input to trace with."""
    target = node.target
    if isinstance(target, torch._ops.OpOverload) and target._schema.is_mutable and target is not _CONSTANT:
        return False
    return bool(_tensors(node)) or not _is_made_of_others(node, table)


def _is_made_of_others(node: fx.Node, table: Decompositions) -> bool:
    """Return whether an operator is in the table, or is a composite that returns a view."""
    target = node.target
    return isinstance(target, torch._ops.OpOverload) and (target in table or is_composite_view(target))


def is_composite_view(target: torch._ops.OpOverload) -> bool:
    """Return whether an operator is made of others and returns a view."""
    views = any(answer.alias_info for answer in target._schema.returns)
    name = target.name()  # type: ignore[no-untyped-call]
    return views and torch._C._dispatch_has_kernel_for_dispatch_key(name, "CompositeImplicitAutograd")


def _tensors(node: fx.Node) -> list[FakeTensor]:
    values = [each.meta.get("val") for each in node.all_input_nodes]
    return [value for value in values if isinstance(value, FakeTensor)]


def _sizes(graph: fx.Graph) -> dict[str, fx.Node]:
    """Insert a node for each dynamic size of the graph inputs and return the nodes by symbol."""
    inputs = graph.find_nodes(op="placeholder")
    sizes: dict[str, fx.Node] = {}
    for node in inputs:
        for axis, size in _free_sizes(node.meta["val"]):
            if str(size) not in sizes:
                with graph.inserting_after(inputs[-1]):
                    sizes[str(size)] = graph.call_function(torch.ops.aten.sym_size.int, (node, axis))
                sizes[str(size)].meta = {"val": size, "nn_module_stack": {}}
    return sizes


def _free_sizes(value: object) -> list[tuple[int, torch.SymInt]]:
    """List the dynamic axes of a tensor with their symbolic sizes."""
    sizes: list[object] = list(value.shape) if isinstance(value, FakeTensor) else []
    return [(axis, size) for axis, size in enumerate(sizes) if isinstance(size, torch.SymInt)]


def _pieces(node: fx.Node, table: Decompositions, sizes: Mapping[str, fx.Node]) -> Any:
    """Insert the decomposition of an operator before its node and return its outputs."""
    tensors = _tensors(node)
    # Sizes first, so that the decomposition uses the sizes of the graph and does not read them off a tensor.
    free = [size for tensor in tensors for _, size in _free_sizes(tensor)]
    names = [str(symbol) for size in free for symbol in sorted(size.node.expr.free_symbols, key=str)]
    given = list(dict.fromkeys([*(sizes[name] for name in names if name in sizes), *node.all_input_nodes]))

    def alone(*values: Any) -> Any:
        known = dict(zip(given, values, strict=True))
        args, kwargs = fx.map_arg((node.args, node.kwargs), known.__getitem__)
        return node.target(*args, **kwargs)  # type: ignore[operator]

    with tensors[0].fake_mode:
        traced = make_fx(alone, decomposition_table=table)(*(each.meta["val"] for each in given)).graph
    traced.eliminate_dead_code()
    copies = dict(zip(traced.find_nodes(op="placeholder"), given, strict=True))
    with node.graph.inserting_before(node):
        answer = node.graph.graph_copy(traced, copies)
    for copied in set(copies.values()) - set(given):
        copied.meta.setdefault("nn_module_stack", node.meta.get("nn_module_stack", {}))
    return answer


def _replace(node: fx.Node, answer: Any, signature: ExportGraphSignature) -> None:
    """Replace a node by its new output, or by one output per element of a tuple."""
    if isinstance(answer, fx.Node):
        signature.replace_all_uses(node.name, answer.name)
        node.replace_all_uses_with(answer)
    for user in list(node.users):
        assert user.target is operator.getitem, f"{user} takes all the answers of {node}"
        _replace(user, answer[user.args[1]], signature)
    node.graph.erase_node(node)
