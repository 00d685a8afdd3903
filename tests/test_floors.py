"""The house keeps its floors: imports go down only, the cheap parts stay cheap, and families stay in their folder.

The imports are read from the source, those inside functions and under TYPE_CHECKING too.
"""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest

import lorastyle

ROOT = Path(lorastyle.__file__).parents[1]
PACKAGE = ROOT / "lorastyle"
FAMILIES = PACKAGE / "bases" / "families"
DEFAULT_BASE = "pocket"
PUBLIC = "public names"

# Bottom floor first. Who is not in this table has no floor yet: add it where it belongs.
FLOOR_0 = ["errors", "files", "draws", "settings", "recipe"]
MAY_IMPORT: dict[str, list[str]] = {
    **{name: FLOOR_0[:place] for place, name in enumerate(FLOOR_0)},
    "data": FLOOR_0,
    "captioning": ["data", *FLOOR_0],
    "adapters": FLOOR_0,
    "bases": FLOOR_0,
    "interchange": ["adapters", "bases", *FLOOR_0],
    "generation": ["adapters", "bases", "data", *FLOOR_0],
    "training": ["generation", "interchange", "adapters", "bases", "data", *FLOOR_0],
    "jobs": ["recipe", "settings", "files", "errors"],
    "jobs.worker": ["recipe", "settings", "files", "errors", PUBLIC],
    "workspace": ["data", "jobs", *FLOOR_0],
    "cli": [PUBLIC],
    "cli.studio": [PUBLIC, "ui"],
    "serve": [PUBLIC],
    "ui": [PUBLIC],
}
HEAVY = {"torch", "diffusers", "transformers", "accelerate", "peft"}
MAY_IMPORT_HEAVY = [
    "adapters",
    "bases",
    "interchange",
    "generation",
    "training",
    "captioning.model",
    "data.cache",
    "jobs.worker",
]
UNSAFE = {"pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib"}


@dataclass(frozen=True)
class Source:
    """One module of ours: its dotted name below lorastyle ("" is the package itself, "ui..." the front end)."""

    name: str
    path: Path
    is_package: bool

    @property
    def floor(self) -> str:
        parts = self.name.split(".")
        outwards = (".".join(parts[:length]) for length in range(len(parts), 0, -1))
        return next((place for place in outwards if place in MAY_IMPORT), self.name)

    @property
    def full_name(self) -> str:
        return self.name if self.name.split(".")[0] == "ui" else f"lorastyle.{self.name}".rstrip(".")


@cache
def _sources() -> list[Source]:
    return [_source(path) for folder in (PACKAGE, ROOT / "ui") for path in sorted(folder.rglob("*.py"))]


def _source(path: Path) -> Source:
    parts = list(path.relative_to(ROOT).with_suffix("").parts)
    is_package = parts[-1] == "__init__"
    parts = parts[:-1] if is_package else parts
    return Source(".".join(parts[1:] if parts[0] == "lorastyle" else parts), path, is_package)


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _imported(source: Source) -> Iterator[str]:
    """Full dotted names, "package.name" for each name of a from-import."""
    for node in ast.walk(_tree(source.path)):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{_origin(source, node)}.{name.name}" for name in node.names)


def _origin(source: Source, node: ast.ImportFrom) -> str:
    if node.level == 0:
        return str(node.module)
    parts = source.full_name.split(".")
    above = parts[: len(parts) - node.level + source.is_package]
    return ".".join([*above, node.module] if node.module else above)


def _floor_of(imported: str) -> str | None:
    """The floor that an imported name belongs to, None for what is not ours."""
    parts = imported.split(".")
    if parts[0] == "ui":
        return "ui"
    if parts[0] != "lorastyle":
        return None
    return PUBLIC if len(parts) == 1 or parts[1] in lorastyle.__all__ else parts[1]


def _by_name(source: Source) -> str:
    return source.full_name


MODULES = [source for source in _sources() if source.name]


@pytest.mark.parametrize("source", MODULES, ids=_by_name)
def test_every_module_has_a_floor(source: Source) -> None:
    assert source.floor in MAY_IMPORT, f"{source.name} is not in the table MAY_IMPORT"


