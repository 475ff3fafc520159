"""Measures of readable code. `python -m tests.support.code_metrics [PATH]` prints them, `--list` every finding."""

import argparse
import ast
import configparser
import re
import subprocess
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from statistics import quantiles
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
CODE = ("aepipe", "flows")
DOCUMENTED = (*CODE, "benchmarks", "docs")
TESTS = ("conftest.py", "tests")
PROSE = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "docs", "benchmarks")

Function = ast.FunctionDef | ast.AsyncFunctionDef

BANNED = {
    "a house word": (
        r"told|wish(?:es|ed)?|blam(?:es?|ed|ing)|witness(?:es)?|testif\w+|testimon\w+|yardsticks?|tall(?:y|ies)|"
        r"judg(?:e[sd]?|ing|e?ments?)|beside|strange(?:r|st|ly)?|anew|foretell|frontends?|intakes?|mend(?:s|ed|ing)?|"
        r"bears|nobody|somebody|hears?"
    ),
    "a phrase that needs a second reading": (
        r"in force|(?:held|holds?|holding) against|by heart|of which|those of|as many as|so many"
    ),
    "'a' where 'per' is meant": (
        r"(?:rows|images|tokens|windows|points|steps|draws|bytes|MB|GB|seconds|cores?|threads?|calls?|ns|us|ms|s|alarms|"
        r"one|faults) an? (?:seconds?|rows?|cores?|nights?|workers?|partitions?|columns?|batch|epochs?|steps?|images?|"
        r"files?|tables?|class|parameters?|bins?|CPU second)"
    ),
}
"""Words that a reader outside the project has to guess at; the right terms are in the glossary of CONTRIBUTING.md."""

EXEMPT = {
    ("aepipe/jobs/evaluate/baselines.py", "yardsticks"): "a folder below out/.aepipe, which must not move",
    ("aepipe/jobs/evaluate/evaluate.py", "rejudged"): "a field of --json",
    ("aepipe/inference/conditional.py", "wishes"): "a value that seeds the draws: another would change every sample",
    ("benchmarks/fashion.py", "judge"): "the file name of a cached classifier",
    ("benchmarks/zoo_experiments.py", "judge"): "a key of stored results",
    ("benchmarks/zoo_figures.py", "judge"): "a key of stored results",
    ("benchmarks/zoo_looks.py", "judge"): "a key of stored results",
    ("aepipe/jobs/train/classification.py", "told"): "metrics in the manifest of a bundle",
    **{
        (f"tests/{name}.py", "yardsticks"): "a folder below out/.aepipe, which must not move"
        for name in ("conftest", "jobs/test_calibrate", "jobs/evaluate/test_compare")
    },
}

VERBS = frozenset((Path(__file__).parent / "imperative_verbs.txt").read_text().split())
CLAUSES = re.compile(r"(?:What|Whether|Of|How|Which|Where|That|Those)\b")


class Finding(NamedTuple):
    """A place to reword."""

    path: str
    line: int
    what: str
    text: str


def python_files(*places: str) -> list[Path]:
    """Return these modules of the repository, and every module below these folders."""
    paths = [ROOT / place for place in places]
    return sorted(each for path in paths for each in ([path] if path.is_file() else path.rglob("*.py")))


def banned_words() -> list[Finding]:
    """Find every use of a banned word in code, tests, docs and templates, names of variables included."""
    patterns = {
        what: re.compile(rf"(?<![A-Za-z])(?:{words})(?![a-z])", re.IGNORECASE if what == "a house word" else 0)
        for what, words in BANNED.items()
    }
    found = []
    for path in _texts():
        name = str(path.relative_to(ROOT))
        for number, line in enumerate(path.read_text().splitlines(), 1):
            for what, pattern in patterns.items():
                for match in pattern.finditer(line):
                    if (name, match.group().lower()) not in EXEMPT:
                        found.append(Finding(name, number, what, f"'{match.group()}' in: {line.strip()[:100]}"))
    return found


def _texts() -> Iterator[Path]:
    for name in (*CODE, *PROSE):
        path = ROOT / name
        kinds = {".py", ".md", ".j2", ".html", ".txt"}
        yield from [path] if path.is_file() else sorted(each for each in path.rglob("*") if each.suffix in kinds)
    yield from (path for path in python_files(*TESTS) if path != Path(__file__))  # which lists the words


@cache
def parsed(path: Path) -> ast.Module:
    """Parse a module once per process: many tests walk the same trees."""
    return ast.parse(path.read_text(), filename=str(path))


def docstrings(*places: str) -> Iterator[tuple[Path, Function, str]]:
    """Yield module, function and text of every docstring of a function; default: all places but the tests."""
    for path in python_files(*(places or DOCUMENTED)):
        for node in ast.walk(parsed(path)):
            if isinstance(node, Function) and (text := ast.get_docstring(node)):
                yield path, node, text


def docstrings_without_a_verb() -> list[Finding]:
    """Find docstrings of functions that do not begin with a verb in the imperative."""
    return [
        Finding(str(path.relative_to(ROOT)), node.lineno, "no verb first", text.splitlines()[0])
        for path, node, text in docstrings()
        if not starts_with_a_verb(text)
    ]


