"""Ways to lose data, tried on purpose: kills, power cuts, full disks. `python -m tests.faults` runs the long form."""
