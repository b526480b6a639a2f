"""Prints the lower bounds that pyproject.toml declares, as constraints for pip: `h5py>=3.14` becomes `h5py==3.14`.

What `docs`, `test` and `dev` ask for is left out: those are this project's own tools, not what its users install.
"""

from __future__ import annotations

import re
from pathlib import Path

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10: pip brings the same module along
    from pip._vendor import tomli as tomllib

PROJECT = Path(__file__).resolve().parents[1] / "pyproject.toml"
OWN_TOOLS = ("docs", "test", "dev")
BOUND = re.compile(r"([A-Za-z0-9._-]+)(?:\[[^\]]*\])?>=([0-9.]+)")


def lowest(project: dict) -> list[str]:
    """The constraints, one for each package that the project or an extra for users names."""
    extras = project["optional-dependencies"]
    named = project["dependencies"] + [one for extra in extras if extra not in OWN_TOOLS for one in extras[extra]]
    found = {}
    for requirement in named:
        if requirement.startswith(project["name"] + "["):
            continue  # another extra of this project
        bound = BOUND.fullmatch(requirement)
        if bound is None:
            raise SystemExit(f"pyproject.toml: {requirement!r} is no lower bound of the form name>=version")
        found[bound[1]] = bound[2]
    return [f"{name}=={version}" for name, version in found.items()]


if __name__ == "__main__":
    print(*lowest(tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]), sep="\n")