@pytest.mark.parametrize("source", MODULES, ids=_by_name)
def test_imports_go_down_only(source: Source) -> None:
    own = source.name.split(".")[0]
    allowed = {own, *MAY_IMPORT.get(source.floor, [])}
    ours = {name: _floor_of(name) for name in _imported(source) if name != "lorastyle.__version__"}
    assert {name for name, floor in ours.items() if floor is not None and floor not in allowed} == set()


@pytest.mark.parametrize("source", MODULES, ids=_by_name)
def test_only_the_upper_floors_load_torch(source: Source) -> None:
    if not any(source.name == place or source.name.startswith(f"{place}.") for place in MAY_IMPORT_HEAVY):
        assert {name for name in _imported(source) if name.split(".")[0] in HEAVY} == set()


@pytest.mark.parametrize("source", _sources(), ids=_by_name)
def test_nothing_can_reach_pickle_or_eval(source: Source) -> None:
    assert {name for name in _imported(source) if name.split(".")[0] in UNSAFE} == set()
    called = {ast.unparse(node.func) for node in ast.walk(_tree(source.path)) if isinstance(node, ast.Call)}
    assert called & {"torch.load", "torch.save", "eval", "exec", "np.load"} == set()


@pytest.mark.parametrize("source", _sources(), ids=_by_name)
def test_peft_is_only_compared_with(source: Source) -> None:
    assert {name for name in _imported(source) if name.split(".")[0] == "peft"} == set()


# Families


def _strings(tree: ast.Module) -> set[str]:
    """What a module says, but for docstrings."""
    prose = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    constants = (node for node in ast.walk(tree) if isinstance(node, ast.Constant) and id(node) not in prose)
    return {node.value for node in constants if isinstance(node.value, str)}


def _identifiers(tree: ast.Module) -> set[str]:
    fields = ("id", "attr", "name", "arg", "asname", "module")
    values = (getattr(node, field, None) for node in ast.walk(tree) for field in fields)
    return {value for value in values if isinstance(value, str)}


def _naming(families: set[str], words: set[str]) -> set[str]:
    return {word for word in words if families & set(re.split(r"[^a-z0-9]|_", word.casefold()))}


OUTSIDE = [source for source in _sources() if FAMILIES not in source.path.parents]


@pytest.mark.parametrize("source", OUTSIDE, ids=_by_name)
def test_no_family_is_named_outside_its_folder(source: Source) -> None:
    families = {path.stem for path in FAMILIES.glob("*.py") if not path.stem.startswith("_")}
    tree = _tree(source.path)
    assert _naming(families, {source.path.stem} | _identifiers(tree)) == set()
    assert _naming(families - {DEFAULT_BASE}, _strings(tree)) == set()  # the default base may be spoken of by its name


def test_the_rule_about_families_has_something_to_look_for() -> None:
    assert (FAMILIES / "sdxl.py").is_file()


# What must be cheap


@pytest.mark.parametrize("module", ["lorastyle", "ui", "lorastyle.recipe", "lorastyle.files", "lorastyle.cli"])
def test_cheap_imports_load_nothing_heavy(module: str) -> None:
    code = f"import sys, {module}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split()) & HEAVY == set()


# Public names


def _type_checked_names() -> set[str]:
    tree = _tree(PACKAGE / "__init__.py")
    blocks = [node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    imports = [node for block in blocks for node in block.body if isinstance(node, ast.ImportFrom)]
    return {name.asname or name.name for node in imports for name in node.names}


def test_public_names_are_complete() -> None:
    lazy = _type_checked_names()
    eager = {name for name in vars(sys.modules["lorastyle.errors"]) if name[0].isupper()} - {"Path"}
    assert set(lorastyle.__all__) == lazy | eager
    assert set(lorastyle.__all__) <= set(dir(lorastyle))
    assert sorted(lorastyle.__all__, key=str) == lorastyle.__all__


@pytest.mark.parametrize("name", lorastyle.__all__)
def test_public_names_can_be_loaded(name: str) -> None:
    value = getattr(lorastyle, name)
    assert getattr(lorastyle, name) is value
    home = import_module(value.__module__)
    assert value in vars(home).values()


def test_type_checkers_and_readers_are_told_the_same_homes() -> None:
    for node in ast.walk(_tree(PACKAGE / "__init__.py")):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("lorastyle."):
            for name in node.names:
                assert getattr(lorastyle, name.asname or name.name) is getattr(import_module(node.module), name.name)


def test_unknown_names_are_refused() -> None:
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        lorastyle.trian  # noqa: B018
