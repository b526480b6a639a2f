"""`python -m curvewatch.cli`."""

from curvewatch.cli import main

main()
