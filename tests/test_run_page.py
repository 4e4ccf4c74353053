"""The page of a run: true to its results, self-contained, safe to open."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from tf_infomax.evaluation.probes import run_probe
from tf_infomax.reporting import report
from tf_infomax.reporting.maps import draw_map
from tf_infomax.reporting.run_page import write_run_page
from tf_infomax.reporting.summary import Facts, list_next, summarize
from tf_infomax.reproduce import write_report

FACTS = Facts(
    objective="dim_local", encoder="basic32x32", dataset="fashion_m", steps=1680,
    batch_size=64, images=9000, seconds=148.0, weights=4_921_280, code_size=64,
    before="random encoder",
    workdir="runs/my <b>run</b>",
    flags=("--bound=info_nce", "--workdir=runs/my <b>run</b>"),
)  # fmt: skip


def accuracy(mean, sd=0.01):
    return {"mean": mean, "sd": sd, "n": 3}


RESULTS = {
    "step": {"mean": 1680, "sd": None, "n": 1},
    "mi/local": {
        "mean": 3.5, "sd": 0.1, "n": 31, "kind": "mi", "unit": "nats",
        "measures": "mutual information, nats", "ceiling": 4.16, "chance": 0.0,
        "bound": "info_nce", "negatives": "iid", "pooled": False, "objective": True,
    },
    "health/effective_rank": {"mean": 40.9, "sd": None, "n": 1, "images": 2000,
                              "ceiling": 64},
    "probe/majority": {"mean": 0.5, "sd": None, "n": 1, "classes": 2,
                       "unbalanced": False},
    "probe/linear/code": {
        **accuracy(0.8),
        "confusion": {"classes": ["<script>", "b & c"], "counts": [[80, 20], [5, 95]]},
    },
    "probe/linear/random/code": accuracy(0.6),
    "probe/linear/pixels": accuracy(0.7),
}  # fmt: skip


class Reader(HTMLParser):
    """Elements that are opened, with their attributes, and all text."""

    def __init__(self, text):
        super().__init__()
        self.opened, self.text = [], ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.opened.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.text += data


@pytest.fixture
def page(tmp_path):
    """As a browser reads it."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (12, 6, 8, 3), np.uint8)
    codes = rng.normal(size=(12, 4)).astype(np.float32)
    rows = [{"step": k, "validation/mi/local": k / 10, "local": k / 9} for k in (1, 2)]
    readings = report.readings_of(RESULTS)
    report.draw_curves(rows, readings, tmp_path / "curves.png")
    report.draw_neighbors(
        images, np.arange(12).reshape(3, 4), tmp_path / "neighbors.png"
    )
    draw_map(images, codes, np.arange(12) % 2, ("a", "b"), tmp_path / "map.png")
    path = tmp_path / "report.html"
    write_run_page(path, RESULTS, FACTS, ["it < collapsed"], tmp_path.joinpath)
    return Reader(path.read_text())


def test_it_says_what_was_asked_and_what_came_out(page):
    for sentence in (
        *summarize(RESULTS, FACTS),
        "it < collapsed",
        *list_next(RESULTS, FACTS),
    ):
        assert sentence in page.text
    assert FACTS.command in page.text
    assert (
        "tf-infomax train --bound=info_nce '--workdir=runs/my <b>run</b>'" in page.text
    )
    assert "<script> taken for b & c: 20 %" in page.text
    assert page.text.index("taken for b & c") < page.text.index("b & c taken for")
    for cell in ("80.0 ± 1.0", "60.0 ± 1.0", "70.0 ± 1.0", "95"):
        assert cell in page.text


def test_nothing_is_fetched_or_run(page):
    tags = [tag for tag, _ in page.opened]
    assert not {"script", "b", "iframe", "link", "object"} & {*tags}
    sources = [each for _, given in page.opened for each in (given.get("src"),) if each]
    assert sources
    assert all(each.startswith("data:image/png;base64,") for each in sources)
    named = [v for _, given in page.opened for k, v in given.items() if "href" in k]
    assert all(each.startswith("#") for each in named)
    assert tags.count("svg") == 1  # the curves, as a drawing


def test_pictures_that_are_not_there_are_left_out(tmp_path):
    write_run_page(tmp_path / "r.html", RESULTS, FACTS, [], tmp_path.joinpath)
    page = Reader((tmp_path / "r.html").read_text())
    assert "Nearest neighbours" not in page.text
    assert not {"img", "svg"} & {tag for tag, _ in page.opened}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "better than both"),
        ({"probe/linear/random/code": accuracy(0.79)}, "no better than that of"),
        ({"probe/linear/pixels": accuracy(0.9)}, "no better than raw pixels"),
        (
            {f"probe/linear/{n}": accuracy(0.8) for n in ("pixels", "random/code")},
            "no better than that of the random encoder and raw pixels",
        ),
        ({"probe/linear/code": None}, "Nothing was probed.*rank is 40.9"),
        ({"mi/local": {**RESULTS["mi/local"], "mean": 4.15}}, "can hardly rise"),
        ({"mi/local": {**RESULTS["mi/local"], "ceiling": None}}, "mi/local 3.50 nats"),
        ({"mi/local": {**RESULTS["mi/local"], "mean": -9.0}}, "below what no critic"),
    ],
)  # fmt: skip
def test_the_sentences_follow_the_results(changes, words):
    results = {n: r for n, r in {**RESULTS, **changes}.items() if r}
    assert re.search(words, " ".join(summarize(results, FACTS)))


