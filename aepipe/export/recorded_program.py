"""One exported program of recorded parts, in which parts share the operators that they have in common."""

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, fx
from torch._dynamo.source import ConstantSource
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.export import ExportedProgram
from torch.export.graph_signature import (
    ExportGraphSignature,
    InputKind,
    InputSpec,
    OutputKind,
    OutputSpec,
    TensorArgument,
)
from torch.fx.experimental.symbolic_shapes import ShapeEnv

from aepipe.export.recording import RUNS, Call, Given, Held, Made, NotRecordable, Origin, Run
from aepipe.layout import Port

_MOST_COMPARED = 4_096
"""Elements of a literal up to which equal ones become one constant."""


class Recorded(NamedTuple):
    """Two runs of a part, and the ports of its inputs."""

    runs: tuple[Run, Run]
    inputs: tuple[Port, ...]


class PartTensors(NamedTuple):
    """Positions of a part's tensors in the inputs and outputs of the program."""

    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


class Program(NamedTuple):
    """Program of all parts with the positions of each, or the reason why it is not in the program."""

    program: ExportedProgram
    parts: tuple[PartTensors | NotRecordable, ...]


class DecomposedProgram(ExportedProgram):
    """Exported program whose operators were decomposed when they were recorded."""

    def run_decompositions(self, *args: object, **kwargs: object) -> ExportedProgram:
        """Return the program as it is."""
        return self


class _Size(NamedTuple):
    """Size that is `factor` times the rows, and `extra`."""

    factor: int
    extra: int


def combine(parts: Sequence[Recorded], names: Mapping[int, str]) -> Program:
    """Build the program of all parts, which read the same tensor for inputs of the same port.

    A part whose two runs differ in more than sizes is left out.

    Args:
        parts: Recorded parts.
        names: Names of parameters and buffers by the identities of their tensors.
    """
    builder = _Builder(names)
    held = [_unless_refused(builder.hold, part.runs) for part in parts]
    given = [[builder.input(port) for port in part.inputs] for part in parts]
    answers = [
        constants
        if isinstance(constants, NotRecordable)
        else _unless_refused(builder.part, part.runs, nodes, constants)
        for part, nodes, constants in zip(parts, given, held, strict=True)
    ]
    return builder.finish(given, answers)


def _unless_refused(build: Callable[..., list[fx.Node]], *arguments: object) -> list[fx.Node] | NotRecordable:
    try:
        return build(*arguments)
    except NotRecordable as error:
        return error


