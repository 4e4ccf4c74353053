"""What the pages show works, and their links lead somewhere."""

import ast
import importlib
import inspect
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

import tf_infomax
from tf_infomax import DeepInfoMax, objectives
from tf_infomax.estimation.options import Options
from tf_infomax.options.objectives import OBJECTIVES

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "export" / "README.md"]
PAGES += sorted((ROOT / "docs").glob("*.md"))


def read_examples(page: Path) -> list[str]:
    return re.findall(r"```python\n(.*?)```", page.read_text(), flags=re.S)


def test_an_objective_of_ones_own_in_a_notebook():
    (code,) = read_examples(ROOT / "docs" / "objectives.md")
    names = {}
    exec(compile(code, "objectives.md", "exec"), names)
    agreement = names["history"]["agreement"]
    assert agreement[-1] > agreement[0] + 0.1
    assert len(re.search(r"class BarlowTwins.*?\n\n\n", code, re.S)[0].split("\n")) < 30


def test_a_bound_of_ones_own():
    (code,) = read_examples(ROOT / "docs" / "bounds.md")
    names = {}
    exec(compile(code, "bounds.md", "exec"), names)
    kinds = names["objective"].values
    assert "divergence/local" in kinds
    scores = np.array([[3.0, 1.0], [0.0, 5.0]], np.float32)
    assert float(names["mean_margin"](scores)) == 3.5


def test_the_site_is_built_strictly(tmp_path):
    """With every page in its menu, all links found, nothing fetched from elsewhere."""
    result = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--quiet", f"--site-dir={tmp_path}"],
        cwd=ROOT, capture_output=True, text=True,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    menu = (ROOT / "mkdocs.yml").read_text()
    for page in (ROOT / "docs").rglob("*.md"):
        assert f": {page.relative_to(ROOT / 'docs').as_posix()}\n" in menu
    reference = (tmp_path / "reference" / "bounds" / "index.html").read_text()
    assert 'id="tf_infomax.bounds.info_nce"' in reference
    for page in tmp_path.rglob("index.html"):
        sources = re.findall(
            r'<(?:script|img|link)[^>]+(?:src|href)="(http[^"]+)', page.read_text()
        )
        assert not sources, page


def test_recipes(tmp_path, monkeypatch, capsys):
    """All five, one after the other in an empty folder, on little data."""
    scripts = read_examples(ROOT / "docs" / "recipes.md")
    assert max(len(script.splitlines()) for script in scripts) <= 17
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (64, 28, 28, 3), np.uint8)
    np.save("images.npy", images)
    for k, image in enumerate(images[:40]):
        folder = tmp_path / "photos" / f"kind{k % 2}"
        folder.mkdir(parents=True, exist_ok=True)
        PIL.Image.fromarray(image).save(folder / f"{k}.png")
    height = rng.normal(170, 10, 400)
    weight = 0.7 * height + rng.normal(0, 5, 400)
    table = np.stack([height, weight], axis=1)
    np.savetxt("people.csv", table, delimiter=",", header="height,weight", comments="")
    small = {
        "epochs=20": "steps=2, batch_size=8",
        "[:2000]": "[:128]",
        "EfficientNetV2B0": "MobileNet",
        "epochs=5": "steps=2, batch_size=8",
        '"image_size": 96': '"image_size": 32',
        '        "backbone_weights": "imagenet",\n': "",
        "block2b_add": "conv_pw_3_relu",
    }
    for shown in small:
        assert any(shown in script for script in scripts), shown
    found = {}
    for script in scripts:
        for shown, short in small.items():
            script = script.replace(shown, short)
        names = {}
        exec(compile(script, "recipes.md", "exec"), names)
        found |= names
    np.testing.assert_allclose(found["embeddings"], found["codes"], atol=1e-4)
    assert (tmp_path / "objective.keras").exists()
    assert found["estimate"].interval[0] < 0.5426 < found["estimate"].interval[1]
    assert " nats" in capsys.readouterr().out


