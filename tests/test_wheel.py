"""The wheel with only the packages that its metadata requires: it scores, and stays small. Nothing is downloaded.

Packages are linked from the environment of the tests, so that a requirement missing from the wheel is absent.
"""

import subprocess
import sys
import zipfile
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.support.scripts import DOCS

pytestmark = pytest.mark.slow
ROOT = DOCS.parent
MOST_MB = 350 if sys.version_info >= (3, 12) else 360
"""numpy dropped Python 3.11; the last version for it is 7 MB larger."""
IN_PLACE_OF = {"onnxruntime": "onnxruntime-gpu"}
"""The build for GPUs takes the place of a requirement; its size counts for the extra `gpu`."""


def run(*words: str | Path, env: dict[str, str] | None = None, code: int = 0) -> str:
    done = subprocess.run(
        list(map(str, words)), cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel from this checkout with its build backend."""
    pytest.importorskip("hatchling", reason="the extra dev is not installed")
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder)
    (path,) = folder.glob("*.whl")
    return path


def needed(requirements: list[str]) -> dict[str, Distribution]:
    """Return the installed packages that requirements without an extra lead to, by name."""
    found: dict[str, Distribution] = {}
    waiting = [Requirement(text) for text in requirements]
    while waiting:
        wanted = waiting.pop()
        name = wanted.name.lower().replace("_", "-")
        extras = wanted.extras or {""}
        if name in found or (wanted.marker and not any(wanted.marker.evaluate({"extra": each}) for each in extras)):
            continue
        try:
            found[name] = distribution(name)
        except PackageNotFoundError:
            found[name] = distribution(IN_PLACE_OF[name])
        waiting += [Requirement(text) for text in found[name].requires or [] if "extra ==" not in text]
    return found


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Distribution]]:
    """Create an environment with the wheel and the packages it requires; return both."""
    folder = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", "--without-pip", folder)
    python = folder / "bin" / "python"
    run(sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", "--quiet", wheel)
    site = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", env={}).strip())
    with zipfile.ZipFile(wheel) as archive:
        (metadata,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        head = archive.read(metadata).decode().partition("\n\n")[0].splitlines()
    stated = [line.removeprefix("Requires-Dist: ") for line in head if line.startswith("Requires-Dist: ")]
    packages = needed([text for text in stated if "extra ==" not in text])
    for package in packages.values():
        root = Path(str(package.locate_file("")))
        for name in {file.parts[0] for file in package.files or ()} - {"..", "__pycache__"}:
            if not (site / name).exists():
                (site / name).symlink_to(root / name)
    return folder, packages


def test_the_wheel_scores_and_samples_with_the_packages_that_it_asks_for(
    environment: tuple[Path, dict[str, Distribution]], cells: Path
) -> None:
    folder, _ = environment
    command = folder / "bin" / "aepipe"
    env = {"PATH": f"{folder / 'bin'}:/usr/bin:/bin", "HOME": str(cells.parent)}

    assert run(command, "--version", env=env).split()[-1] == distribution("aepipe").version
    run(command, "score", cells, env=env)
    run(command, "sample", cells, "--rows", "20", "--seed", "1", env=env)
    run(command, "doctor", cells, env=env)

    assert (cells.parent / "out" / "scores" / "dt=2026-01-07" / "part-0.parquet").exists()
    assert list((cells.parent / "out" / "samples").glob("*/part-0.parquet"))
    absent = "import importlib.util as find; print([n for n in ('torch', 'pandas', 'flows') if find.find_spec(n)])"
    assert run(folder / "bin" / "python", "-I", "-c", absent, env=env).strip() == "[]"


def test_an_installation_for_scoring_stays_small(environment: tuple[Path, dict[str, Distribution]]) -> None:
    folder, packages = environment
    if packages["onnxruntime"].metadata["Name"] != "onnxruntime":
        pytest.skip("the build of onnxruntime for GPUs is installed")
    files = {Path(str(package.locate_file(file))) for package in packages.values() for file in package.files or ()}
    (own,) = folder.glob("lib/python*/site-packages/aepipe")  # with the bytecode that pip compiles

    megabytes = sum(path.stat().st_size for path in (*files, *own.rglob("*")) if path.is_file()) / 1e6

    print(f"{megabytes:.0f} MB in {len(packages)} packages and aepipe")
    assert megabytes < MOST_MB