class _Builder:
    """Graph under construction."""

    def __init__(self, names: Mapping[int, str]) -> None:
        self.graph = fx.Graph()
        self.fake_mode = FakeTensorMode(shape_env=ShapeEnv())
        self.rows = _symbol(self.fake_mode.shape_env)
        self.names = names
        self.constants: dict[str, Any] = {}
        self._holders: dict[object, fx.Node] = {}
        self._inputs: dict[Port, fx.Node] = {}
        self._nodes: dict[object, fx.Node] = {}
        self._examples: dict[object, FakeTensor] = {}

    def hold(self, runs: tuple[Run, Run]) -> list[fx.Node]:
        """Return the nodes of the constants of a part."""
        first, second = (run.constants for run in runs)
        if len(first) != len(second) or not all(map(_are_equal, first, second)):
            raise NotRecordable("a constant depends on the number of rows")
        return [self._holder(tensor) for tensor in first]

    def _holder(self, tensor: Tensor) -> fx.Node:
        key: object = id(tensor)
        name = self.names.get(id(tensor))
        if name is None and tensor.numel() <= _MOST_COMPARED:
            key = (tensor.dtype, tensor.shape, tensor.detach().contiguous().numpy().tobytes())
        if key not in self._holders:
            name = name or f"constant_{len(self.constants)}"
            self.constants[name] = tensor.detach()
            self._holders[key] = self._placeholder(f"c_{len(self.constants)}", tensor.shape, tensor.dtype)
        return self._holders[key]

    def input(self, port: Port) -> fx.Node:
        """Return the node of an input."""
        alike = Port(port.name, port.dtype, port.row_shape)
        if alike not in self._inputs:
            dtype = getattr(torch, port.dtype)
            name = f"in_{len(self._inputs)}"
            self._inputs[alike] = self._placeholder(name, (self.rows, *port.row_shape), dtype)
        return self._inputs[alike]

    def _placeholder(self, name: str, shape: Sequence[Any], dtype: torch.dtype) -> fx.Node:
        node = self.graph.placeholder(name)
        node.meta = {"val": self._example(tuple(shape), dtype), "nn_module_stack": {}}
        return node

    def _example(self, shape: Sequence[Any], dtype: torch.dtype) -> FakeTensor:
        """Return a tensor without values for the exporter to read types and shapes from."""
        key = (tuple(str(size) for size in shape), dtype)
        if key not in self._examples:
            with self.fake_mode:
                made = torch.empty(tuple(shape), dtype=dtype)
            assert isinstance(made, FakeTensor)
            self._examples[key] = made
        return self._examples[key]

    def part(self, runs: tuple[Run, Run], inputs: Sequence[fx.Node], constants: Sequence[fx.Node]) -> list[fx.Node]:
        """Add the operators of a part and return the nodes of its answers."""
        first, second = runs
        if [call.target for call in first.calls] != [call.target for call in second.calls]:
            raise NotRecordable("the operators depend on the number of rows")
        made: list[fx.Node] = []

        def node_of(origin: Origin) -> fx.Node:
            if isinstance(origin, Given):
                return inputs[origin.port]
            if isinstance(origin, Held):
                return constants[origin.constant]
            call = made[origin.call]
            return call if first.calls[origin.call].is_single else self._item(call, origin.answer)

        for one, other in zip(first.calls, second.calls, strict=True):
            args = self._merged(one.args, other.args, node_of, inputs[0])
            kwargs = self._merged(one.kwargs, other.kwargs, node_of, inputs[0])
            made.append(self._call(one.target, args, kwargs, self._value(one, other)))
        if first.answers != second.answers:
            raise NotRecordable("the answers depend on the number of rows")
        return [node_of(origin) for origin in first.answers]

    def _value(self, one: Call, other: Call) -> Any:
        examples = [self._seen(*pair) for pair in zip(one.answers, other.answers, strict=True)]
        return examples[0] if one.is_single else examples

    def _seen(self, one: Tensor, other: Tensor) -> FakeTensor:
        if one.dim() != other.dim() or one.dtype != other.dtype:
            raise NotRecordable("a shape depends on the number of rows")
        sizes = [a if a == b else self._symbolic(_size(a, b)) for a, b in zip(one.shape, other.shape, strict=True)]
        return self._example(sizes, one.dtype)

    def _symbolic(self, size: _Size) -> Any:
        return size.factor * self.rows + size.extra

    def _merged(self, one: Any, other: Any, node_of: Any, source: fx.Node) -> Any:
        """Return the argument of both runs, with nodes for tensors and for sizes that grow with the rows."""
        if isinstance(one, Given | Held | Made):
            if one != other:
                raise NotRecordable("an argument depends on the number of rows")
            return node_of(one)
        if isinstance(one, list | tuple):
            if len(one) != len(other):
                raise NotRecordable("a list of arguments depends on the number of rows")
            return [self._merged(*pair, node_of, source) for pair in zip(one, other, strict=True)]
        if isinstance(one, dict):
            return {name: self._merged(value, other[name], node_of, source) for name, value in one.items()}
        if type(one) is int and one != other:
            return self._size_node(_size(one, other), source)
        if _frozen(one) != _frozen(other):
            raise NotRecordable(f"an argument depends on the number of rows: {one} and {other}")
        return one

    def _size_node(self, size: _Size, source: fx.Node) -> fx.Node:
        node = self._call(torch.ops.aten.sym_size.int, [source, 0], {}, self.rows)
        if size.factor != 1:
            node = self._call(operator.mul, [node, size.factor], {}, size.factor * self.rows)
        if size.extra:
            node = self._call(operator.add, [node, size.extra], {}, self._symbolic(size))
        return node

    def _item(self, node: fx.Node, at: int) -> fx.Node:
        return self._call(operator.getitem, [node, at], {}, node.meta["val"][at])

    def _call(self, target: Any, args: list[Any], kwargs: dict[str, Any], value: Any) -> fx.Node:
        """Return the node of an operator; the same one for the same arguments."""
        key = (target, _frozen(args), _frozen(kwargs))
        is_random = torch.Tag.nondeterministic_seeded in getattr(target, "tags", ())
        if is_random or key not in self._nodes:
            name = getattr(target, "overloadpacket", target).__name__
            node = self.graph.create_node("call_function", target, tuple(args), kwargs, name=name)
            node.meta = {"val": value, "nn_module_stack": {}}
            self._nodes[key] = node
        return self._nodes[key]

    def finish(
        self, given: Sequence[Sequence[fx.Node]], answers: Sequence[Sequence[fx.Node] | NotRecordable]
    ) -> Program:
        """Return the program, with each answer once for all parts that give it."""
        inputs, outputs = list(self._inputs.values()), list[fx.Node]()
        places = [
            made
            if isinstance(made, NotRecordable)
            else PartTensors(tuple(map(inputs.index, nodes)), _places(outputs, made))
            for nodes, made in zip(given, answers, strict=True)
        ]
        self.graph.output(tuple(outputs))
        signature = ExportGraphSignature(
            [
                *(
                    InputSpec(InputKind.CONSTANT_TENSOR, TensorArgument(node.name), name)
                    for node, name in zip(self._holders.values(), self.constants, strict=True)
                ),
                *(InputSpec(InputKind.USER_INPUT, TensorArgument(node.name), None) for node in inputs),
            ],
            [OutputSpec(OutputKind.USER_OUTPUT, TensorArgument(node.name), None) for node in outputs],
        )
        program = DecomposedProgram({}, self.graph, signature, {}, {}, [], ((), {}), self.constants)
        return Program(program, tuple(places))


