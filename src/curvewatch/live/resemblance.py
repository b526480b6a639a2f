"""Which n-gram model does the model resemble most? Suffixes: n orders, N tokens."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from curvewatch.measures.frequency import pearson


class NgramResemblance:
    """Correlates the model's surprisal with that of n-gram models, as Chang, Tu & Bergen (2024) do.

    Memory: eight bytes a token and order.

    Args:
        surprisal_nN: n-gram surprisal for n = 1, 2, ..., bits, shape [n, N].
    """

    def __init__(self, surprisal_nN: ArrayLike) -> None:
        self._raw_nN = np.asarray(surprisal_nN, np.float32)
        centred_nN = self._raw_nN.astype(np.float64)
        centred_nN -= centred_nN.mean(axis=1, keepdims=True)
        length_n1 = np.sqrt(np.square(centred_nN).sum(axis=1, keepdims=True))
        with np.errstate(invalid="ignore"):
            self._unit_nN = (centred_nN / length_n1).astype(np.float32)

    def update(self, surprisal_N: NDArray[np.float32]) -> dict[str, float]:
        """The correlations now, keys as in `NGRAM_METRICS`; NaN where one can't be had.

        Args:
            surprisal_N: The model's surprisal, bits; tokens with NaN or infinity are left out.
        """
        if np.isfinite(surprisal_N).all() and np.isfinite(self._unit_nN[:, 0]).all():
            centred_N = surprisal_N - surprisal_N.mean(dtype=np.float64).astype(np.float32)
            length = np.sqrt(np.square(centred_N).sum(dtype=np.float64))
            # Where nothing varies, rounding is left.
            varies = length > 1e-6 * np.sqrt(centred_N.size) * max(1.0, float(np.abs(surprisal_N).max()))
            found_n = self._unit_nN @ centred_N / length if varies else np.full(len(self._raw_nN), np.nan)
        else:
            found_n = np.array([pearson(raw_N, surprisal_N) for raw_N in self._raw_nN])
        metrics = {f"ngram/{n}gram_correlation": float(r) for n, r in enumerate(found_n, 1)}
        if np.isfinite(found_n).any():
            metrics["ngram/nearest"] = float(np.nanargmax(found_n) + 1)
        return metrics
