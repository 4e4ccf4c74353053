"""Tables of the paper: cells, parts made apart, failures, verdicts."""

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from tf_infomax.options import ConfigError
from tf_infomax.studies import cells, dim_tables, kept, table
from tf_infomax.studies.dim_accuracies import FOUND
from tf_infomax.studies.layout import Arm, Line, Size, Table, settle
from tf_infomax.studies.rules import Claim, compare
from tf_infomax.studies.runs import Runs

CODE = "probe/linear/code"
SIZE = Size(
    (
        ("encoder", "mlp"),
        ("code_size", 4),
        ("steps", 2),
        ("batch_size", 16),
        ("online_probe", "none"),
        ("probes", ("linear",)),
        ("probe_seeds", 1),
        ("baselines", False),
        ("progress", "none"),
    ),
    ("probes",),
)
SMALL = Table(
    what="none",
    arms={
        "ae": Arm("ae"),
        "untrained": Arm("ae", (("baselines", True),), False, ("pca",)),
    },
    lines=(
        Line("AE", "ae", {"Y": CODE}, {"Y": "54.47"}),
        Line("pixels", "untrained", {"Y": "probe/linear/pixels"}, {}),
        Line("components", "untrained", {"Y": "probe/linear/pca"}, {}),
    ),
    columns={"Y": (100.0, 1)},
    sizes={"cpu": SIZE},
    claims=(Claim("Learns.", "", (compare(CODE, "ae", "untrained", low=-50.0),)),),
    controls=(),
    history="",
)


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """Images of which each class has a brightness of its own."""
    rng, labels = np.random.default_rng(0), np.arange(96) % 2
    images = rng.integers(0, 100, (96, 8, 8, 1)) + 150 * labels[:, None, None, None]
    path = tmp_path_factory.mktemp("tables") / "data.npz"
    np.savez(path, images=images.astype(np.uint8), labels=labels)
    return {"dataset": f"arrays:{path}"}


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setitem(dim_tables.TABLES, "small", SMALL)


def make(folder, given, seeds=(100, 101), **options):
    told = lambda line: None
    verdict, _ = table.run("small", "cpu", seeds, given, folder, told, **options)
    return verdict


def refuse(*arguments):
    raise AssertionError("made again")


def test_a_table_is_made_in_parts_and_merged(
    given, small, tmp_path, monkeypatch, capsys
):
    one, other = tmp_path / "one", tmp_path / "other"
    for folder in (one, other):
        folder.mkdir()
    verdict = make(one, given, only=["ae"])
    assert verdict.word == "undecided"
    assert "Not made: untrained (100, 101)." in verdict.notes
    make(other, given, only=["untrained"])
    monkeypatch.setattr(cells.Maker, "make", refuse)
    verdict = make(one, given, cells=[other])
    assert verdict.word == "reproduced", str(verdict)
    assert not list(one.glob("runs/*"))
    rows = (one / "table.md").read_text().splitlines()
    assert rows[0] == "|  | Y | the paper, CIFAR-10 (Y) |"
    label, pixels, _ = (cell.strip() for cell in rows[3].strip("|").split("|"))
    assert (label, pixels) == ("pixels", "100.0 ± 0.0")
    assert "54.47" in rows[2]
    content = json.loads((one / "results.json").read_text())
    assert set(content["curves"]) == {
        f"{arm}-{seed}" for arm in SMALL.arms for seed in (100, 101)
    }
    assert (one / "figure.png").stat().st_size > 5000
    # Of other settings nothing is taken, and that is said.
    longer = replace(SIZE, options=(*SIZE.options, ("steps", 3)))
    monkeypatch.setitem(
        dim_tables.TABLES, "small", replace(SMALL, sizes={"cpu": longer})
    )
    capsys.readouterr()
    with pytest.raises(AssertionError, match="made again"):
        make(tmp_path / "third", given, cells=[one])
    assert "steps is 3, there 2" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="choose another --workdir"):
        make(one, given)


def test_cells_of_before_an_option_count_where_it_is_not_used(tmp_path):
    """A new option must not make hours of training anew; another value of it must."""
    path, made = tmp_path / "cell.json", {"steps": 2, "widths": [3, 4]}
    kept.write(path, made, curves={"a": [1.0]})
    now = {**made, "widths": (3, 4), "newer": ("x",)}
    found = kept.read(path, kept.Settings(now, {"newer": ("x",)}), "--workdir")
    assert found["curves"] == {"a": [1.0]}
    for settings in (
        kept.Settings(now),
        kept.Settings(now, {"newer": ("y",)}),
        kept.Settings({**now, "steps": 3}, {"newer": ("x",), "steps": 3}),
        kept.Settings({"steps": 2, "newer": ("x",)}, {"newer": ("x",)}),
    ):
        with pytest.raises(ConfigError, match="of other options"):
            kept.read(path, settings, "--workdir")


def test_tables_are_as_they_were_frozen():
    """Who changes a row, a budget or a rule records it, with a new line."""
    recorded = {name: digest for name, digest, _ in dim_tables.VERSIONS}
    assert {name: dim_tables.digest(name) for name in recorded} == recorded
    assert all(why for _, _, why in dim_tables.VERSIONS)


