"""The documentation site: `make docs` builds it into site/, and each warning ends the build.

Why Sphinx with MyST and autodoc (as torchmetrics and arviz; zarr and optimistix take Material for MkDocs, which ends in
May 2027): it is maintained, it checks links, anchors and references by itself, and it imports what it describes, so the
public paths are those that people import from. Formulas are MathML, which every browser draws by itself; of the pages
only the one with a drawing (docs/architecture.md) asks another server for a script, Mermaid.
"""

from __future__ import annotations

import logging
from importlib.metadata import version as version_of
from typing import Any

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml

project = "curvewatch"
author = "the curvewatch authors"
version = release = version_of("curvewatch")

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "sphinxcontrib.mermaid",
]
root_doc = "index"
exclude_patterns = ["site"]

# Pages are Markdown as it is shown in a repository, too.
myst_enable_extensions = ["dollarmath", "amsmath"]
myst_fence_as_directive = ["mermaid"]
myst_heading_anchors = 3
myst_update_mathjax = False

# The menu (docs/index.md) takes whatever page a folder has; that one has none yet is no fault. Sphinx gives this
# warning no type by which `suppress_warnings` could name it.
logging.getLogger("sphinx.sphinx.directives.other").addFilter(
    lambda record: "didn't match any documents" not in record.getMessage()
)

# Docstrings are Google's, with `code` between single backticks.
default_role = "code"
napoleon_numpy_docstring = False
napoleon_use_ivar = True
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True}
autodoc_typehints_format = "short"
maximum_signature_line_length = 88
python_use_unqualified_type_names = True
toc_object_entries_show_parents = "hide"

# A name of ours that is not on the site is a fault. Those of other packages are not looked up: that needs a network.
nitpicky = True
nitpick_ignore_regex = [("py:.*", r"(?!curvewatch\b).*")]
# Parts of ours that a public object holds, and that nobody makes or asks for.
nitpick_ignore = [
    ("py:class", "curvewatch.corpus.resuming.Resume"),
    ("py:class", "curvewatch.corpus.sources.Corpus"),
    ("py:class", "curvewatch.runfile.reader._Open"),
    ("py:class", "curvewatch.scoring.survey.Survey"),
    ("py:class", "curvewatch.storage.journal.JournaledFile"),
    ("py:class", "curvewatch.watch.training_counts.TrainingCounts"),
]

html_math_renderer = "mathml"
html_theme = "furo"
html_title = f"curvewatch {release}"
html_static_path: list[str] = []
html_copy_source = False
html_show_sourcelink = False


def setup(app: Any) -> None:
    """What Sphinx has no setting for."""
    app.connect("autodoc-process-signature", _shown)
    app.add_html_math_renderer("mathml", (_inline_formula, None), (_formula, None))


def _shown(_app: Any, _what: str, _name: str, _item: Any, _options: Any, signature: str | None, returns: Any) -> Any:
    """A default that a dataclass makes anew each time has no value to show: `...` can be parsed, `<factory>` can't."""
    return (signature or "").replace("<factory>", "...") or None, returns


def _inline_formula(translator: Any, node: nodes.math) -> None:
    translator.body.append(tex2mathml(node.astext()))
    raise nodes.SkipNode


def _formula(translator: Any, node: nodes.math_block) -> None:
    translator.body.append(f'<div class="math">{tex2mathml(node.astext(), as_block=True)}</div>')
    raise nodes.SkipNode
