"""The HTML of a report: a page, its style and its scripts in one file, and the data in it.

Nothing is loaded from anywhere: a content security policy in the page says so to the browser.
"""

import html
import json
from pathlib import Path

from .runs import Shown

_PAGE = Path(__file__).parent / "page"
_SCRIPTS = ("charts.js", "timeline.js", "figures.js", "tables.js", "designs.js", "scales.js",
            "main.js")


def page_of(shown: Shown, title: str) -> str:
    """Return the whole file.

    Parameters
    ----------
    shown
        What it shows.
    title
        Of the page.
    """
    data = json.dumps(shown.as_dict(), separators=(",", ":"), allow_nan=False)
    parts = {
        "title": html.escape(title),
        "style": (_PAGE / "report.css").read_text(),
        # "<" could end the element or begin a comment; JSON has it in strings only.
        "data": data.replace("<", "\\u003c"),
        "scripts": "".join((_PAGE / name).read_text() for name in _SCRIPTS),
    }
    text = (_PAGE / "report.html").read_text()
    head, *rest = text.split("{{")
    made = [head]
    for part in rest:
        name, _, after = part.partition("}}")
        made += [parts[name], after]
    return "".join(made)
