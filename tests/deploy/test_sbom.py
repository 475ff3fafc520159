"""List of the installed packages, as `make sbom` writes it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_the_list_is_cyclonedx_and_names_the_packages_of_scoring(tmp_path: Path) -> None:
    command = next(line for line in (ROOT / "Makefile").read_text().splitlines() if "cyclonedx-py" in line)
    words = command.replace("$(BIN)/python", sys.executable).replace("sbom.json", str(tmp_path / "sbom.json")).split()
    tool = Path(sys.executable).parent / "cyclonedx-py"
    assert words[0] == "$(BIN)/cyclonedx-py"
    if not tool.exists():
        pytest.skip("cyclonedx-bom is not installed")

    subprocess.run([str(tool), *words[1:]], cwd=ROOT, check=True, capture_output=True)

    found = json.loads((tmp_path / "sbom.json").read_text())
    assert found["bomFormat"] == "CycloneDX"
    assert found["metadata"]["component"]["name"] == "aepipe"
    names = {component["name"].lower() for component in found["components"]}
    assert {"numpy", "pyarrow", "pydantic", "torch"} <= names
    assert any(name.startswith("onnxruntime") for name in names)  # or onnxruntime-gpu
    assert all(component.get("version") for component in found["components"])
