"""The live view of a run in a terminal: what has been read, how it is drawn, and the screen.

`follow` reads and knows no screen; `pace`, `chart` and `panels` make text of it; `plain` prints it once; `app` is the
screen. Only `app` and `widgets` need textual.
"""

from curvewatch.terminal.follow import Follower
from curvewatch.terminal.state import Forgotten, Often, State

__all__ = ["Follower", "Forgotten", "Often", "State"]
