"""Learning by frequency band, from the counts that are known at this moment. Suffixes: N tokens, D distinct targets."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from curvewatch.measures.frequency import TargetTypes, band_means, band_names, frequency_bands


class BandMetrics:
    """The metrics of the frequency bands.

    Args:
        types: The distinct targets.
        n_bands: How many bands.

    Attributes:
        band_N: Each token's band by the counts seen last, 0 the rarest; None before any.
    """

    def __init__(self, types: TargetTypes, n_bands: int) -> None:
        self.types = types
        self.names = band_names(n_bands)
        self.band_N: NDArray[np.int8] | None = None
        self._counts_D: NDArray[Any] | None = None

    def update(
        self,
        counts_D: NDArray[Any],
        surprisal_N: NDArray[np.float32],
        acquired_N: NDArray[Any],
        forgotten_N: NDArray[Any],
    ) -> dict[str, float]:
        """The metrics, keys as in `BAND_METRICS`; of an empty band there are none.

        Args:
            counts_D: Occurrences of each distinct target in the training text so far.
            surprisal_N: Surprisal now, bits.
            acquired_N: Whether each token has been known at some time.
            forgotten_N: Whether it had a top-1 forgetting event.
        """
        if self._counts_D is None or not np.array_equal(counts_D, self._counts_D):
            self._counts_D = counts_D.copy()
            self.band_N = frequency_bands(self.types, counts_D, len(self.names))
        assert self.band_N is not None
        measures = {"surprisal_mean": surprisal_N, "acquired_share": acquired_N, "forgotten_share": forgotten_N}
        return {
            f"frequency/{band}/{name}": value
            for name, values_N in measures.items()
            for band, value in zip(self.names, band_means(values_N, self.band_N, len(self.names)), strict=True)
        }
