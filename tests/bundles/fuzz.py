"""Fuzzing of a bundle, run in a process of its own: mutate, seal, open, score the golden rows.

Ends with code 0 if every mutant is opened or refused with one sentence. A traceback, a crash, a hang (SIGALRM) or a
file opened outside the bundle ends it with another code, after the seed of the mutant on stderr.
"""

import json
import resource
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime  # noqa: F401  its import reads files that are no part of a bundle

from aepipe.bundles.bundle import Bundle
from aepipe.errors import AepipeError
from aepipe.inference.golden_check import check_every_part
from tests.support.bundles import renamed, sealed

SECONDS = 20  # a mutant that takes longer hangs
MEMORY = 6 << 30
LONGEST = 2_000  # characters of a sentence

JUNK: tuple[Any, ...] = (
    None, True, 0, -1, 2**31, 2**63, 10**30, 1e308, -0.5, "", "x", "\0", "../../evil", "/dev/zero", "é\n\x1b[31m",
    "9" * 400, [], [[]], {}, {"a": {"b": []}}, [None] * 3,
)  # fmt: skip


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of every field of a JSON document."""
    if path:
        yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from places(inner, (*path, key))


def mutate_json(document: Any, rng: np.random.Generator) -> Any:
    """Replace, remove, rename or repeat one field."""
    found = list(places(document))
    path = found[rng.integers(len(found))]
    owner = document
    for key in path[:-1]:
        owner = owner[key]
    match rng.integers(5):
        case 0:
            del owner[path[-1]]
        case 1 if isinstance(owner, dict):
            owner[str(JUNK[rng.integers(10, 16)])] = owner.pop(path[-1])
        case 2 if isinstance(owner, list):
            owner.extend(owner[:1] * int(rng.integers(1, 40)))
        case _:
            owner[path[-1]] = JUNK[rng.integers(len(JUNK))]
    return document


def mutate_graph(data: bytes, rng: np.random.Generator) -> bytes:
    """Change bytes, or one part of the graph."""
    if rng.random() < 0.4:
        changed = bytearray(data)
        for at in rng.integers(len(data), size=int(rng.integers(1, 8))):
            changed[at] = int(rng.integers(256))
        return bytes(changed[: int(rng.integers(len(data)))] if rng.random() < 0.2 else changed)
    model = onnx.load_model_from_string(data)
    graph = model.graph
    node = graph.node[rng.integers(len(graph.node))]
    match rng.integers(8):
        case 0:
            node.op_type = str(
                rng.choice(["Loop", "Scan", "If", "Expand", "Tile", "ConstantOfShape", "Conv", "Evil", ""])
            )
        case 1:
            node.domain = str(rng.choice(["com.microsoft", "evil", "ai.onnx.ml"]))
        case 2 if node.input:
            node.input[rng.integers(len(node.input))] = str(rng.choice(["", "z", "num", node.output[0], "nothing"]))
        case 3 if graph.initializer:
            tensor = graph.initializer[rng.integers(len(graph.initializer))]
            tensor.dims.append(int(rng.choice([0, -1, 2, 2**31, 2**62])))
        case 4 if graph.initializer:
            tensor = graph.initializer[rng.integers(len(graph.initializer))]
            tensor.raw_data = bytes(rng.integers(0, 256, len(tensor.raw_data), dtype=np.uint8))
        case 5:
            del graph.node[rng.integers(len(graph.node))]
        case 6:
            value = (graph.input, graph.output)[rng.integers(2)][0]
            value.type.tensor_type.elem_type = int(rng.integers(0, 25))
        case _:
            graph.input[0].type.tensor_type.shape.dim.add(dim_value=int(rng.choice([0, -1, 7, 2**40])))
    return bytes(model.SerializeToString())


def mutant(base: Path, folder: Path, seed: int) -> tuple[Path, str]:
    """Make a mutant of the bundle in `folder`; return its folder and the name of the changed file."""
    rng = np.random.default_rng(seed)
    version = Path(shutil.copytree(base, folder / base.name))
    files = sorted(path.name for path in version.iterdir() if path.suffix in (".json", ".onnx"))
    weights = np.array([3.0 if name.endswith(".json") else 1.0 for name in files])
    name = str(rng.choice(files, p=weights / weights.sum()))
    path = version / name
    if name.endswith(".onnx"):
        path.write_bytes(mutate_graph(path.read_bytes(), rng))
        return sealed(version), name
    document = mutate_json(json.loads(path.read_bytes()), rng)
    content = json.dumps(document, indent=1, sort_keys=True).encode()
    if name == "MANIFEST.json":
        return renamed(version, content), name
    path.write_bytes(content)
    return sealed(version), name


def main(base: str, first: int, count: int) -> None:
    """Open mutants of a bundle with `count` seeds from `first` on, and print one line of counts."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    opened: list[str] = []
    own = tuple(map(str, (sys.prefix, sys.base_prefix, Path(__file__).resolve().parents[2], "/proc", "/usr", "/sys")))
    allowed: tuple[str, ...] = ()

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open" and allowed and isinstance(arguments[0], str | bytes):
            path = arguments[0] if isinstance(arguments[0], str) else arguments[0].decode(errors="replace")
            if not path.startswith((*allowed, *own)):
                opened.append(path)

    sys.addaudithook(watch)
    counts = {"opened": 0, "refused": 0}
    for seed in range(first, first + count):
        with tempfile.TemporaryDirectory() as folder:
            version, name = mutant(Path(base), Path(folder), seed)
            sys.stderr.write(f"seed {seed}: {name}\n")
            sys.stderr.flush()
            signal.alarm(SECONDS)
            allowed = (folder,)
            try:
                check_every_part(Bundle.open(version))
                counts["opened"] += 1
            except AepipeError as error:
                counts["refused"] += 1
                sentence = str(error)
                if not sentence.isprintable() or len(sentence) > LONGEST:
                    raise AssertionError(f"not one sentence: {sentence!r}") from None
            finally:
                allowed = ()
                signal.alarm(0)
            if opened:
                raise AssertionError(f"opened outside the bundle: {opened}")
    sys.stdout.write(json.dumps(counts))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
