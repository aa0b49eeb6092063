"""The rules of the house that no linter measures; docs/architecture.md gives their reasons."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = [ROOT / room for room in ("fv_ray", "deployments", "jobs") if (ROOT / room).is_dir()]
MODULES = sorted(path for room in ROOMS for path in room.rglob("*.py"))
TEST_MODULES = sorted((ROOT / "tests").rglob("test_*.py"))

TARGET_LINES = 300
MAX_LINES = 400
LONG_FILES: dict[str, str] = {}
"""Files between the target and the limit, each with the reason why it is one file."""

# Written with groups and escapes, so that this file does not hold what it forbids.
FORBIDDEN_TEXT = {
    "a path of one machine": re.compile(r"(?<![\w.])/(?:work|tmp|opt|home|root)/"),
    "what a merge left behind": re.compile(r"^(?:<{7}|>{7}) ", re.MULTILINE),
    "the name of a registry host": re.compile(r"pypi\.org|pythonhosted\.org|download\.pytorch\.org|wheels\.vllm\.ai"),
}


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def num_lines(path: Path) -> int:
    return len(path.read_text().splitlines())


@cache
def nodes(path: Path) -> tuple[ast.AST, ...]:
    return tuple(ast.walk(ast.parse(path.read_text(), str(path))))


def calls(path: Path) -> Iterator[tuple[str, ast.Call]]:
    """Each call with the dotted name of what it calls, as it is written."""
    return ((ast.unparse(node.func), node) for node in nodes(path) if isinstance(node, ast.Call))


def imports(path: Path) -> set[str]:
    """Everything imported, each by its dotted name: `from torch import load` is `torch` and `torch.load`."""
    found = set()
    for node in nodes(path):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


@cache
def repository_files() -> tuple[Path, ...]:
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout: there is no list of the repository's files")
    command = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split("\0")
    return tuple(path for name in names if name and (path := ROOT / name).is_file())


def is_mirrored(test: Path) -> bool:
    """`tests/models/test_rope.py` tests `fv_ray/models/rope.py`; `tests/jobs/test_generate.py` `jobs/generate.py`."""
    place = test.relative_to(ROOT / "tests").with_name(test.stem.removeprefix("test_"))
    modules = (base / place for base in (ROOT, ROOT / "fv_ray", ROOT / "tests"))
    return any(module.with_suffix(".py").is_file() or (module / "__init__.py").is_file() for module in modules)


def test_rooms_are_found() -> None:
    assert {ROOT / room / "__init__.py" for room in ("fv_ray", "jobs")} <= set(MODULES)


def test_no_file_is_longer_than_the_limit() -> None:
    assert [relative(path) for path in MODULES if num_lines(path) > MAX_LINES] == []


def test_a_file_over_the_target_gives_its_reason() -> None:
    long = {relative(path) for path in MODULES if num_lines(path) > TARGET_LINES}
    assert long == LONG_FILES.keys()
    assert all(LONG_FILES.values())


def test_nothing_is_left_to_do() -> None:
    assert [relative(path) for path in MODULES if re.search(r"\b(?:TODO|FIXME|XXX)\b", path.read_text())] == []


def test_only_the_command_prints() -> None:
    printing = [relative(path) for path in MODULES if "print" in {name for name, _ in calls(path)}]
    assert printing in ([], ["fv_ray/cli.py"])


def test_no_pickle() -> None:
    pickles = {"pickle", "cloudpickle", "dill", "joblib"}
    assert [relative(path) for path in MODULES if {name.partition(".")[0] for name in imports(path)} & pickles] == []


def test_weights_are_loaded_without_code() -> None:
    assert [relative(path) for path in MODULES if "torch.load" in imports(path)] == []  # called by its whole name
    found = [
        f"{relative(path)}:{call.lineno}"
        for path in MODULES
        for name, call in calls(path)
        if name == "torch.load"
        and {word.arg: ast.unparse(word.value) for word in call.keywords}.get("weights_only") != "True"
    ]
    assert found == []


def test_a_file_is_named_for_what_it_holds() -> None:
    vague = {"utils", "util", "common", "helpers", "misc"}
    assert [relative(path) for path in MODULES if path.stem in vague] == []


def test_a_test_module_mirrors_a_module() -> None:
    rooms = {"parity", "policy", "vllm"}
    elsewhere = [path for path in TEST_MODULES if path.relative_to(ROOT / "tests").parts[0] not in rooms]
    assert [relative(path) for path in elsewhere if not is_mirrored(path)] == []


def test_only_who_runs_a_model_pays_for_torch() -> None:
    """Clients of the values, and who builds the application or drives a bulk run."""
    light = "fv_ray.types, fv_ray.errors, fv_ray.checkpoint, fv_ray.work_key, deployments.text_to_video, jobs.generate"
    program = f"import sys, {light}; print(*sorted({{'torch', 'diffusers', 'transformers'}} & sys.modules.keys()))"
    found = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, cwd=ROOT)
    assert found.stdout.split() == []


@pytest.mark.parametrize("what", FORBIDDEN_TEXT)
def test_the_repository_does_not_mention(what: str) -> None:
    found = []
    for path in repository_files():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue  # not a text file
        for match in FORBIDDEN_TEXT[what].finditer(text):
            found.append(f"{relative(path)}:{text.count(chr(10), 0, match.start()) + 1}: {match.group()}")
    assert not found


def test_the_wheel_holds_fv_ray_only() -> None:
    build = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]
    assert build["targets"]["wheel"] == {"packages": ["fv_ray"]}
    assert build.keys() == {"targets"}