def test_the_first_lines_of_a_newcomer():
    (face, fit, estimate) = read_examples(ROOT / "README.md")
    compile(face, "README.md", "exec")  # docs/recipes.md has it at work
    names = {}
    exec(compile(fit.replace("2000", "128"), "README.md", "exec"), names)
    assert names["codes"].shape == (128, 64)
    exec(compile(estimate.replace("4000", "400"), "README.md", "exec"), {})


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_links_lead_to_files(page):
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.S)
    links = re.findall(r"\]\(([^)#]+)", text)
    for link in links:
        if "://" not in link:
            assert (page.parent / link).exists(), link


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 250


REFERENCE = sorted((ROOT / "docs" / "reference").glob("*.md"))
# Options of a command and a run: what they have depends on what was chosen.
UNTYPED = {"self", "cls", "config", "subject", "options"}


def read_reference() -> list[str]:
    return [
        n
        for page in REFERENCE
        for n in re.findall(r"^::: (\S+)", page.read_text(), re.M)
    ]


@pytest.mark.parametrize("module", read_reference())
def test_what_the_reference_shows_says_its_types(module):
    tree = ast.parse(inspect.getsource(importlib.import_module(module)))
    bodies = [tree.body]
    bodies += [
        n.body for n in tree.body if isinstance(n, ast.ClassDef) and n.name[0] != "_"
    ]
    for node in (n for body in bodies for n in body if isinstance(n, ast.FunctionDef)):
        if node.name.startswith("_") and node.name not in ("__init__", "__call__"):
            continue
        given = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        bare = [a.arg for a in given if not a.annotation and a.arg not in UNTYPED]
        assert not bare, f"{node.name}: {bare}"
        assert node.returns or node.name == "__init__", node.name


@pytest.mark.parametrize(
    ("function", "options"),
    [
        (tf_infomax.estimate_mi, Options),
        (objectives.dim_local, OBJECTIVES["dim_local"].options),
        (objectives.vae, OBJECTIVES["vae"].options),
    ],
)
def test_signatures_name_every_option(function, options):
    shown = inspect.signature(function).parameters
    assert set(options.__dataclass_fields__) <= set(shown)
    assert not [p for p in shown.values() if p.kind is p.VAR_KEYWORD]
    for name, field in options.__dataclass_fields__.items():
        assert shown[name].default == field.default


def test_an_export_from_python_takes_what_the_command_takes():
    from tf_infomax.export.saved_model import ExportOptions

    shown = inspect.signature(DeepInfoMax.export).parameters
    fields = ExportOptions.__dataclass_fields__
    of_the_run = {
        "workdir",
        "data_dir",
        "local_files",
        "memory_limit_mb",
        "cache_dir",
        "debug",
    }
    assert set(shown) - {"self"} == set(fields) - of_the_run
    for name in set(shown) - {"self", "output", "name"}:
        assert shown[name].default == fields[name].default


TUTORIALS = sorted((ROOT / "docs" / "tutorials").glob("*.ipynb"))


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_tutorials_were_run_to_the_end_and_import_what_there_is(path):
    cells = json.loads(path.read_text())["cells"]
    codes = [cell for cell in cells if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in codes] == [*range(1, len(codes) + 1)]
    kinds = {out["output_type"] for cell in codes for out in cell["outputs"]}
    assert "error" not in kinds
    lines = "".join("".join(cell["source"]) + "\n" for cell in codes)
    plain = re.sub(r"^!(.*\\\n)*.*$", "", lines, flags=re.M)
    for node in ast.walk(ast.parse(plain)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            exec(ast.unparse(node), {})
    outputs = [out for cell in codes for out in cell["outputs"]]
    printed = "".join(line for out in outputs for line in out.get("text", []))
    assert not re.search(r"/(root|home|tmp)/", printed)