def test_cells_of_other_images_of_the_same_name_are_left_out(
    given, small, tmp_path, monkeypatch, capsys
):
    make(tmp_path / "one", given, seeds=(100,), only=["ae"])
    path = Path(given["dataset"].removeprefix("arrays:"))
    before = path.read_bytes()
    with np.load(path) as found:
        images, labels = found["images"].copy(), found["labels"]
    images[0, 0, 0, 0] ^= 1
    try:
        np.savez(path, images=images, labels=labels)
        monkeypatch.setattr(cells.Maker, "make", refuse)
        others = [tmp_path / "one"]
        with pytest.raises(AssertionError, match="made again"):
            make(tmp_path / "other", given, seeds=(100,), only=["ae"], cells=others)
    finally:
        path.write_bytes(before)
    assert "left out" in (told := capsys.readouterr().err)
    assert "training images" in told


def test_a_cell_that_fails_costs_itself_alone(given, small, tmp_path, monkeypatch):
    train = cells.train

    def fail(run):
        if run.config.objective == "ae" and run.config.seed == 101:
            raise FloatingPointError("the loss\nis not finite")
        train(run)

    monkeypatch.setattr(cells, "train", fail)
    verdict = make(tmp_path, given)
    failed = "ae, seed 101, failed: FloatingPointError: the loss is not finite."
    assert failed in verdict.notes
    assert verdict.word == "undecided"
    rows = (tmp_path / "table.md").read_text().splitlines()
    assert rows[2].split("|")[2].strip().endswith("(1)")  # of one seed
    monkeypatch.setattr(cells.Maker, "make", refuse)
    make(tmp_path, given)  # its reason stands: it is not tried again


def test_only_takes_rows_of_the_table(given, small, tmp_path):
    with pytest.raises(ConfigError, match=r"--only takes ae, untrained.*mean ae"):
        make(tmp_path, given, only=["aee"])


def test_a_difference_of_two_is_read_as_an_arm():
    runs = Runs(None, {})
    runs.found = {
        ("ae", 100): {CODE: [0.5]},
        ("ae", 101): {CODE: [0.7]},
        ("untrained", 100): {CODE: [0.4]},
    }
    plan = replace(SMALL, differences={"gain": ("ae", "untrained")})
    found = table.Cells(plan, runs, (100, 101)).read("gain", CODE)
    assert found == {100: pytest.approx(0.1)}


def test_effects_are_paired_by_seed():
    runs = Runs(None, {})
    runs.found = {
        ("ae", 100): {CODE: [0.5]},
        ("untrained", 101): {CODE: [0.1]},
        ("ae", 101): {CODE: [0.7]},
        ("untrained", 100): {CODE: [0.4]},
    }
    measure = table.Cells(SMALL, runs, (100, 101)).measure
    assert measure(compare(CODE, "ae", "untrained")).values == pytest.approx((0.1, 0.6))
    more = table.Cells(SMALL, runs, (100, 101, 102)).measure
    effect = more(compare(CODE, "ae", "untrained"))
    assert (effect.values, effect.word) == ((), "undecided")
    assert "not measured" in str(effect)


def test_rates_and_weights_are_the_best_of_the_searches():
    """Of all trials that were made."""
    path = Path(__file__).parents[1] / "docs/results/search_rows.json"
    searches = json.loads(path.read_text())
    assert set(FOUND) <= set(searches)
    size, data = dim_tables.TABLES["dim_table"].sizes["cpu"], {"dataset": "fashion_m"}
    for name, search in searches.items():
        best = max(search["trials"], key=lambda trial: trial["score"])
        arm = dim_tables.TABLES["dim_table"].arms[name]
        config = settle(arm, size, data, 100)
        for option in search["names"]:
            assert getattr(config, option) == pytest.approx(best[option], rel=2e-3)


@pytest.mark.parametrize("name", dim_tables.TABLES)
class TestPlans:
    def test_every_cell_is_an_experiment(self, name):
        plan = dim_tables.TABLES[name]
        assert set(plan.sizes) == {"smoke", "cpu", "paper"}
        for size in plan.sizes.values():
            for arm in plan.arms.values():
                config = settle(arm, size, {"dataset": "fashion_m"}, 100)
                config.require_length()

    def test_lines_and_rules_speak_of_arms_that_are_there(self, name):
        plan = dim_tables.TABLES[name]
        rules = [rule for claim in plan.claims for rule in claim.rules]
        named = {line.arm for line in plan.lines}
        for rule in (*rules, *plan.controls):
            sides = [side for side in (rule.of, rule.less) if hasattr(side, "arm")]
            read = {side.arm for side in sides}
            named |= {a for r in read for a in plan.differences.get(r, (r,))}
        assert named == set(plan.arms)

    def test_whatever_is_changed_shows(self, name, monkeypatch):
        plan, before = dim_tables.TABLES[name], dim_tables.digest(name)
        claims = (replace(plan.claims[0], text="Another."), *plan.claims[1:])
        for change in ({"claims": claims}, {"controls": ()}, {"columns": {}}):
            monkeypatch.setitem(dim_tables.TABLES, name, replace(plan, **change))
            assert dim_tables.digest(name) != before
        given = (name, "cpu", dim_tables.SEEDS, "fashion_m")
        assert "rules that are not on record" in dim_tables.why_exploratory(*given)


def test_settings_but_those_of_the_machine_make_another_cell(given, monkeypatch):
    read = partial(table._settings, "small", "cpu", SMALL, images={})
    before = read("ae", given)
    assert read("ae", given) == read("ae", {**given, "data_dir": "elsewhere"})
    assert read("ae", given) != read("untrained", given)
    several = replace(SIZE, options=(*SIZE.options, ("probe_images", 20)))
    monkeypatch.setitem(SMALL.sizes, "cpu", several)  # drivers, but what is measured
    assert read("ae", given) != before
