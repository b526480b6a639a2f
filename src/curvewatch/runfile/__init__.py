"""The run file: what is in it, writing it row by row, and reading it back as it stands.

In: token sets and observations. Out: `RunFile` to write, `Reader` to read, `Recorder` to write off the training thread.
Neighbours: `storage` makes its changes all or nothing; `analysis` works things out from it.
"""

from curvewatch.runfile.records import Counted, Row, RunPlan, SetRecord
from curvewatch.runfile.writer import RunFile

__all__ = ["Counted", "Row", "RunFile", "RunPlan", "SetRecord"]
