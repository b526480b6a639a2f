"""What an accelerator must show: `python -m tests.gpu` runs every part on one card and leaves one folder of results.

Each part is a module with `run(place, report)`; on a CPU it runs in a small form, which the tests do. Comes in: a
device. Goes out: checks that hold or fail, figures, and what could not be run here and why.
"""
