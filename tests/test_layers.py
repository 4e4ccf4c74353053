"""Imports run downwards only, and importing the package stays cheap."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import tf_infomax

PACKAGE = Path(__file__).parent.parent / "tf_infomax"

# A module imports its own family and those of the floors below, from the ground up.
FLOORS = (
    {"runtime"},
    {"options"},
    {"bounds", "optimizers"},
    {"encoders", "data", "critics"},
    {"estimation"},
    {"evaluation", "objectives"},
    {"reporting"},
    {"training"},
    {"studies", "tuning", "embedding"},
    {"export"},
    {"deep_infomax"},
    {"train", "evaluate", "embed", "neighbors", "estimate", "tune", "reproduce"},
    {"__main__"},
)
FLOOR_OF = {name: floor for floor, names in enumerate(FLOORS) for name in names}


def family(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def imports(path: Path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "tf_infomax":
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            if node.module.startswith("tf_infomax."):
                yield family(node.module)
        elif isinstance(node, ast.Import):
            yield from (
                family(a.name) for a in node.names if a.name.startswith("tf_infomax.")
            )


MODULES = [path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py"]


@pytest.mark.parametrize(
    "path", MODULES, ids=lambda p: p.relative_to(PACKAGE).as_posix()
)
def test_imports_run_downwards(path):
    name = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    assert name in FLOOR_OF, f"{name} has no floor yet"
    above = {
        other
        for other in set(imports(path)) - {name}
        if FLOOR_OF[other] >= FLOOR_OF[name]
    }
    assert not above, f"{name} must not import {above}"


def test_the_design_shows_every_floor():
    page = (PACKAGE.parent / "docs" / "design.md").read_text()
    for floor, names in enumerate(FLOORS):
        (row,) = [line for line in page.splitlines() if line.startswith(f"| {floor} |")]
        shown = set(re.findall(r"`(\w+)`", row.split("|")[2]))
        assert shown == names


def test_the_root_has_room_to_look_around():
    modules = {path.stem for path in PACKAGE.glob("*.py")} - {"__init__"}
    assert len(modules) <= 12, modules


@pytest.mark.parametrize(
    "module", ["tf_infomax", "tf_infomax.options.flags", "tf_infomax.tune"]
)
def test_nothing_heavy_is_imported_before_it_is_needed(module):
    heavy = (
        "tensorflow", "keras", "keras_tuner", "numpy", "sklearn", "matplotlib", "rich",
    )  # fmt: skip
    code = f"import sys, {module}; print([m for m in {heavy} if m in sys.modules])"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"


LAZY = {
    "keras_tuner", "matplotlib", "rich", "scipy", "sklearn", "tensorboard",
    "tensorflow_datasets", "tensorflow_probability",
}  # fmt: skip


# Modules that are nothing without the package, themselves imported when needed.
BUILT_ON = {
    "deep_infomax.py": {"sklearn"},
    "tuning/hypermodel.py": {"keras_tuner"},
    "tuning/search.py": {"keras_tuner"},
    "estimation/discrete.py": {"scipy"},
    "estimation/nearest.py": {"scipy"},
    "estimation/neighbors.py": {"scipy"},
    "estimation/estimators.py": {"scipy"},
}


@pytest.mark.parametrize(
    "path", MODULES, ids=lambda p: p.relative_to(PACKAGE).as_posix()
)
def test_heavy_packages_are_imported_where_they_are_used(path):
    found = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module.split(".")[0])
    allowed = BUILT_ON.get(path.relative_to(PACKAGE).as_posix(), set())
    assert not found & (LAZY - allowed)


@pytest.mark.parametrize(
    ("variable", "code", "default", "other"),
    [
        ("TF_ENABLE_ONEDNN_OPTS", "import tf_infomax", "1", "0"),
        (
            "TF_NUM_INTRAOP_THREADS",
            "from tf_infomax.options import command; "
            "command.load_tensorflow(split_operations=False)",
            "1",
            "2",
        ),
    ],
)
def test_tensorflow_is_set_up_unless_the_user_has_decided(
    variable, code, default, other
):
    import os

    unset = {name: value for name, value in os.environ.items() if name != variable}
    script = f"import os; {code}; print(os.environ['{variable}'])"
    decided = {**unset, variable: other}
    for environment, expected in ((unset, default), (decided, other)):
        result = subprocess.run(
            [sys.executable, "-c", script],
            capture_output=True,
            text=True,
            check=True,
            env=environment,
        )
        assert result.stdout.strip() == expected


EXPORT = PACKAGE / "export"


@pytest.mark.parametrize("name", ["client.py", "replay.py"])
def test_what_runs_on_other_machines_needs_none_of_this(name):
    found = {
        node.module if isinstance(node, ast.ImportFrom) else node.names[0].name
        for node in ast.walk(ast.parse((EXPORT / name).read_text()))
        if isinstance(node, ast.Import | ast.ImportFrom)
    }
    assert not [m for m in found if m.split(".")[0] == "tf_infomax"]


def test_the_package_names_what_it_has():
    shown = dir(tf_infomax)
    for name in tf_infomax.__all__:
        assert name in shown
        found = tf_infomax.__getattr__(name)
        assert getattr(found, "__name__", "").split(".")[-1] == name
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = tf_infomax.nonsense
