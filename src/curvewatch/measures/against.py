"""Against a base: what a training changed in each token, followed observation by observation.

*Lost* is right in the base and wrong now (a 1 -> 0 transition), *gained* the reverse, *regained* was lost at an earlier
observation and is right now. Change is surprisal now less that of the base, in bits; with the base's sign turned and
another name it is the excess loss of Rho-1 (Lin et al. 2024). Transitions by item follow Harmon et al. (2025), "Mapping
Post-Training Forgetting in Language Models at Scale". The share of accuracy that is gone is what Luo et al. (2023), "An
Empirical Study of Catastrophic Forgetting in Large Language Models During Continual Fine-tuning", average over tasks
and stages. Suffix: N tokens (or items).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

ROSE_BITS = 1.0
"""A token has become worse when its surprisal is more than this above the base's."""


@dataclass
class AgainstBase:
    """The state of each token against the base.

    Args:
        surprisal_N: Of the base, bits; None: the first observation is the base.
        correct_N: Whether the target was the base's first choice; None: not known (or the first observation's).

    Attributes:
        change_N: Surprisal now less that of the base, bits; NaN where either is not finite.
        lost_N: Right in the base, wrong now; neither lost nor gained where the change is NaN.
        gained_N: Wrong in the base, right now.
        regained_N: Right in the base and now, and lost at some observation between.
    """

    surprisal_N: NDArray[Any] | None = None
    correct_N: NDArray[np.bool_] | None = None
    change_N: NDArray[np.float64] = field(init=False, default_factory=lambda: np.zeros(0))
    lost_N: NDArray[np.bool_] = field(init=False, default_factory=lambda: np.zeros(0, bool))
    gained_N: NDArray[np.bool_] = field(init=False, default_factory=lambda: np.zeros(0, bool))
    regained_N: NDArray[np.bool_] = field(init=False, default_factory=lambda: np.zeros(0, bool))
    _ever_lost_N: NDArray[np.bool_] | None = field(init=False, default=None)

    def update(self, surprisal_N: NDArray[Any], correct_N: NDArray[np.bool_]) -> None:
        """Takes the next observation.

        Args:
            surprisal_N: Bits.
            correct_N: Whether the target is the first choice.
        """
        correct_N = np.asarray(correct_N, bool)
        if self.surprisal_N is None:
            self.surprisal_N, self.correct_N = np.array(surprisal_N), correct_N.copy()
        with np.errstate(invalid="ignore"):
            change_N = np.asarray(surprisal_N, np.float64) - self.surprisal_N
        known_N = np.isfinite(change_N)
        self.change_N = np.where(known_N, change_N, np.nan)
        if self.correct_N is None:
            return
        self.lost_N = self.correct_N & ~correct_N & known_N
        self.gained_N = ~self.correct_N & correct_N & known_N
        if self._ever_lost_N is None:
            self._ever_lost_N = np.zeros(len(correct_N), bool)
        self.regained_N = self._ever_lost_N & correct_N & known_N
        self._ever_lost_N |= self.lost_N

    @property
    def knows_correct(self) -> bool:
        """Whether the base's first choices are known, so that tokens can be lost and gained."""
        return self.correct_N is not None

    def shares(self, chosen_N: NDArray[np.bool_] | None = None) -> dict[str, float]:
        """Mean change, and the shares of tokens that became worse, were lost, gained, and regained.

        Args:
            chosen_N: Of these tokens only; None: of all.

        Returns:
            `change_mean` in bits, `worse_share`, and where the base's first choices are known `lost_share`,
            `gained_share`, `regained_share`: of the tokens whose change is known. `accuracy_lost_share`: of the base's
            accuracy, below 0 where it grew; NaN where the base has none. Empty if there is no token.
        """
        known_N = np.isfinite(self.change_N)
        if chosen_N is not None:
            known_N &= chosen_N
        n = int(np.count_nonzero(known_N))
        if not n:
            return {}
        found = {
            "change_mean": float(self.change_N[known_N].mean()),
            "worse_share": float(np.count_nonzero(self.change_N[known_N] > ROSE_BITS) / n),
        }
        if self.knows_correct:
            states = {"lost": self.lost_N, "gained": self.gained_N, "regained": self.regained_N}
            counts = {name: np.count_nonzero(truth_N & known_N) for name, truth_N in states.items()}
            found |= {f"{name}_share": float(count / n) for name, count in counts.items()}
            right = int(np.count_nonzero(self.correct_N & known_N))
            gone = int(counts["lost"]) - int(counts["gained"])
            found["accuracy_lost_share"] = gone / right if right else float("nan")
        return found


def chance_transitions(accuracy_before: float, accuracy_now: float, chance: float) -> float:
    """Share of items that guessing alone is expected to lose (and to gain) between two models.

    An item that is not known is guessed, and right with probability `chance`; so a share q = (1 - accuracy) / (1 -
    chance) is guessed. Of those that both models guess, at most the smaller of both shares, chance * (1 - chance) are
    right before and wrong now. Subtract it from the observed share, which for pure guessing leaves 0.

    Args:
        accuracy_before: Share right in the base.
        accuracy_now: Share right now.
        chance: Of guessing one item.

    Returns:
        NaN where an accuracy is not known.
    """
    if chance >= 1:
        return 0.0
    guessed = min(1.0, min((1 - accuracy) / (1 - chance) for accuracy in (accuracy_before, accuracy_now)))
    return float(guessed * chance * (1 - chance))


def item_transitions(before_I: NDArray[Any], now_I: NDArray[Any], chance: float) -> dict[str, float]:
    """Shares of items lost and gained, and the same less what guessing alone is expected to do.

    Args:
        before_I: Margins in the base, bits: right where above 0.
        now_I: Margins now.
        chance: Of guessing one.

    Returns:
        Of the items whose margins are finite; empty if there is none.
    """
    known = np.isfinite(before_I) & np.isfinite(now_I)
    if not known.any():
        return {}
    before, now = before_I[known] > 0, now_I[known] > 0
    lost, gained = float((before & ~now).mean()), float((~before & now).mean())
    by_chance = chance_transitions(float(before.mean()), float(now.mean()), chance)
    return {
        "lost_share": lost,
        "gained_share": gained,
        "lost_share_beyond_chance": max(0.0, lost - by_chance),
        "gained_share_beyond_chance": max(0.0, gained - by_chance),
    }
