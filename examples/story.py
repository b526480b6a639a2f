"""The story in the terminal: now and then one line of what the model has learned and forgotten, for `log=`."""

from __future__ import annotations

from collections.abc import Callable

from tqdm.auto import tqdm

LEGEND = """
What is seen of the watched tokens, none of which is trained on:
  surprisal   mean of all tokens; rare, frequent: thirds by how often each token was trained on so far
  acquired    share that the model has known at some time (smoothed surprisal at or below half of chance)
  forgotten   share that were the model's first choice once, and were not at the next look
  n-gram      the n-gram model of the training text whose surprisals are most like the model's
""".rstrip()

EARLIEST = 10
# A model that has learned nothing is like none.
ALIKE = 0.3


def story(every: int = 50, name: str = "eval") -> Callable[[dict[str, float], int], None]:
    """Returns a function `log(scalars, step)` that prints a line now and then, more often in the first steps.

    Args:
        every: Steps from one line to the next; before that many the distance doubles.
        name: Of the token set.
    """
    next_step = 0

    def log(scalars: dict[str, float], step: int) -> None:
        nonlocal next_step
        if step < next_step or f"curvewatch/{name}/surprisal_mean" not in scalars:
            return
        if next_step == 0:
            tqdm.write(LEGEND + "\n")
        next_step = max(EARLIEST, 2 * step) if 2 * step < every else (step // every + 1) * every
        tqdm.write(line(scalars, step, name))

    return log


def line(scalars: dict[str, float], step: int, name: str = "eval") -> str:
    """What one observation shows, in a line."""
    of = {key.removeprefix(f"curvewatch/{name}/"): value for key, value in scalars.items()}
    by_band = {band: of.get(f"frequency/{band}/acquired_share") for band in ("rare", "frequent")}
    bands = ", ".join(f"{band} {share:.0%}" for band, share in by_band.items() if share is not None)
    parts = [
        f"step {step:<5}",
        f"surprisal {of['surprisal_mean']:5.2f} bit",
        f"acquired {of['acquired_share']:4.0%}" + (f" ({bands})" if bands else ""),
        f"forgotten {of['forgotten_share']:4.0%}",
    ]
    n = int(of.get("ngram/nearest", 1))
    r = of.get(f"ngram/{n}gram_correlation", 0.0)
    if r >= ALIKE:
        parts.append(f"like a {n}-gram (r {r:.2f})")
    return "  ".join(parts)
