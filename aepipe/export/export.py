"""Export of torch modules to checked ONNX files; writes no files and knows no families.

Parts are recorded as they run; those that cannot be recorded, or differ from torch then, are traced by torch. All are
exported in one call and split afterwards, since most of the time of a call goes into its setup.
"""

import copy
import logging
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import numpy as np
import onnx
import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from aepipe.bundles.bundle import PartInfo
from aepipe.bundles.graph_check import graph_faults
from aepipe.errors import ExportFailed
from aepipe.export.decomposition import lowerable
from aepipe.export.faster_exporter import OPSET, faster_exporter
from aepipe.export.graph_split import extract_part, finalize_model, tensor_names
from aepipe.export.parity import ROWS, Array, check_parity, torch_outputs
from aepipe.heads.scorer import Scorer
from aepipe.models.base import Model, Part

log = logging.getLogger(__name__)

_TRACED_ROWS = 3
_NOISE_SEED = 0


class Exported(NamedTuple):
    """ONNX file of a part with its description."""

    part: str
    onnx: bytes
    info: PartInfo


class ExportCase(NamedTuple):
    """Part on the CPU in eval mode, and 512 rows of each input to check it on."""

    part: Part
    inputs: tuple[Array, ...]


def export_model(
    model: Model, scorer: Scorer, priors: Sequence[Part], sample_arrays: Mapping[str, Array]
) -> list[Exported]:
    """Export and check all parts of a trained model, its scorer and its priors.

    Raises:
        ExportFailed: With all faults of all parts.
    """
    return export_parts((*model.parts(), scorer.part(), *priors), sample_arrays)


def export_parts(parts: Sequence[Part], sample_arrays: Mapping[str, Array]) -> list[Exported]:
    """Export parts to ONNX and check each against torch.

    Args:
        parts: Parts in the order in which outputs feed later inputs.
        sample_arrays: Encoded rows by port name. Other inputs are outputs of earlier parts (`z` of the encoder) or
            noise, which is drawn.

    Raises:
        ExportFailed: With all faults of all parts.
    """
    cases = _build_cases(parts, sample_arrays)
    checked = _recorded(cases)
    others = [case for case in cases if case.part.name not in checked]
    if others:
        checked |= {case.part.name: _check(case, file) for case, file in zip(others, _convert(others), strict=True)}
    faults = [fault for case in cases for fault in checked[case.part.name].faults]
    if faults:
        raise ExportFailed(
            f"the exported graph differs from torch: {'; '.join(faults)}. Nothing was published. Report it."
        )
    return [checked[case.part.name].exported for case in cases]


class _Checked(NamedTuple):
    """Exported part, and a sentence for each difference from its module."""

    exported: Exported
    faults: list[str]


def _check(case: ExportCase, file: bytes) -> _Checked:
    part = case.part
    names = ([port.name for port in part.inputs], [port.name for port in part.outputs])
    faults = [f"{part.name} {fault}" for fault in graph_faults(file, inputs=names[0], outputs=names[1])]
    parity = check_parity(part, file, case.inputs)
    info = PartInfo(
        inputs=part.inputs,
        outputs=part.outputs,
        rtol=part.rtol,
        atol=part.atol,
        parity=parity.differences,
    )
    return _Checked(Exported(part.name, file, info), [*faults, *parity.faults])


def _build_cases(parts: Sequence[Part], sample_arrays: Mapping[str, Array]) -> list[ExportCase]:
    # One copy of all, so that what parts share stays shared.
    modules = copy.deepcopy(nn.ModuleDict({part.name: part.module for part in parts}))
    modules.cpu().eval().requires_grad_(False)
    repeats = np.arange(max(ROWS))  # the rows of the greatest check
    known = {name: np.ascontiguousarray(array[repeats % len(array)]) for name, array in sample_arrays.items()}
    generator = np.random.default_rng(_NOISE_SEED)
    cases = []
    for part in parts:
        ready = replace(part, module=modules[part.name])
        known = {**known, **part.examples}
        if unknown := [port.name for port in part.inputs if not port.noise and port.name not in known]:
            raise ExportFailed(
                f"part '{part.name}' has unknown inputs: expected row tensors, noise or outputs of earlier parts, got "
                f"{', '.join(unknown)}. Name an output of an earlier part."
            )
        inputs = []
        for port in part.inputs:
            shape = (max(ROWS), *port.row_shape)
            if port.noise is None:
                inputs.append(known[port.name])
            elif port.noise == "normal":
                inputs.append(generator.standard_normal(shape).astype(port.dtype))
            else:
                inputs.append(generator.random(shape).astype(port.dtype))
        cases.append(ExportCase(ready, tuple(inputs)))
        known = torch_outputs(ready, inputs) | known
    return cases


def _recorded(cases: Sequence[ExportCase]) -> dict[str, _Checked]:
    """Export the parts that can be recorded and do not differ from torch, by name."""
    candidates = {case.part.name: case for case in cases if case.part.write is None}
    try:
        files = _recorded_files(candidates.values())
    except Exception as error:  # private parts of torch may change; its own tracing always works
        log.debug("all parts are traced by torch, which takes longer: %s", _first_line(error))
        return {}
    checked = {name: _check(candidates[name], file) for name, file in files.items()}
    for name, part in checked.items():
        if part.faults:
            log.warning("%s is traced by torch, because its recording differs: %s", name, "; ".join(part.faults))
    return {name: part for name, part in checked.items() if not part.faults}


