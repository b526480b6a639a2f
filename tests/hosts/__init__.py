"""The matrix of hosts: in each, every row is that of the weights that were training at that very step."""
