"""Codes that are near one another."""

import numpy as np
import pytest

from tf_infomax.embedding.alike import DISTANCES, Codes
from tf_infomax.neighbors import NeighborsOptions

NAMES = [f"{k}.png" for k in range(40)]
BY_HAND = {
    "l1": lambda a, b: np.abs(a - b).sum(-1),
    "l2": lambda a, b: np.sqrt(((a - b) ** 2).sum(-1)),
    "cosine": lambda a, b: (
        1 - (a * b).sum(-1) / np.linalg.norm(a, axis=-1) / np.linalg.norm(b, axis=-1)
    ),
}


@pytest.mark.parametrize("distance", DISTANCES)
def test_near_images_and_pairs_are_those_found_by_hand(distance, rng):
    rows = rng.normal(size=(40, 5)).astype(np.float32)
    codes = Codes(NAMES, rows, distance)
    between = BY_HAND[distance](rows[:, None].astype(float), rows[None].astype(float))
    near = codes.find_near("3.png", rows[3], 4)
    expected = [k for k in np.argsort(between[3]) if k != 3][:4]
    assert [match.found for match in near] == [NAMES[k] for k in expected]
    np.testing.assert_allclose(
        [match.distance for match in near], between[3, expected], rtol=1e-4
    )
    assert codes.usual == pytest.approx(
        np.median(between[~np.eye(40, dtype=bool)]), 0.05
    )
    upper = np.transpose(np.triu_indices(40, 1))
    order = np.argsort([between[i, j] for i, j in upper])[:6]
    assert [(m.query, m.found) for m in codes.find_pairs(6)] == [
        (NAMES[i], NAMES[j]) for i, j in upper[order]
    ]
    assert all(m.share == m.distance / codes.usual for m in near)


def test_groups_are_what_near_pairs_join(rng):
    """Three on a line, of which the ends are too far apart for a pair; and two."""
    rows = 10.0 * rng.normal(size=(40, 5)).astype(np.float32)
    rows[[7, 3]] = rows[5] + np.float32([[0.3], [-0.2]])
    rows[20] = rows[30] + np.float32(0.01)
    codes = Codes(NAMES, rows, "l1")
    share = 1.7 / codes.usual  # pairs are 1 and 1.5 apart, the ends 2.5
    groups = [
        [(m.query, m.found, round(m.distance, 2)) for m in group]
        for group in codes.find_groups(share)
    ]
    assert groups == [
        [("3.png", "5.png", 1.0), ("3.png", "7.png", 2.5)],
        [("20.png", "30.png", 0.05)],
    ]
    assert codes.find_groups(0.001 / codes.usual) == []


def test_many_copies_of_one_image_are_one_group(rng):
    """More than are looked for beside each."""
    rows = rng.normal(size=(60, 5)).astype(np.float32)
    rows[10:50] = rows[10]
    names = [f"{k:02d}.png" for k in range(60)]
    (group,) = Codes(names, rows).find_groups(1e-4)
    assert [m.found for m in group] == names[11:50]


def test_the_command_takes_every_distance():
    field = NeighborsOptions.__dataclass_fields__["distance"]
    assert field.metadata["choices"] == tuple(DISTANCES)


def test_codes_that_are_all_one_are_no_error():
    codes = Codes(NAMES[:3], np.ones((3, 4), np.float32))
    assert codes.usual == 0.0
    assert {(m.query, m.found) for m in codes.find_pairs(9)} == {
        ("0.png", "1.png"), ("0.png", "2.png"), ("1.png", "2.png")
    }  # fmt: skip
