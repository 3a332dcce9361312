"""What a web page says, without its markup. Pure; it takes linear time, whatever the page holds."""

from __future__ import annotations

import re
from html import unescape

_MARK = re.compile(r"<(?=[A-Za-z/!?])")
_TAG = re.compile(r"<(/?)([A-Za-z][A-Za-z0-9-]*)")
_ENDS = {
    name: re.compile(rf"</{name}", re.IGNORECASE)
    for name in ("script", "style", "svg", "template", "textarea", "iframe")
}
"""Elements that say nothing, by where they end."""
_BLOCKS = {
    *("address", "article", "aside", "blockquote", "br", "dd", "div", "dl", "dt", "figcaption"),
    *("footer", "form", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hr", "li", "main", "nav"),
    *("ol", "p", "pre", "section", "table", "td", "th", "title", "tr", "ul"),
}


def html_to_text(html: str) -> str:
    """Its text, one block a line. Attributes, comments and scripts are left out; of a page that
    ends inside one of these, what comes after its beginning."""
    lines = (" ".join(line.split()) for line in unescape("".join(_pieces(html))).split("\n"))
    return "\n".join(line for line in lines if line)


def _pieces(html: str) -> list[str]:
    """Texts, and ends of lines. Each search goes on from where the last one ended; one that finds
    nothing is the last, so that no part is looked at twice."""
    pieces: list[str] = []
    here = 0
    while (found := _MARK.search(html, here)) is not None:
        mark = found.start()
        pieces.append(html[here:mark])
        tag = _TAG.match(html, mark)
        if html.startswith("<!--", mark):
            end, length = html.find("-->", mark + 4), 3
        else:
            end, length = html.find(">", mark), 1
        if end < 0:
            return pieces
        here = end + length
        if tag is None:
            continue
        name = tag[2].lower()
        if name in _BLOCKS:
            pieces.append("\n")
        if name in _ENDS and not tag[1] and html[end - 1] != "/":
            closing = _ENDS[name].search(html, here)
            if closing is None:
                return pieces
            here = closing.start()
    pieces.append(html[here:])
    return pieces
