"""Subject: the model that is watched, found in what a host gives, and known again by its weights."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import nn

from curvewatch.runfile import layout
from curvewatch.scoring.trained import ChooseModel, Trained, trained_model
from curvewatch.scoring.undisturbed import Around, nothing_around
from curvewatch.watch.weights import Averages, WeightProbe, agreed, averages_in, check_not_averaged, training_weights


class Subject:
    """Which model is scored, with which of its weights.

    Args:
        choose: `choose(given) -> nn.Module`, the user's choice; None: the model is found.
        whole: Whether what the host gives is called as a whole.
        width: Tokens that a trial may have.
        weights: "training" or "averaged".

    Attributes:
        found: The model and what is known of it, once it was looked for.
        averages: Makes a context in which the model has the averages; None where the weights that train are scored.
    """

    def __init__(self, choose: ChooseModel | None, *, whole: bool, width: int, weights: str) -> None:
        self._choose = choose
        self._whole = whole
        self._width = width
        self._weights = weights
        self._given: nn.Module | None = None
        self.found: Trained | None = None
        self.averages: Averages | None = None
        self._optimizers: tuple[Any, ...] = ()
        self._around: Around = nothing_around
        self._probe: tuple[nn.Module, WeightProbe] | None = None
        self._mark: tuple[int, list[torch.Tensor]] | None = None  # of the weights after the last update that was seen

    def begin(self, given: nn.Module, optimizers: Iterable[Any], around: Around, averages: Averages | None) -> None:
        """Tells of the host's training.

        Args:
            given: The host's model.
            optimizers: The host's; what they hold is what training changes.
            around: The host's precision context.
            averages: The host's own mechanism of averaging, if it has one.

        Raises:
            ValueError: If averages are wanted, and nothing is averaged.
            ScoringError: If they are not wanted, and the model is made of them.
        """
        self._optimizers, self._around = tuple(optimizers), around
        if self._weights == layout.AVERAGED:
            self.averages = averages_in(given, self._optimizers, averages)
        else:
            check_not_averaged(given)

    def model(self, given: nn.Module) -> nn.Module:
        """The model in what the host gives; looked for again when it gives another one.

        Raises:
            ScoringError: If it is not clear which one is meant.
        """
        if self.found is None or self._given is not given:
            self.found = trained_model(
                given,
                self._choose,
                optimizers=self._optimizers,
                whole=self._whole,
                width=self._width,
                around=self._around,
            )
            self._given = given
        return self.found.model

    def weights_to_score(self) -> AbstractContextManager[None]:
        """Shows the weights that rows are of, and puts back what was there. A collective on several ranks."""
        return agreed(self.averages) if self.averages is not None else training_weights(self._optimizers)

    def mark(self, given: nn.Module, step: int) -> None:
        """Marks the weights after an update, by which the last ones are recognised."""
        if self._mark is not None and self._mark[0] == step:
            return
        self._mark = None
        self._mark = (step, self._probe_of(given).take())

    def has_weights_of(self, given: nn.Module, step: int) -> bool:
        """Whether the model holds the weights that were marked at `step`, on this rank."""
        with training_weights(self._optimizers):
            if self._mark is None or self._mark[0] != step:
                return False
            return self._probe_of(given).matches(self.model(given), self._mark[1])

    def _probe_of(self, given: nn.Module) -> WeightProbe:
        model = self.model(given)
        if self._probe is None or self._probe[0] is not model:
            self._probe = (model, WeightProbe(model))
        return self._probe[1]
