"""What the measures cost: all of them for N curves in an HDF5 file, next to pyGAM curve by curve.

Run it with `python benchmarks/measures.py [--tokens 1000000]`. It writes a temporary file as large as the curves
(0.9 GB for the default), measures it, fits a sample of the same curves by pyGAM in the same process, and prints
seconds, peak memory and ratios. Suffixes: T scored steps, N tokens.
"""

from __future__ import annotations

import argparse
import os
import resource
import tempfile
import time
import warnings
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from curvewatch.measures import LAMBDAS, Smoother, measure_curves
from curvewatch.measures.blocks import FIT_TOKENS
from curvewatch.measures.smoother.smoothing import Road

CHANCE = float(np.log2(50_257))
MAX_STEPS = 1_000_000


def paper_steps(n_steps: int) -> NDArray[np.int64]:
    """Returns the paper's scoring steps after step 0."""
    s0, s1, t1 = 100.0, 25_000.0, 1_000_000.0
    n = np.arange(1, n_steps + 1)
    return np.round(s0 * t1 / (s1 - s0) * (np.exp(n * (s1 - s0) / t1) - 1)).astype(np.int64)


def make_curves(x_T: NDArray[np.float64], n: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Returns curves that fall, some in two stages, some rising again, with noise of different sizes."""
    u = ((x_T - x_T[0]) / (x_T[-1] - x_T[0]))[:, None].astype(np.float32)

    def falls(least: float, most: float) -> NDArray[np.float32]:
        middle, steepness = rng.uniform(0.1, 0.9, n), rng.uniform(5, 25, n)
        return (rng.uniform(least, most, n) / (1 + np.exp((middle - u) * steepness))).astype(np.float32)

    curves = CHANCE - falls(2, 11) - falls(0, 3) + rng.uniform(0, 4, n) * np.maximum(0, u - rng.uniform(0.5, 2, n))
    return (curves + rng.normal(size=curves.shape) * 10 ** rng.uniform(-1.5, 0, n)).astype(np.float32)


def write_file(path: Path, steps: NDArray[np.int64], n_tokens: int) -> None:
    """Writes `surprisal` and `correct` [step, token] in the chunks of a run file."""
    rng = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        shape, chunks = (len(steps), n_tokens), (16, min(16384, n_tokens))
        surprisal = file.create_dataset("surprisal", shape, "f4", chunks=chunks)
        correct = file.create_dataset("correct", shape, "u1", chunks=chunks)
        for start in range(0, n_tokens, 16384):
            block = make_curves(np.log10(steps), min(16384, n_tokens - start), rng)
            surprisal[:, start : start + 16384] = block
            correct[:, start : start + 16384] = block < 2.0


def peak_mib() -> float:
    """Returns the most memory this process ever had, MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def forget_cache(path: Path) -> None:
    """Drops the file from the page cache, so that reading is reading from the disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def time_measures(path: Path, steps: NDArray[np.int64], dtype: Road) -> tuple[float, float, float, str]:
    """Returns seconds, MiB before, MiB at the peak, and what came out."""
    before = peak_mib()
    with h5py.File(path) as file:
        start = time.perf_counter()
        table = measure_curves(
            file["surprisal"], steps, chance=CHANCE, max_steps=MAX_STEPS, correct=file["correct"], dtype=dtype
        )
        return time.perf_counter() - start, before, peak_mib(), repr(table)


def time_pygam(x_T: NDArray[np.float64], sample_TN: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
    """Returns seconds for each curve with pyGAM's grid search, and the smoothing parameters it chose."""
    from pygam import LinearGAM

    chosen = []
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for curve in sample_TN.T:
            gam = LinearGAM(n_splines=25).gridsearch(x_T[:, None], curve, lam=LAMBDAS, progress=False)
            chosen.append(float(np.ravel(gam.lam)[0]))
    return (time.perf_counter() - start) / sample_TN.shape[1], np.array(chosen)


def main() -> None:
    """Writes, measures, compares, prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=1_000_000)
    parser.add_argument("--steps", type=int, default=221)
    parser.add_argument("--sample", type=int, default=100, help="curves that pyGAM fits")
    parser.add_argument("--directory", default=None, help="where the temporary file goes")
    options = parser.parse_args()
    steps = paper_steps(options.steps)
    x_T = np.log10(steps)
    n = options.tokens

    with tempfile.TemporaryDirectory(dir=options.directory) as directory:
        path = Path(directory) / "curves.h5"
        write_file(path, steps, n)
        print(f"{n:,} curves x {options.steps} steps, {path.stat().st_size / 2**20:,.0f} MiB on disk")
        for dtype in ("float32", "float64"):
            forget_cache(path)
            # A process of its own, so that the peak is that of the measures and not of writing the file.
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
                seconds, before, peak, table = pool.submit(time_measures, path, steps, dtype).result()
            print(
                f"all measures, {dtype}, from disk: {seconds:6.2f} s, {n / seconds:12,.0f} curves/s, "
                f"peak memory {peak:,.0f} MiB ({before:,.0f} MiB of it before the start)"
            )
            print(f"    {table}")
        with h5py.File(path) as file:
            curves_TN = file["surprisal"][:, : min(n, 65536)]

    sample_TN = curves_TN[:, :: max(1, curves_TN.shape[1] // options.sample)][:, : options.sample]
    pygam_seconds, pygam_lambdas = time_pygam(x_T, sample_TN.astype(np.float64))
    print(f"pyGAM, fit alone: {1e3 * pygam_seconds:.1f} ms a curve ({sample_TN.shape[1]} curves)")
    for dtype in ("float32", "float64"):
        smoother = Smoother(x_T, dtype=dtype)
        values_TN = curves_TN.astype(dtype)
        start = time.perf_counter()
        for first in range(0, values_TN.shape[1], FIT_TOKENS):
            fit = smoother.fit(values_TN[:, first : first + FIT_TOKENS])
            fit.at(smoother.basis_TK)
        ours = (time.perf_counter() - start) / values_TN.shape[1]
        same = np.isclose(LAMBDAS[smoother.fit(sample_TN.astype(dtype)).lambda_index_N], pygam_lambdas).sum()
        print(
            f"curvewatch, fit alone, {dtype}: {1e6 * ours:.2f} us a curve, {pygam_seconds / ours:,.0f} x pyGAM; "
            f"same smoothing parameter on {same} of {len(pygam_lambdas)}"
        )


if __name__ == "__main__":
    main()
