"""Model card for the Hugging Face Hub: README.md with YAML front matter and the files of a bundle."""

import json
from pathlib import Path

from aepipe.bundles.bundle import Bundle, copy_bundle
from aepipe.bundles.job_bundle import open_bundle
from aepipe.config.job import read_job
from aepipe.jobs.results import Result
from aepipe.storage import put_if_changed
from aepipe.stores import as_path


class HubFolder(Result):
    """Version that was written, its folder, and the path of the model card."""

    version: str
    folder: Path
    card: Path

    @property
    def sentence(self) -> str:
        """Describe the result, for a terminal."""
        return f"{self.version}: {self.folder}, described by {self.card}"


def export_hugging_face(job_path: str | Path, folder: str | Path, *, model: str = "champion") -> HubFolder:
    """Write README.md and a copy of a bundle to a folder that can be uploaded as a model repository.

    `aepipe.load(<folder>/<version>)` loads the copy.

    Args:
        job_path: the job file.
        folder: the folder.
        model: alias or version of the model.

    Raises:
        BundleNotFound: there is no model.
    """
    bundle = open_bundle(read_job(job_path), model)
    folder = as_path(folder)
    written = copy_bundle(bundle, folder)
    put_if_changed(folder / "README.md", hub_card(bundle).encode())
    return HubFolder(version=bundle.version, folder=written, card=folder / "README.md")


def hub_card(bundle: Bundle) -> str:
    """Return the model card: front matter of the Hub, how to load the model, and the card of the bundle."""
    manifest, kind = bundle.manifest, bundle.encoding.layout.kind
    task = "image-feature-extraction" if kind == "image" else "tabular-classification" if kind == "table" else "other"
    metrics = [(name, value) for name, value in manifest.metrics.items() if value is not None]
    lines = ["---", "library_name: aepipe", f"pipeline_tag: {task}", "tags:"]
    lines += [f"- {tag}" for tag in ("anomaly-detection", "autoencoder", "onnx", manifest.family)]
    if metrics:
        lines += ["model-index:", f"- name: {json.dumps(manifest.name)}", "  results:"]
        lines += ["  - task:", f"      type: {task}", "    dataset:", f"      name: {json.dumps(manifest.name)}"]
        lines += ["      type: parquet", "    metrics:"]
        lines += [f"    - type: {json.dumps(name)}\n      value: {value!r}" for name, value in metrics]
    card = bundle.files.get("card.md", f"# {manifest.name}: {manifest.family}\n".encode()).decode()
    use = f'import aepipe\n\nmodel = aepipe.load("{bundle.path.name}")\nscores = model.score(rows)  # a data frame'
    return "\n".join([*lines, "---", "", card.rstrip(), "", "## Use", "", "```python", use, "```", ""])