def _recorded_files(cases: Iterable[ExportCase]) -> dict[str, bytes]:
    """Return the ONNX bytes of the parts that can be recorded, by name."""
    from aepipe.export.recorded_program import Recorded, combine  # these two need private parts of torch
    from aepipe.export.recording import RUNS, NotRecordable, record

    parts: list[Part] = []
    recorded: list[Recorded] = []
    for part, arrays in cases:
        with _traced_if_it_fails(part), _quiet():
            runs = record(part.module, [torch.from_numpy(array[: max(RUNS)]) for array in arrays])
            parts.append(part)
            recorded.append(Recorded(runs, part.inputs))
    together = _SideBySide(parts)
    names = {id(tensor): name for name, tensor in (*together.named_parameters(), *together.named_buffers())}
    files: dict[str, bytes] = {}
    with _quiet(), faster_exporter(), torch.no_grad():
        program, found = combine(recorded, names)
        inputs = [f"in/{at}" for at in range(len(program.graph_signature.user_inputs))]
        outputs = [f"out/{at}" for at in range(len(program.graph_signature.user_outputs))]
        graph = _translated(program, inputs, outputs) if outputs else onnx.ModelProto()
    for part, places in zip(parts, found, strict=True):
        with _traced_if_it_fails(part):
            if isinstance(places, NotRecordable):
                raise places
            ends = [inputs[at] for at in places.inputs], [outputs[at] for at in places.outputs]
            files[part.name] = extract_part(graph, part, *ends)
    return files


@contextmanager
def _traced_if_it_fails(part: Part) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        log.debug("%s is traced by torch, which takes longer: %s", part.name, _first_line(error))


def _convert(cases: Sequence[ExportCase]) -> list[bytes]:
    """Convert each part to ONNX bytes.

    Raises:
        ExportFailed: Naming every part that cannot be converted.
    """
    traced = [case for case in cases if case.part.write is None]
    try:
        files = iter(_split(_trace(traced), traced) if traced else [])
        return [_written(each.part) or next(files) for each in cases]
    except Exception as error:
        faults = list(_individual_faults(cases)) or [f"the parts export alone, but not together: {_first_line(error)}"]
        raise ExportFailed(
            f"the network cannot be exported to ONNX: {'; '.join(faults)}. Nothing was published. Report it."
        ) from error


def _written(part: Part) -> bytes | None:
    """Return the ONNX bytes of a part that builds its own graph."""
    return None if part.write is None else finalize_model(part.write(part.module), part.name)


def _individual_faults(cases: Sequence[ExportCase]) -> Iterator[str]:
    for case in cases:
        try:
            if _written(case.part) is None:
                _split(_trace([case]), [case])
        except Exception as error:
            yield f"{case.part.name}: {_first_line(error)}"


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error.__cause__ or error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


class _SideBySide(nn.Module):
    """All parts side by side, each with its own inputs and outputs."""

    def __init__(self, parts: Sequence[Part]) -> None:
        super().__init__()
        self.parts = nn.ModuleDict({part.name: part.module for part in parts})
        self.widths = [len(part.inputs) for part in parts]

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        answers: list[Tensor] = []
        begin = 0
        for module, width in zip(self.parts.values(), self.widths, strict=True):
            answer = module(*tensors[begin : begin + width])
            answers += answer if isinstance(answer, tuple) else (answer,)
            begin += width
        return tuple(answers)


def _trace(cases: Sequence[ExportCase]) -> onnx.ModelProto:
    """Export one graph of all parts, whose tensors are named by part, side and port."""
    parts = [case.part for case in cases]
    inputs = [torch.from_numpy(array[:_TRACED_ROWS]) for case in cases for array in case.inputs]
    # A batch axis for each part: a shared one would let a part read its number of rows off another part's input.
    axes = [torch.export.Dim(f"rows_{index}") for index, part in enumerate(parts) for _ in part.inputs]
    with _quiet(), faster_exporter(), torch.no_grad():
        captured = partial(
            torch.export.export,
            _SideBySide(parts).eval(),
            tuple(inputs),
            dynamic_shapes={"tensors": tuple({0: axis} for axis in axes)},
            strict=False,
        )
        try:
            return _translated(lowerable(captured()), *_names(parts))
        except Exception as error:  # private parts of torch may change; its own decomposition always works
            log.debug("operators are lowered by torch, which takes longer: %s", _first_line(error))
            return _translated(captured(), *_names(parts))


def _names(parts: Sequence[Part]) -> tuple[list[str], list[str]]:
    """Return the names of all inputs and outputs in the combined graph."""
    inputs = [name for part in parts for name in tensor_names(part.name, "in", part.inputs)]
    return inputs, [name for part in parts for name in tensor_names(part.name, "out", part.outputs)]


def _translated(program: ExportedProgram, inputs: Sequence[str], outputs: Sequence[str]) -> onnx.ModelProto:
    translated = torch.onnx.export(
        program,
        dynamo=True,
        opset_version=OPSET,
        input_names=inputs,
        output_names=outputs,
        verbose=False,
    )
    assert translated is not None
    return translated.model_proto


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporter about missing torchvision and its own deprecated calls."""
    registration = logging.getLogger("torch.onnx._internal.exporter._registration")
    level = registration.level
    registration.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", r".*LeafSpec.* is deprecated", FutureWarning)
            warnings.filterwarnings("ignore", r"# The axis name: rows_\d+ will not be used", UserWarning)
            yield
    finally:
        registration.setLevel(level)


def _split(combined: onnx.ModelProto, cases: Sequence[ExportCase]) -> list[bytes]:
    parts = [case.part for case in cases]
    return [extract_part(combined, part, *_names([part])) for part in parts]
