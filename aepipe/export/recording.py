"""Recording of the operators that a part runs on real rows, as one program with a free number of rows.

Tracing by torch computes with symbolic sizes, which costs far more than the operators. Here a part runs twice, on
different numbers of rows: what is equal in both runs is constant, and a size that differs is a multiple of the rows, or
the rows and a constant. Other parts are left to torch.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch._dispatch.python import enable_python_dispatcher
from torch._export.utils import _compiling_state_context
from torch._ops import OpOverload
from torch.fx.experimental.proxy_tensor import ProxyTorchDispatchMode

from aepipe.export.decomposition import is_composite_view
from aepipe.export.faster_exporter import decompositions
from aepipe.models.layers.scan import LoopFound, refuse_loops

RUNS = (4, 7)
"""Rows of the two runs: neither one row, which is broadcast, nor numbers whose halves differ by a whole number."""

_aten = torch.ops.aten
_SAME = {_aten.lift_fresh.default, _aten.detach_.default, _aten.detach.default, _aten.alias.default}
"""Operators that return their argument."""

_UNKNOWN = {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape}


class NotRecordable(Exception):
    """A part does something that two runs do not show; torch's own tracing takes it."""


class Given(NamedTuple):
    """Input of a part."""

    port: int


class Held(NamedTuple):
    """Parameter, buffer or literal."""

    constant: int


class Made(NamedTuple):
    """Answer of an operator."""

    call: int
    answer: int


Origin = Given | Held | Made


class Call(NamedTuple):
    """Operator with its arguments, whose tensors are replaced by their origins, and its answers."""

    target: OpOverload
    args: Any
    kwargs: Any
    answers: tuple[Tensor, ...]
    is_single: bool


@dataclass(frozen=True, slots=True)
class Run:
    """Operators of one run of a part."""

    calls: list[Call] = field(default_factory=list)
    constants: list[Tensor] = field(default_factory=list)
    answers: list[Origin] = field(default_factory=list)


def record(module: nn.Module, inputs: Sequence[Tensor]) -> tuple[Run, Run]:
    """Run a module on the first rows of its inputs, on both numbers of rows.

    Raises:
        NotRecordable: The module writes into tensors, loops over steps or asks for values.
    """
    first, second = (_run(module, [tensor[:rows].clone() for tensor in inputs]) for rows in RUNS)
    return first, second


def _run(module: nn.Module, inputs: Sequence[Tensor]) -> Run:
    recorder = _Recorder(inputs)
    try:
        with torch.no_grad(), refuse_loops(), _compiling_state_context(), enable_python_dispatcher(), recorder:
            answer = module(*inputs)
    except LoopFound as error:
        raise NotRecordable(str(error)) from error
    answers = answer if isinstance(answer, tuple) else (answer,)
    recorder.run.answers.extend(map(recorder.origin, answers))
    return recorder.run


class _Recorder(ProxyTorchDispatchMode):  # type: ignore[no-untyped-call]
    """Mode in which operators run as usual and are noted, before autograd takes them apart."""

    def __init__(self, inputs: Sequence[Tensor]) -> None:
        super().__init__(None, "real", pre_dispatch=True)  # type: ignore[arg-type]
        self.run = Run()
        self._known: dict[object, Origin] = {}
        """by the memory of a tensor, since torch may hand out another object for it"""
        self._kept: list[Tensor] = []
        """so that no memory is used again"""
        for at, tensor in enumerate(inputs):
            self._keep(tensor, Given(at))

    def origin(self, tensor: Tensor) -> Origin:
        """Return where a tensor comes from; an unknown one is a constant."""
        if _memory(tensor) not in self._known:
            self._keep(tensor, Held(len(self.run.constants)))
            self.run.constants.append(tensor)
        return self._known[_memory(tensor)]

    def _keep(self, tensor: Tensor, origin: Origin) -> None:
        self._kept.append(tensor)
        self._known[_memory(tensor)] = origin

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.ops.prim.device.default:
            return func(*args, **kwargs)
        if not isinstance(func, OpOverload):
            raise NotRecordable(f"{func} is no operator")
        if func in _SAME:
            answer = func(*args, **kwargs)
            self._keep(answer, self.origin(args[0]))
            return answer
        decompose = _decomposition(func)
        if decompose is not None:
            with self:
                answer = decompose(*args, **kwargs)
            if answer is not NotImplemented:
                return answer
        if func._schema.is_mutable:
            raise NotRecordable(f"{func} writes into a tensor")
        if _UNKNOWN & set(func.tags) and not _picks_places(func, args):
            if not all(isinstance(each, Tensor) and isinstance(self.origin(each), Held) for each in args):
                raise NotRecordable(f"the answer of {func} depends on values")
            return func(*args, **kwargs)  # of constants, a constant
        if not func._schema.returns:
            return func(*args, **kwargs)  # a check of values, which has no place in a graph
        return self._note(func, args, kwargs, func(*args, **kwargs))

    def _note(self, func: OpOverload, args: Any, kwargs: Any, answer: Any) -> Any:
        answers = tuple(answer) if isinstance(answer, list | tuple) else (answer,)
        if all(type(each) is int for each in answers):
            return answer  # a size
        if not all(isinstance(each, Tensor) for each in answers):
            raise NotRecordable(f"{func} returns no tensor")
        call = len(self.run.calls)
        args, kwargs = _mapped((args, kwargs), self.origin)
        self.run.calls.append(Call(func, args, kwargs, answers, isinstance(answer, Tensor)))
        for at, tensor in enumerate(answers):
            self._keep(tensor, Made(call, at))
        return answer


def _picks_places(func: OpOverload, args: Sequence[Any]) -> bool:
    """Return whether an operator selects by indices, not by a mask, so that shapes alone decide the answer's shape."""
    if func is not _aten.index.Tensor:
        return False
    return all(index is None or index.dtype in (torch.int32, torch.int64) for index in args[1])


def _memory(tensor: Tensor) -> object:
    return tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype


def _mapped(value: Any, change: Callable[[Tensor], object]) -> Any:
    """Replace the tensors in nested lists, tuples and dictionaries."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, list | tuple):
        return type(value)(_mapped(each, change) for each in value)
    if isinstance(value, dict):
        return {name: _mapped(each, change) for name, each in value.items()}
    return value


@cache
def _decomposition(target: OpOverload) -> Callable[..., Any] | None:
    return _table().get(target) or (target.decompose if is_composite_view(target) else None)


_table = cache(decompositions)
