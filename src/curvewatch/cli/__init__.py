"""The command `curvewatch`.

Exit codes: 0 all is well; 1 something is wrong with the data, or it can't be read or written; 2 wrong usage.
"""

from __future__ import annotations

import sys


def main() -> None:
    """Runs the command; says how to get what it needs if that is missing."""
    try:
        from curvewatch.cli.app import app
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("curvewatch"):
            raise
        sys.stderr.write(
            f"error: the command needs {error.name}, which is not installed. Install it with: "
            "pip install 'curvewatch[analysis]'\n"
        )
        raise SystemExit(1) from None
    app()
