"""What predicts learning: the second half of Chang, Tu & Bergen (2024).

Comes in: runs of one token set, n-grams of the training text, contextual diversity, labels. Goes out: regressions of
each measure, as tables and in words.
"""

from curvewatch.analysis.predict.prediction import Prediction, predict
from curvewatch.analysis.predict.predictors import Predictors, predictors_of

__all__ = ["Prediction", "Predictors", "predict", "predictors_of"]
