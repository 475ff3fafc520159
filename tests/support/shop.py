"""Jobs with any [samples] on a shared conditional model, trained once per test run."""

from pathlib import Path

from tests.jobs.sample.test_conditional_model import TABLE_JOB, trained


def shop_job(shared: Path, folder: Path, samples: str) -> Path:
    """Write a job to `folder` with the shop's model and data, its own outputs, and these keys of [samples]."""
    shop = trained(shared, "conditional-shop", TABLE_JOB)
    text = shop.read_text().replace('path = "."', f"path = '{shop.parent}'")
    text = text.replace("quality = { check = false }\n", f"{samples}\n")
    job = folder / "job.toml"
    job.write_text(f"{text}[output]\npath = 'out'\nexported = '{shop.parent / 'exported'}'\n")
    return job
