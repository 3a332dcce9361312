"""What a page says."""

from __future__ import annotations

import time

import pytest

from lmrun.tools.http.html_text import html_to_text


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("plain", "plain"),
        ("a &lt;b&gt; &amp;amp; c", "a <b> &amp; c"),
        ("<title>T</title><body>one<br>two<br/>three</body>", "T\none\ntwo\nthree"),
        ("<p>a  <b>bold</b>\n text<p>b", "a bold\ntext\nb"),
        ("<ul><li>a</li><li>b</ul>", "a\nb"),
        ("<SCRIPT src=x>alert(1)</Script >after", "after"),
        ("<script>if (a</b>c) '</scrip'</script>after", "after"),
        ("<style>p { }</style><svg><text>x</text></svg>after", "after"),
        ("before<script>never ends", "before"),
        ("before<!-- never ends > <p>x", "before"),
        ("a<!-- <p>x</p> -->b<!doctype html><?php x ?>c", "abc"),
        ("<a href='javascript:x' onclick=y>link</a>", "link"),
        ("1 < 2 << 3 <", "1 < 2 << 3 <"),
        ("<<p>x<</p>y<", "<\nx<\ny<"),
        ("before<p", "before"),
        ("</p></>x", "x"),
        ("", ""),
    ],
)
def test_text_is_left_and_markup_is_not(html: str, text: str) -> None:
    assert html_to_text(html) == text


@pytest.mark.parametrize(
    "piece",
    [
        "<",
        "<!",
        "<!--",
        "<!-- -->",
        "<a ",
        "<a>",
        "</",
        "<?",
        "<script>",
        "<script></script>",
        "&",
        "&#",
        "&lt",
        ">",
    ],
)
@pytest.mark.parametrize("end", ["", ">", "-->", "</script>"])
def test_no_page_takes_long(piece: str, end: str) -> None:
    page = piece * (2**18 // len(piece)) + end
    begun = time.process_time()
    html_to_text(page)
    assert time.process_time() - begun < 3