def _places(outputs: list[fx.Node], made: Sequence[fx.Node]) -> tuple[int, ...]:
    """Return the positions of a part's answers, which are added unless an earlier part gives them."""
    places: list[int] = []
    for node in made:
        found = [at for at, each in enumerate(outputs) if each is node and at not in places]
        places.append(found[0] if found else len(outputs))
        outputs += [] if found else [node]
    return tuple(places)


def _symbol(environment: ShapeEnv | None) -> torch.SymInt:
    """Return the free number of rows."""
    assert environment is not None
    source = ConstantSource("rows")
    symbol = environment.create_symbol(RUNS[0], source)
    rows = environment.create_symintnode(symbol, hint=RUNS[0], source=source)
    assert isinstance(rows, torch.SymInt)
    return rows


def _size(one: int, other: int) -> _Size:
    """Return the multiple of the rows that is `one` and `other` in the two runs, or their number and an addend.

    Raises:
        NotRecordable: There is none.
    """
    factor, rest = divmod(other - one, RUNS[1] - RUNS[0])
    extra = one - factor * RUNS[0]
    if rest or (extra and factor != 1):
        raise NotRecordable(f"a size is no multiple of the rows: {one} and {other} at {RUNS[0]} and {RUNS[1]} rows")
    return _Size(factor, extra)


def _are_equal(one: Tensor, other: Tensor) -> bool:
    return one is other or (one.dtype == other.dtype and one.shape == other.shape and torch.equal(one, other))


def _frozen(value: Any) -> object:
    """Return a hashable key of arguments, which tells 1, 1.0 and True apart."""
    if isinstance(value, fx.Node):
        return value
    if isinstance(value, list | tuple):
        return tuple(map(_frozen, value))
    if isinstance(value, dict):
        return tuple((name, _frozen(each)) for name, each in value.items())
    return type(value), repr(value)