def helpers_without_a_verb() -> list[Finding]:
    """Find docstrings of helpers and fixtures of the tests that do not begin with a verb in the imperative.

    Test functions are left out: their names are sentences, and their docstrings give a reason or an oracle. "Number of
    rows" and the like are not imperatives, though `number` is a verb.
    """
    return [
        Finding(str(path.relative_to(ROOT)), node.lineno, "no verb first", text.splitlines()[0])
        for path, node, text in docstrings(*TESTS)
        if not node.name.startswith("test_") and (not starts_with_a_verb(text) or re.match(r"\w+ of\b", text))
    ]


def starts_with_a_verb(docstring: str) -> bool:
    """Tell whether the first word is a verb in the imperative.

    >>> starts_with_a_verb("Return the mean."), starts_with_a_verb("The mean."), starts_with_a_verb("Returns it.")
    (True, False, False)
    """
    return re.split(r"\W", docstring, maxsplit=1)[0].lower() in VERBS


def docstrings_that_are_clauses() -> list[Finding]:
    """Find docstrings, of modules and classes too, that begin with a clause used as a noun."""
    found = []
    for path in python_files(*DOCUMENTED, *TESTS):
        for node in ast.walk(parsed(path)):
            if isinstance(node, Function | ast.ClassDef | ast.Module):
                text = ast.get_docstring(node) or ""
                if CLAUSES.match(text):
                    line = 1 if isinstance(node, ast.Module) else node.lineno
                    found.append(Finding(str(path.relative_to(ROOT)), line, "a clause", text.splitlines()[0]))
    return found


def function_lengths() -> list[int]:
    """Return the number of lines of every function, docstring included."""
    nodes = (node for path in python_files(*CODE) for node in ast.walk(parsed(path)))
    return [node.end_lineno - node.lineno + 1 for node in nodes if isinstance(node, Function) and node.end_lineno]


def private_functions_with_one_caller() -> list[Finding]:
    """Find private functions that their module names once outside their definition."""
    found = []
    for path in python_files(*CODE):
        tree = parsed(path)
        names = Counter(
            node.id if isinstance(node, ast.Name) else node.attr
            for node in ast.walk(tree)
            if isinstance(node, ast.Name | ast.Attribute)
        )
        for node in ast.walk(tree):
            if isinstance(node, Function) and re.match(r"_(?!_)", node.name) and names[node.name] == 1:
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                found.append(
                    Finding(str(path.relative_to(ROOT)), node.lineno, f"one caller, {length} lines", node.name)
                )
    return found


def lines_of_code() -> int:
    """Count the lines of all modules, blank ones included."""
    return sum(len(path.read_text().splitlines()) for path in python_files(*CODE))


def loose_modules() -> list[str]:
    """List the modules at the top of aepipe, outside every package."""
    return sorted(path.stem for path in (ROOT / "aepipe").glob("*.py"))


def packages() -> list[str]:
    """List the packages at the top of aepipe."""
    return sorted(path.parent.name for path in (ROOT / "aepipe").glob("*/__init__.py"))


def layers() -> int:
    """Count the layers that import-linter checks."""
    contracts = configparser.ConfigParser()
    contracts.read(ROOT / ".importlinter")
    return len(contracts["importlinter:contract:layers"]["layers"].strip().splitlines())


def verb_share() -> float:
    """Return the share of function docstrings that begin with a verb."""
    total = sum(1 for _ in docstrings())
    return 1 - len(docstrings_without_a_verb()) / total


def main() -> None:
    """Print the measures, or the findings below a path."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", nargs="*", help="list findings below these paths")
    parser.add_argument("--list", action="store_true", help="list every finding")
    wanted = parser.parse_args()
    if wanted.path or wanted.list:
        prefixes = tuple(wanted.path) or ("",)
        for finding in (
            *banned_words(),
            *docstrings_that_are_clauses(),
            *docstrings_without_a_verb(),
            *helpers_without_a_verb(),
            *private_functions_with_one_caller(),
        ):
            if finding.path.startswith(prefixes):
                print(f"{finding.path}:{finding.line}: {finding.what}: {finding.text}")
        return
    lengths = function_lengths()
    cuts = quantiles(lengths, n=10)
    one_caller, lines = private_functions_with_one_caller(), lines_of_code()
    print(f"modules at the top of aepipe/          {len(loose_modules())}")
    print(f"packages, layers                       {len(packages())}, {layers()}")
    print(f"functions: lines p50 / p90 / max       {cuts[4]:.0f} / {cuts[8]:.0f} / {max(lengths)}")
    share = 1000 * len(one_caller) / lines
    print(f"private functions with one caller      {len(one_caller)}, {share:.1f} per 1,000 lines")
    print(f"function docstrings with a verb first  {verb_share():.1%}")
    print(f"helpers of tests without a verb first  {len(helpers_without_a_verb())}")
    print(f"docstrings that begin with a clause    {len(docstrings_that_are_clauses())}")
    print(f"banned words                           {len(banned_words())}")
    pairs = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=ROOT).stdout
    print(f"at commit                              {pairs.strip()}")


if __name__ == "__main__":
    main()
