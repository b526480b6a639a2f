"""Watch: joins the rooms, with one verb. It decides when, scores, records, shows, and keeps trouble from training.

In: a model, at every step. Out: rows of the run file, live metrics. Also a run file from old checkpoints.
Neighbours: everything below it in the house; the hosts' callbacks call it.
"""

from curvewatch.watch.watch import Watch

__all__ = ["Watch"]
