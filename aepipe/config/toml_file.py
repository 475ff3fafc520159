"""Text and content of a job file, before its keys are known."""

import tomllib
from pathlib import Path
from typing import Any

from aepipe.errors import JobInvalid


def read_toml(path: Path) -> tuple[str, dict[str, Any]]:
    """Return the text and the parsed document of a TOML file.

    Raises:
        JobInvalid: the file cannot be read, or is not TOML.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise JobInvalid(str(path), ["file does not exist. Run `aepipe init DATA` to write one."]) from None
    except OSError as error:
        raise JobInvalid(
            str(path), [f"cannot be read: {error.strerror}. Check its permissions, and the disk."]
        ) from None
    except UnicodeDecodeError as error:
        raise JobInvalid(
            str(path), [f"is not UTF-8 text: {error.reason} at byte {error.start}. Save it as UTF-8."]
        ) from None
    try:
        return text, tomllib.loads(text)
    except ValueError as error:  # also of an integer of thousands of digits
        raise JobInvalid(str(path), [f"is not valid TOML: {error}"]) from None
    except RecursionError:
        raise JobInvalid(str(path), ["is not valid TOML: values are nested too deeply"]) from None
