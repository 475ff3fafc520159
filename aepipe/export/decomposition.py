"""A traced program brought down to the operators that ONNX knows. Nothing here knows parts or files.

The exporter lowers a program by tracing it twice more as a whole, which is almost half of an export's seconds. Here
only the few operators that need it are traced, each alone.
"""

import logging
import operator
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import fx
from torch._subclasses.fake_tensor import FakeTensor
from torch.export import ExportedProgram, ExportGraphSignature
from torch.fx.experimental.proxy_tensor import make_fx

log = logging.getLogger(__name__)

Decompositions = dict[Any, Callable[..., Any]]
"""What the exporter's operators are made of, by operator."""

_CONSTANT = torch.ops.aten.detach_.default
"""What becomes of a tensor that a forward makes of numbers: it is its argument."""


class Lowerable(ExportedProgram):
    """A program that decomposes operator by operator when the exporter asks it to."""

    def run_decompositions(
        self,
        decomp_table: Decompositions | None = None,
        decompose_custom_triton_ops: bool = False,
    ) -> ExportedProgram:
        """This program, changed: in operators that are not in the table.

        One that writes into its tensors is traced as a whole after all, as torch would.
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
    """The same program, which the exporter lowers in a fraction of the seconds."""
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
    """Whether an operator writes into none of its tensors, and, if it is made of others, has one to be traced with."""
    target = node.target
    if isinstance(target, torch._ops.OpOverload) and target._schema.is_mutable and target is not _CONSTANT:
        return False
    return bool(_tensors(node)) or not _is_made_of_others(node, table)


def _is_made_of_others(node: fx.Node, table: Decompositions) -> bool:
    """Whether the table holds an operator; or none can, as it is composed of others and answers with a view."""
    target = node.target
    if not isinstance(target, torch._ops.OpOverload):
        return False
    if target in table:
        return True
    views = any(answer.alias_info for answer in target._schema.returns)
    name = target.name()  # type: ignore[no-untyped-call]
    return views and torch._C._dispatch_has_kernel_for_dispatch_key(name, "CompositeImplicitAutograd")


def _tensors(node: fx.Node) -> list[FakeTensor]:
    values = [each.meta.get("val") for each in node.all_input_nodes]
    return [value for value in values if isinstance(value, FakeTensor)]


def _sizes(graph: fx.Graph) -> dict[str, fx.Node]:
    """The free sizes of a graph's inputs, each by its symbol, as nodes right behind the inputs."""
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
    """The axes of a tensor that are not of one size, and what their sizes are called."""
    sizes: list[object] = list(value.shape) if isinstance(value, FakeTensor) else []
    return [(axis, size) for axis, size in enumerate(sizes) if isinstance(size, torch.SymInt)]


def _pieces(node: fx.Node, table: Decompositions, sizes: Mapping[str, fx.Node]) -> Any:
    """What an operator answers, as nodes before it that are put together of what it is made of."""
    tensors = _tensors(node)
    # Sizes first: a size in the pieces is then the graph's own, not read off a tensor again.
    given = list(dict.fromkeys([*(sizes[name] for name in _symbols(tensors) if name in sizes), *node.all_input_nodes]))

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


def _symbols(tensors: Iterable[FakeTensor]) -> list[str]:
    sizes = [size for tensor in tensors for _, size in _free_sizes(tensor)]
    return [str(symbol) for size in sizes for symbol in sorted(size.node.expr.free_symbols, key=str)]


def _replace(node: fx.Node, answer: Any, signature: ExportGraphSignature) -> None:
    """Let all who use the node's answer use this one, a node or one for each of its parts."""
    if isinstance(answer, fx.Node):
        signature.replace_all_uses(node.name, answer.name)
        node.replace_all_uses_with(answer)
    for user in list(node.users):
        assert user.target is operator.getitem, f"{user} takes all the answers of {node}"
        _replace(user, answer[user.args[1]], signature)
    node.graph.erase_node(node)
