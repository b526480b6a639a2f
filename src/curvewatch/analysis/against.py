"""What a training changed against its base, step by step and token by token; in words, what it cost.

Suffixes: T rows, N tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curvewatch.analysis.frames import need
from curvewatch.analysis.items import Items
from curvewatch.analysis.moment import Moment
from curvewatch.analysis.select import label_named
from curvewatch.analysis.units import Units
from curvewatch.errors import TokenSetMismatchError
from curvewatch.measures.against import ROSE_BITS, AgainstBase, item_transitions
from curvewatch.runfile.reader import Reader
from curvewatch.tokens.reference import FIRST, Reference

BLOCK_VALUES = 1 << 22
LEAST_TOKENS = 20
"""Fewer tokens than this say nothing of a kind of them."""


@dataclass(frozen=True)
class Against:
    """A run against a base.

    Attributes:
        run: The run.
        base: Name of the base; "first" is the run's own first row.
        steps_T: Steps that were looked at; where the base is the first row, those after it.
        change_mean_T: Surprisal less that of the base, mean over tokens, bits.
        worse_share_T: Share of tokens whose surprisal is more than 1 bit above the base's.
        lost_share_T: Share of tokens that were the base's first choice and are not the model's; NaN if not known.
        gained_share_T: Share of tokens that were not, and are.
        regained_share_T: Share of tokens that were lost at an earlier observation and are right again.
        accuracy_lost_share_T: Share of the base's accuracy that is gone; below 0 where it grew.
        change_N: At the last step, bits.
        lost_N: At the last step.
        gained_N: At the last step.
        regained_N: At the last step.
        base_surprisal_N: Of the base, bits.
        kl_N: Divergence from the base's prediction at the last step, bits; None where it was not measured.
    """

    run: Reader
    base: str
    steps_T: NDArray[np.int64]
    change_mean_T: NDArray[np.float64]
    worse_share_T: NDArray[np.float64]
    lost_share_T: NDArray[np.float64]
    gained_share_T: NDArray[np.float64]
    regained_share_T: NDArray[np.float64]
    accuracy_lost_share_T: NDArray[np.float64]
    change_N: NDArray[np.float64]
    lost_N: NDArray[np.bool_]
    gained_N: NDArray[np.bool_]
    regained_N: NDArray[np.bool_]
    base_surprisal_N: NDArray[np.float32]
    kl_N: NDArray[np.float32] | None = None

    def __repr__(self) -> str:
        if not len(self.steps_T):
            return f"<Against {self.base!r}: no later row yet>"
        return (
            f"<Against {self.base!r} at step {int(self.steps_T[-1]):,}: {self.change_mean_T[-1]:+.3f} bits, "
            f"{self.lost_share_T[-1]:.1%} lost, {self.gained_share_T[-1]:.1%} gained>"
        )

    def by(self, label: str | None = None) -> Any:
        """A pandas DataFrame of the last step: one row for all tokens, or for each value of a label.

        Columns: tokens, base_surprisal and change (bits, means), worse, lost, gained, regained (shares of the row's
        tokens whose change is known), accuracy_lost (share of the base's accuracy), and kl (bits, mean) where it was
        measured. Needs `curvewatch[analysis]`.

        Args:
            label: Of the token set; None for all tokens.

        Raises:
            KeyError: If there is no such label.
        """
        pandas = need("pandas", "against")
        n = len(self.change_N)
        if label is None:
            return pandas.DataFrame([self._row(np.ones(n, bool))], index=pandas.Index(["all tokens"], name="tokens of"))
        found = label_named(self.run.tokens, label)
        rows = {value: self._row(found.codes == v) for v, value in enumerate(found.values) if found.sizes[v]}
        return pandas.DataFrame(list(rows.values()), index=pandas.Index(list(rows), name=label))

    def _row(self, chosen_N: NDArray[np.bool_]) -> dict[str, float]:
        change_n = self.change_N[chosen_N]
        known = np.isfinite(change_n)
        truths = {"worse": change_n > ROSE_BITS}
        if np.isfinite(self.lost_share_T).any():
            truths |= {"lost": self.lost_N[chosen_N], "gained": self.gained_N[chosen_N],
                       "regained": self.regained_N[chosen_N]}  # fmt: skip
        shares = {name: float(truth[known].mean()) if known.any() else float("nan") for name, truth in truths.items()}
        if "lost" in truths:
            right = np.count_nonzero(self._right_before_N()[chosen_N][known])
            gone = np.count_nonzero(truths["lost"][known]) - np.count_nonzero(truths["gained"][known])
            shares["accuracy_lost"] = gone / right if right else float("nan")
        return {
            "tokens": int(np.count_nonzero(chosen_N)),
            "base_surprisal": float(np.mean(self.base_surprisal_N[chosen_N], dtype=np.float64)),
            "change": float(change_n[known].mean()) if known.any() else float("nan"),
            **shares,
            **({"kl": float(np.nanmean(self.kl_N[chosen_N]))} if self.kl_N is not None else {}),
        }

    def _right_before_N(self) -> NDArray[np.bool_]:
        """The base's first choices: those of now, but for what was lost and gained."""
        now_N = self.run.correct[int(np.searchsorted(self.run.steps, self.steps_T[-1]))]
        return np.asarray((now_N | self.lost_N) & ~self.gained_N, bool)

    def to_pandas(self) -> Any:
        """A pandas DataFrame: one row a token, with its text, the base's surprisal and the change."""
        pandas = need("pandas", "against")
        tokens = self.run.tokens
        texts = tokens.texts() or {}
        return pandas.DataFrame(
            {"text": [texts.get(int(i), "") for i in tokens.target], "base_surprisal": self.base_surprisal_N,
             "change": self.change_N, "lost": self.lost_N, "gained": self.gained_N, "regained": self.regained_N},
            index=pandas.RangeIndex(len(tokens), name="token"),
        )  # fmt: skip

    def items_frame(self) -> Any:
        """A pandas DataFrame of `items`, one row for each kind of pairs or questions; empty if there are none."""
        pandas = need("pandas", "against")
        spans = self.run.tokens.spans
        kinds = [kind for kind in spans.kinds if (spans.of_kind(kind).item >= 0).all()]
        rows = [self.items(kind) for kind in kinds]
        return pandas.DataFrame(rows, index=pandas.Index(kinds, name="kind"))

    def items(self, kind: str) -> dict[str, float]:
        """What became of the pairs or questions of one kind: shares lost and gained, and beyond chance.

        Raises:
            KeyError: If there are no such spans.
            ValueError: If they make no items.
        """
        units = Units(self.run, kind)
        items: Items = units.items
        now_I = items.margin()[-1]
        before_I = items.margin_of(units.spans.sums(self.base_surprisal_N))
        known = np.isfinite(now_I) & np.isfinite(before_I)
        if not known.any():
            return {"items": 0.0}
        shares = item_transitions(before_I, now_I, items.chance)
        return {
            "items": float(np.count_nonzero(known)),
            "base_accuracy": float((before_I[known] > 0).mean()),
            "accuracy": float((now_I[known] > 0).mean()),
            **{name.replace("_share", ""): share for name, share in shares.items()},
        }


def against(run: Reader, base: Reader | Reference | None = None) -> Against:
    """Follows a run against a base.

    Args:
        run: The run.
        base: Another run of the same set, whose last row is the base; None: the file's own reference, else its first
            row.

    Raises:
        TokenSetMismatchError: If the other run watched another set.
        ValueError: If there are no rows to follow, or none to be the base.
    """
    moment = Moment.now(run)
    if not len(moment):
        raise ValueError(f"{run.path}: nothing was scored yet.")
    reference = _reference(run, base)
    state = AgainstBase(reference.surprisal_N, reference.correct_N)
    shares: list[tuple[float, ...]] = []
    n = max(1, run.n_tokens)
    rows = max(1, BLOCK_VALUES // n)
    for start in range(0, len(moment), rows):
        block = slice(start, min(start + rows, len(moment)))
        for bits_N, correct_N in zip(moment.surprisal[block], moment.correct[block], strict=True):
            state.update(bits_N, correct_N)
            shares.append(_shares(state))
    moment.check()
    first = 1 if reference.name == FIRST else 0
    change_T, worse_T, lost_T, gained_T, regained_T, gone_T = np.array(shares, np.float64).reshape(-1, 6)[first:].T
    assert state.surprisal_N is not None
    nobody = np.zeros(run.n_tokens, bool)
    lost_N, gained_N, regained_N = (
        (state.lost_N, state.gained_N, state.regained_N) if state.knows_correct else (nobody, nobody, nobody)
    )
    return Against(
        run=run,
        base=reference.name,
        steps_T=moment.steps_T[first:],
        change_mean_T=change_T,
        worse_share_T=worse_T,
        lost_share_T=lost_T,
        gained_share_T=gained_T,
        regained_share_T=regained_T,
        accuracy_lost_share_T=gone_T,
        change_N=state.change_N,
        lost_N=lost_N,
        gained_N=gained_N,
        regained_N=regained_N,
        base_surprisal_N=np.asarray(state.surprisal_N, np.float32),
        kl_N=run.base_kl[len(moment) - 1] if run.base_kl is not None and base is None else None,
    )


def in_words(found: Against) -> str:
    """What it cost, in two or three sentences, each with its numbers."""
    base = "its first row" if found.base == FIRST else found.base
    change = float(found.change_mean_T[-1])
    known = int(np.isfinite(found.change_N).sum())
    at = f"At step {int(found.steps_T[-1]):,}, against {base}"
    if not known:
        return f"{at}: no token's surprisal is finite in both, so there is nothing to say."
    left_out = len(found.change_N) - known
    told = [
        f"{at}: {known:,} tokens{f' ({left_out:,} are not finite and left out)' if left_out else ''} cost "
        f"{abs(change):.3f} "
        f"bits {'more' if change > 0 else 'less'} each on average; {found.worse_share_T[-1]:.1%} of them cost over "
        f"{ROSE_BITS:g} bit more."
    ]
    lost, gained, regained = (of[-1] for of in (found.lost_share_T, found.gained_share_T, found.regained_share_T))
    if np.isfinite(lost):
        told.append(
            f"{lost:.1%} were the base's first choice and are lost, {gained:.1%} are gained; {regained:.1%} had been "
            "lost on the way and are right again."
        )
        told += _extremes(found)
    return " ".join(told)


def _extremes(found: Against) -> list[str]:
    """The values of labels that lost most, where they lost clearly more than all tokens together."""
    known_N = np.isfinite(found.change_N)
    overall = np.count_nonzero(found.lost_N) / np.count_nonzero(known_N)
    worst: list[tuple[float, str]] = []
    for name, label in found.run.tokens.labels.items():
        for v, value in enumerate(label.values):
            chosen_N = (label.codes == v) & known_N
            n = int(np.count_nonzero(chosen_N))
            if n < LEAST_TOKENS:
                continue
            share = float(np.count_nonzero(found.lost_N & chosen_N)) / n
            # Twice the standard error of a share of so many tokens.
            if share > overall + 2 * np.sqrt(max(overall * (1 - overall), 1e-9) / n):
                worst.append((share, f"{name} {value!r} ({share:.1%} of {n:,})"))
    worst.sort(reverse=True)
    return [f"Most was lost of {', '.join(text for _, text in worst[:3])}."] if worst else []


def _reference(run: Reader, base: Reader | Reference | None) -> Reference:
    if isinstance(base, Reference):
        return base
    if base is None:
        return run.tokens.annotations.reference or Reference(FIRST)
    if base.set_hash != run.set_hash:
        raise TokenSetMismatchError(
            f"base={base.path}: it holds token set {base.set_hash[:16]}…, {run.path} holds {run.set_hash[:16]}…. Give "
            "a run of the same set."
        )
    if not len(base):
        raise ValueError(f"base={base.path}: nothing was scored in it yet.")
    return Reference(f"{base.path.name}, step {int(base.steps[-1])}", base.surprisal[-1], base.correct[-1])


def _shares(state: AgainstBase) -> tuple[float, ...]:
    found = state.shares()
    return tuple(
        found.get(name, float("nan"))
        for name in (
            "change_mean",
            "worse_share",
            "lost_share",
            "gained_share",
            "regained_share",
            "accuracy_lost_share",
        )
    )
