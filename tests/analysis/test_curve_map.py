"""The map of curves beside numpy's singular values, in blocks and in one; UMAP; its figure."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from curvewatch import Run, open_run
from curvewatch.analysis.curve_map import PLACES, curve_map
from curvewatch.measures import MeasureWarning, blocks, smooth_curves
from tests.analysis.synthetic import write_run
from tests.support.process import environment

ROOT = Path(__file__).parents[2]


def smoothed(run: Run) -> np.ndarray:
    """Fits of the curves without holes, [tokens, places], and which these are."""
    steps = np.asarray(run.steps)
    fit = smooth_curves(np.asarray(run.surprisal[:]), steps)
    places = 10 ** np.linspace(np.log10(fit.steps_T[0]), np.log10(fit.steps_T[-1]), PLACES)
    return np.asarray(fit.at(np.clip(places, fit.steps_T[0], fit.steps_T[-1])), float).T


def test_coordinates_are_principal_components(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    curves = smoothed(run)
    known = np.isfinite(curves).all(axis=1)
    centred = curves[known] - curves[known].mean(axis=0)
    left, values, _ = np.linalg.svd(centred, full_matrices=False)
    found = curve_map(run, n_components=3)
    assert found.points_NK.shape == (run.n_tokens, 3)
    np.testing.assert_array_equal(np.isfinite(found.points_NK).all(axis=1), known)
    np.testing.assert_allclose(np.abs(found.points_NK[known]), np.abs(left * values)[:, :3], rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(found.explained_K, (values**2 / (values**2).sum())[:3], rtol=1e-9)
    assert found.about[0] == f"component 1 ({found.explained_K[0]:.0%} of the variance)"
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 8 * len(run.steps) * 64)
    assert len(list(blocks.token_blocks(run.surprisal))) > 3
    np.testing.assert_allclose(curve_map(run, n_components=3).points_NK, found.points_NK, atol=1e-6)


def test_tokens_in_a_box(run: Run) -> None:
    found = curve_map(run)
    low, high = np.nanquantile(found.points_NK, [0.25, 0.75], axis=0)
    chosen = found.inside(low, high)
    plainly = [i for i, (x, y) in enumerate(found.points_NK) if low[0] <= x <= high[0] and low[1] <= y <= high[1]]
    assert chosen.tolist() == plainly
    assert 0 < len(chosen) < run.n_tokens
    assert len(found.inside([-np.inf, -np.inf], [np.inf, np.inf])) == np.isfinite(found.points_NK).all(axis=1).sum()


def test_a_box_of_another_shape_is_refused(run: Run) -> None:
    found = curve_map(run)
    for low, high, name in ((0, [1, 1], "low"), ([0, 0], [1, 1, 1], "high"), ([[0, 0]], [1, 1], "low")):
        with pytest.raises(ValueError, match=rf"{name}: shape .*a number for each of the 2 coordinates"):
            found.inside(low, high)


def test_curves_that_are_all_the_same_are_said_to_be(tmp_path: Path) -> None:
    path = write_run(tmp_path / "same.h5", n_tokens=20)
    with h5py.File(path, "r+") as file:
        file["surprisal"][:] = np.broadcast_to(file["surprisal"][:, :1], file["surprisal"].shape)
    with pytest.warns(MeasureWarning, match="all curves are the same"):
        found = curve_map(open_run(path))
    assert np.isnan(found.explained_K).all()
    assert found.about == ("component 1", "component 2")
    assert np.ptp(found.points_NK, axis=0) == pytest.approx([0, 0], abs=1e-5)


BY_UMAP = """
import sys
import warnings
import numpy as np
from curvewatch import open_run
from curvewatch.analysis.curve_map import curve_map

with warnings.catch_warnings():
    warnings.simplefilter("error", UserWarning)  # of few tokens, too
    few = curve_map(open_run(sys.argv[3]), method="umap", n_components=3)
assert np.isfinite(few.points_NK).all()
try:
    curve_map(open_run(sys.argv[3]), method="umap", n_components=4)
except ValueError as error:
    assert "6 curves are finite; a map of 4 coordinates by UMAP takes 7" in str(error)
else:
    raise AssertionError("nothing was refused")
np.save(sys.argv[2], [curve_map(open_run(sys.argv[1]), method="umap", neighbours=15, seed=3).points_NK for _ in "ab"])
"""


def test_umap_keeps_neighbours_and_its_seed(run: Run, tmp_path: Path) -> None:
    # In a process of its own: it sets how many threads PyTorch has, and with that the last bit of what follows.
    command = [sys.executable, "-c", BY_UMAP, str(run.path), str(tmp_path / "points.npy"),
               str(write_run(tmp_path / "few.h5", n_tokens=6))]  # fmt: skip
    subprocess.run(command, env=environment(), check=True, cwd=ROOT)
    first, again = np.load(tmp_path / "points.npy")
    np.testing.assert_array_equal(first, again)
    curves = np.asarray(run.surprisal[:]).T
    known = np.flatnonzero(np.isfinite(curves).all(axis=1))
    np.testing.assert_array_equal(np.isfinite(first).all(axis=1), np.isfinite(curves).all(axis=1))

    def neighbours(points: np.ndarray) -> np.ndarray:
        apart = ((points[:, None] - points[None]) ** 2).sum(axis=2)
        np.fill_diagonal(apart, np.inf)
        return np.argsort(apart, axis=1)[:, :15]

    shared = [
        len(set(a) & set(b)) / 15 for a, b in zip(neighbours(curves[known]), neighbours(first[known]), strict=True)
    ]
    assert np.mean(shared) > 4 * 15 / len(known)


def test_refused(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"method='tsne': one of pca, umap"):
        curve_map(run, method="tsne")
    with pytest.raises(ValueError, match="n_components=0"):
        curve_map(run, n_components=0)
    with pytest.raises(ValueError, match=r"neighbours=0: at least 2 are expected, or None"):
        curve_map(run, method="umap", neighbours=0)
    with pytest.raises(ValueError, match="2 curves could be fitted"):
        curve_map(open_run(write_run(tmp_path / "two.h5", n_tokens=2)))
    with pytest.raises(ValueError, match="0 curves could be fitted"):
        curve_map(open_run(write_run(tmp_path / "none.h5", n_steps=0)))
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(ImportError, match="pip install umap-learn"):
        curve_map(run, method="umap")


def test_figure(run: Run) -> None:
    found = curve_map(run).points_NK
    drawn = run.plot("map:age_of_acquisition").axes
    assert drawn[0].get_xlabel().startswith("component 1")
    assert drawn[1].get_ylabel() == "age of acquisition (log10(step))"
    shown = np.concatenate([np.asarray(part.get_offsets()) for part in drawn[0].collections])
    finite = np.isfinite(found).all(axis=1)
    assert sorted(map(tuple, np.asarray(shown)[np.isfinite(shown).all(axis=1)])) == sorted(map(tuple, found[finite]))
    short = run.plot("map:aoa").axes
    assert short[1].get_ylabel() == "age of acquisition (log10(step))"
    with pytest.raises(ValueError, match=r"map:nonsense: there is no such measure.*in short .*aoa for age_of_acq"):
        run.plot("map:nonsense")