def test_times_are_told_as_people_say_them():
    told = {
        seconds: summarize(RESULTS, replace(FACTS, seconds=seconds))[0]
        for seconds in (7.4, 148.0, 3_700.0)
    }
    assert told[7.4].endswith("in 7 seconds.")
    assert told[148.0].endswith("in 2:28 minutes.")
    assert told[3_700.0].endswith("in 1:01 hours.")


def test_confusion_counts_every_answer(rng):
    """Rows sum up to the images of each class, the diagonal to what is right."""
    features = rng.normal(size=(400, 5)).astype(np.float32)
    labels = np.array(["cat", "dog", "emu"])[np.argmax(features[:, :3], axis=1)]
    found = run_probe(
        "linear", features[:200], labels[:200], features[200:], labels[200:], 2
    )
    assert list(found.classes) == ["cat", "dog", "emu"]
    counts = [2 * np.sum(labels[200:] == name) for name in found.classes]
    np.testing.assert_array_equal(found.confusion.sum(axis=1), counts)
    right = np.trace(found.confusion) / found.confusion.sum()
    assert right == pytest.approx(found.accuracy.mean())
    # A class that is only in the test is a row of mistakes.
    labels[200:210] = "fox"
    found = run_probe(
        "linear", features[:200], labels[:200], features[200:], labels[200:], 1
    )
    assert found.confusion[-1, -1] == 0
    assert found.confusion[-1].sum() == 10


@pytest.mark.parametrize("count", [1, 2, 5, 40])
def test_a_map_of_few_codes_is_drawn(count, tmp_path, rng):
    images = rng.integers(0, 256, (count, 6, 6, 1), np.uint8)
    codes = np.zeros((count, 3), np.float32)
    draw_map(images, codes, None, None, tmp_path / "map.png")
    assert (tmp_path / "map.png").stat().st_size > 1000


def test_neighbours_of_the_same_class_are_framed(monkeypatch, tmp_path, rng):
    """Green where the class is the query's; nothing for images without a label."""
    images = rng.integers(0, 255, (6, 24, 20, 1), np.uint8)
    neighbors = np.array([[0, 1, 2, 3], [4, 5, 0, 1]])
    seen = []
    original = report.draw_images
    monkeypatch.setattr(
        report, "draw_images", lambda *given: (seen.append(given), original(*given))
    )
    labels = np.array([0, 0, 1, 0, -1, -1])
    path = tmp_path / "n.png"
    report.draw_neighbors(images, neighbors, path, labels, ("cat", "dog"))
    _, title, _, frames, names = seen[0]
    green = (frames == report._HIT).all(axis=-1)
    np.testing.assert_array_equal(green, [[0, 1, 0, 1], [0, 0, 0, 0]])
    assert (frames[:, 0] == 0).all()
    assert names == ["cat", ""]
    assert "same class" in title
    sheet = report._tile(images[neighbors], frames)
    assert sheet.shape == (2 * 28, 4 * 24, 3)
    np.testing.assert_array_equal(sheet[2:26, 26:46], np.repeat(images[1], 3, axis=-1))
    np.testing.assert_array_equal(sheet[1, 26:46], [report._HIT] * 20)


def test_studies_stand_on_a_page_of_the_same_kind(tmp_path, capsys):
    """Claims, effects, controls, notes and the figure; and a table in Markdown."""
    folder = tmp_path / "critics"
    folder.mkdir()
    draw_map(
        np.zeros((3, 6, 6, 1), np.uint8), np.eye(3), None, None, folder / "figure.png"
    )
    effect = {
        "text": "accuracy 3.0 < 4.0 | points", "rule": {"what": "accuracy | 1 < 2"},
        "shown": ["+0.1 points", "-0.1 .. +0.3"], "region": "above 0", "word": "no",
    }  # fmt: skip
    content = {
        "verdict": "undecided", "status": "exploratory", "history": "none",
        "notes": ["a <note>"], "seeds": [100, 101], "seconds": 90.0,
        "settings": {"scale": "cpu", "data": "fashion"},
        "claims": [{"claim": "It helps.", "verdict": "contradicted",
                    "effects": [effect], "paper": "figure 4"}],
        "controls": {"verdict": "reproduced", "effects": [effect]},
    }  # fmt: skip
    (folder / "results.json").write_text(json.dumps(content))
    write_report(tmp_path, ("critics",))
    page = Reader((tmp_path / "report.html").read_text())
    for words in (
        "critics: undecided", "It helps. Contradicted.", "accuracy | 1 < 2",
        "-0.1 .. +0.3", "a <note>",
        "The paper: figure 4.", "Controls: reproduced.", "1.5 minutes of runs.",
    ):  # fmt: skip
        assert words in page.text
    assert [tag for tag, _ in page.opened].count("img") == 1
    table = (tmp_path / "report.md").read_text()
    assert r"| accuracy 3.0 < 4.0 \| points |" in table
    assert "* critics: a <note>" in table
    assert capsys.readouterr().out.split() == [
        str(tmp_path / name) for name in ("report.html", "report.md")
    ]
