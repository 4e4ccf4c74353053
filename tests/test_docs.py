"""What the pages show works, and their links lead somewhere."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

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
