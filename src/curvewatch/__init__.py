"""curvewatch: watch every token of a fixed evaluation set being learned and forgotten during pretraining."""
