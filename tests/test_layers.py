"""Imports run downwards only, and importing the package stays cheap."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "tf_infomax"

# What a module may import of the package: its own family and these.
ALLOWED = {
    "config": set(),
    "runtime": set(),
    "bounds": set(),
    "vectors": set(),
    "priors": {"vectors"},
    "optimizers": set(),
    "encoders": set(),
    "critics": {"vectors"},
    "data": {"progress", "runtime"},
    "evaluation": set(),
    "objectives": {"bounds", "optimizers", "priors", "vectors"},
    "flags": {"config", "runtime"},
    "experiment": {
        "bounds", "checkpoints", "config", "critics", "data", "encoders", "evaluation",
        "objectives", "optimizers",
    },
    "output": {"config", "runtime"},
    "checkpoints": {"config", "output", "progress", "runtime"},
    "run_options": {"checkpoints", "config", "flags", "output", "progress", "runtime"},
    "workdir": {
        "checkpoints", "config", "output", "progress", "run_options", "runtime",
    },
    "training": {
        "checkpoints", "config", "data", "evaluation", "experiment", "objectives",
        "output", "progress", "signals", "workdir",
    },
    "trained": {"config", "experiment", "objectives", "workdir"},
    "figures": set(),
    "report": {"evaluation", "figures", "output"},
    "progress": set(),
    "signals": set(),
    "embedding": {"config", "data", "evaluation", "output", "progress", "runtime"},
    "assessment": {
        "bounds", "data", "evaluation", "experiment", "objectives", "probing",
        "progress", "report", "training",
    },
    "probing": {"data", "evaluation", "progress"},
    "train": {
        "assessment", "config", "experiment", "flags", "output", "progress", "report",
        "training", "workdir",
    },
    "embed": {
        "config", "data", "embedding", "flags", "progress", "runtime", "trained",
        "workdir",
    },
    "tuning": {
        "config", "data", "evaluation", "experiment", "flags", "output", "progress",
        "runtime", "signals", "training", "workdir",
    },
    "tune": {"config", "flags", "progress", "tuning"},
    "estimation": {
        "bounds", "critics", "data", "figures", "optimizers", "output", "progress",
    },
    "studies": {
        "bounds", "checkpoints", "config", "critics", "data", "encoders", "estimation",
        "evaluation", "objectives", "optimizers", "output", "progress", "runtime",
    },
    "estimate_options": {"config", "estimation"},
    "estimate": {
        "config", "data", "estimate_options", "estimation", "flags", "output",
        "progress", "studies",
    },
    "reproduce": {"config", "data", "flags", "output", "progress", "studies"},
    "evaluate": {
        "assessment", "config", "experiment", "flags", "output", "progress", "report",
        "training", "workdir",
    },
}  # fmt: skip


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
    assert name in ALLOWED, f"{name} has no place among the layers yet"
    surplus = set(imports(path)) - ALLOWED[name] - {name}
    assert not surplus, f"{name} must not import {surplus}"


def test_the_rule_has_no_cycles():
    order, left = [], dict(ALLOWED)
    while left:
        free = [name for name, needs in left.items() if needs <= set(order)]
        assert free, f"cycle among {sorted(left)}"
        order += free
        left = {name: needs for name, needs in left.items() if name not in free}


@pytest.mark.parametrize(
    "module", ["tf_infomax", "tf_infomax.flags", "tf_infomax.tune"]
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
            "from tf_infomax import flags; "
            "flags.load_tensorflow(split_operations=False)",
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


EXPORT = PACKAGE.parent / "export"


@pytest.mark.parametrize("name", ["client.py", "replay.py"])
def test_what_runs_on_other_machines_needs_none_of_this(name):
    found = {
        node.module if isinstance(node, ast.ImportFrom) else node.names[0].name
        for node in ast.walk(ast.parse((EXPORT / name).read_text()))
        if isinstance(node, ast.Import | ast.ImportFrom)
    }
    assert not [m for m in found if m.split(".")[0] in ("tf_infomax", "export")]


def test_the_package_does_not_know_the_export():
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom):
                assert node.module.split(".")[0] != "export", path
