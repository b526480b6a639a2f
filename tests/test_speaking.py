"""What is said through `logging` names its sender, and is said once."""

from __future__ import annotations

import logging
import subprocess
import sys

import pytest

import curvewatch
from tests.support.process import environment

SAY = "import logging, curvewatch\nlogger = logging.getLogger('curvewatch')\n"
WARN = "logger.warning('set %s is empty', 'web')\n"


def said(code: str) -> str:
    """What a fresh interpreter prints to stderr."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, env=environment())
    assert done.returncode == 0, done.stderr
    return done.stderr


def test_without_configured_logging_the_sender_is_named() -> None:
    assert said(SAY + WARN) == "curvewatch: set web is empty\n"
    assert said(SAY + "logger.info('a detail')") == ""
    trace = said(SAY + "try: 1 / 0\nexcept Exception as error: logger.error('scoring failed', exc_info=error)")
    assert trace.startswith("curvewatch: scoring failed\nTraceback")
    assert "ZeroDivisionError" in trace


def test_a_real_warning_names_its_sender() -> None:
    code = "from curvewatch.runfile import recorder\nrecorder.logger.error('rows wait')"
    assert said(code) == "curvewatch: rows wait\n"


@pytest.mark.parametrize("when", ["before", "after"])
def test_where_the_application_configures_logging_nothing_is_doubled(when: str) -> None:
    configure = "logging.basicConfig(format='%(levelname)s %(name)s %(message)s')\n"
    code = "import logging\n" + (configure + SAY if when == "before" else SAY + configure) + WARN
    assert said(code) == "WARNING curvewatch set web is empty\n"


def test_a_handler_on_our_logger_is_the_only_one_to_speak() -> None:
    own = "handler = logging.StreamHandler()\nlogger.addHandler(handler)\nlogger.propagate = False\n"
    assert said(SAY + own + WARN) == "set web is empty\n"


def test_without_propagation_the_roots_handler_does_not_count() -> None:
    code = SAY + "logging.basicConfig(format='root %(message)s')\nlogger.propagate = False\n" + WARN
    assert said(code) == "curvewatch: set web is empty\n"


@pytest.mark.parametrize("gone", ["sys.stderr = io.StringIO()\nsys.stderr.close()", "sys.stderr = None"])
def test_where_todays_stderr_is_gone_it_is_said_to_the_process(gone: str) -> None:
    assert said(SAY + f"import io, sys\n{gone}\n" + WARN) == "curvewatch: set web is empty\n"


def test_nowhere_to_speak_stops_nothing() -> None:
    code = SAY + "import sys\nsys.stderr.close()\n" + WARN + "sys.__stderr__ = sys.stderr = None\nprint('goes on')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, env=environment())
    assert (done.returncode, done.stdout) == (0, "goes on\n")


def test_imported_twice_it_speaks_once() -> None:
    again = "import importlib, sys\ndel sys.modules['curvewatch.speaking']\nimportlib.reload(curvewatch)\n"
    assert said(SAY + again + WARN) == "curvewatch: set web is empty\n"


def test_pytest_hears_it(caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]) -> None:
    assert curvewatch.__version__
    logging.getLogger("curvewatch").warning("heard")
    assert caplog.messages == ["heard"]
    assert "curvewatch: heard" not in capsys.readouterr().err


ANNOUNCE = "from curvewatch.speaking import announce\nimport logging\n"


def test_what_everybody_should_see_is_seen_without_configured_logging() -> None:
    say = "announce('watching %s', 'lm')"
    assert said(SAY + ANNOUNCE + say) == "curvewatch: watching lm\n"
    assert said(SAY + ANNOUNCE + "logging.basicConfig()\n" + say) == ""
    assert said(SAY + ANNOUNCE + "logging.basicConfig(level='INFO', format='%(message)s')\n" + say) == "watching lm\n"
    assert said(SAY + ANNOUNCE + "logger.setLevel('ERROR')\n" + say) == ""
