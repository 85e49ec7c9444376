"""Sphinx's settings for the website (`python course.py run site`); helpers/site.py prepares what it reads."""

from pathlib import Path

import jupyter_server_mathjax

from helpers.site import link_docstring

project = "Build a language model from nothing"
html_title = project
language = "en"
extensions = ["myst_nb", "sphinx.ext.autodoc"]

nb_execution_mode = "off"  # the outputs that a reader sees are those that were saved, and that the tests compare
nb_ipywidgets_js = {}  # live panels are shown as the picture that was saved with them
myst_enable_extensions = ["dollarmath", "html_image"]
myst_dmath_double_inline = True
myst_heading_anchors = 4
myst_update_mathjax = False  # it knows MathJax 3 only
suppress_warnings = ["myst.header"]  # "### Recall" may follow a title at once

default_role = "py:obj"  # `names` in docstrings are links where there is something to link to
nitpicky = True
nitpick_ignore_regex = [("py:.*", r"(?!helpers\.).*")]
add_module_names = False
toc_object_entries_show_parents = "hide"

html_theme = "sphinx_book_theme"
html_static_path = ["static", str(Path(jupyter_server_mathjax.__file__).parent / "static")]
html_css_files = ["course.css"]
html_js_files = ["course.js"]
html_context = {"default_mode": "auto"}
html_domain_indices = html_use_index = False
html_show_copyright = html_show_sphinx = False
html_favicon = "static/favicon.svg"
html_theme_options = {"use_fullscreen_button": False, "show_toc_level": 2, "navbar_persistent": [], "footer_content_items": []}
mathjax_path = "MathJax.js"
mathjax2_config = {
    "config": ["TeX-AMS-MML_HTMLorMML-full.js"],
    "HTML-CSS": {
        "availableFonts": [],
        "webFont": "STIX-Web",
        "imageFont": None,
        "styles": {"@font-face": {"font-family": "MathJax_Blank", "src": "local('none')"}},  # as shipped, a failing request
    },
    "tex2jax": {"processClass": "math"},  # nothing but what MyST took for a formula
    "messageStyle": "none",
}


def setup(app):
    """Connect what helpers/site.py adds."""
    app.connect("autodoc-process-docstring", link_docstring)
