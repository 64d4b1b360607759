"""A hook of mkdocs: the marks by which docstrings name other code (:func:`x`) do not show on the pages."""

from __future__ import annotations

import re


def on_page_content(html: str, **_: object) -> str:
    return re.sub(r":(?:func|class|meth|mod|attr):(?=<code>)", "", html)
