"""Where metrics go: Weights & Biases, the host's own loggers, any function; and report and file at the end.

In: `Metrics` of `live`, the report of `analysis`. Out: calls of a tracker, each on its own axis of steps.
Neighbours: `watch` and the hosts' callbacks choose the sinks; a sink that fails never stops training.
"""
