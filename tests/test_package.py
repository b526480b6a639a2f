"""The package as it is handed out: built, checked, and installed where nothing else of this project is."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

from tests.support.files import write

ROOT = Path(__file__).parents[1]
CODE = {"curvewatch": ROOT / "src" / "curvewatch", "curvewatch/integrations": ROOT / "integrations"}


def run(*command: object, cwd: Path | None = None) -> str:
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the sdist, and of the wheel that was built from it."""
    folder = tmp_path_factory.mktemp("built")
    copy = folder / "copy"  # setuptools leaves folders beside the code
    kept = run("git", "-C", ROOT, "ls-files", "--cached", "--others", "--exclude-standard").splitlines()
    for name in kept:
        source = ROOT / name
        if not source.is_file() or name.startswith(("tests/", "docs/")):
            continue
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).write_bytes(source.read_bytes())
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder / "dist", copy)
    return folder / "dist"


@pytest.fixture(scope="module")
def bare(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin of an environment that has the wheel, and of the development environment only what it depends on."""
    folder = tmp_path_factory.mktemp("bare")
    venv.create(folder, symlinks=True)
    python = folder / "bin" / "python"
    (wheel,) = built.glob("*.whl")
    run(sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", "--no-index", wheel)
    # A path in a .pth comes behind the environment's own packages, and the .pth files in it, such as that of an
    # editable installation, are not read.
    (own,) = (folder / "lib").glob("python*/site-packages")
    (own / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    where = run(python, "-c", "import curvewatch; print(curvewatch.__file__)", cwd=folder).strip()
    assert Path(where).is_relative_to(own), where
    return folder / "bin"


def test_checks_of_the_field(built: Path) -> None:
    run(sys.executable, "-m", "twine", "check", "--strict", *built.iterdir())
    run(sys.executable, "-m", "check_wheel_contents", *built.glob("*.whl"))


def test_every_file_of_the_code_is_in_it(built: Path) -> None:
    (wheel,), (sdist,) = built.glob("*.whl"), built.glob("*.tar.gz")
    expected = {
        f"{package}/{file.relative_to(folder)}"
        for package, folder in CODE.items()
        for file in folder.rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    assert any(name.endswith(".js") for name in expected)
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert names == expected
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"LICENSE", "README.md", "CHANGELOG.md", "CITATION.cff", "pyproject.toml"} <= names
    assert not [name for name in names if name.startswith("tests")]


def test_the_command_the_report_and_the_terminal_view(bare: Path, tmp_path: Path) -> None:
    path = tmp_path / "curves.h5"
    write(path, range(0, 60, 5))
    assert run(bare / "curvewatch", "--version", cwd=tmp_path).strip()
    assert "12" in run(bare / "curvewatch", "info", path, cwd=tmp_path)
    run(bare / "curvewatch", "report", path, "--output", "report.html", cwd=tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert "</html>" in page
    assert "plotly" in page.lower()
    assert "surprisal" in run(bare / "curvewatch", "watch", path, "--once", cwd=tmp_path)
    # The view itself, with its style sheet.
    view = f"""
import asyncio
from curvewatch.terminal.app import WatchApp

async def look():
    app = WatchApp({str(path)!r})
    async with app.run_test(size=(100, 40)) as pilot:
        await pilot.pause()
        assert app.stylesheet.rules_map, "no style sheet"
        app.exit()

asyncio.run(look())
"""
    run(bare / "python", "-c", view, cwd=tmp_path)


def test_the_integrations(bare: Path, tmp_path: Path) -> None:
    for host in ("transformers", "lightning"):
        run(bare / "python", "-c", f"from curvewatch.integrations.{host} import CurveWatchCallback", cwd=tmp_path)
