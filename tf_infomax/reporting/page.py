"""One self-contained page of HTML: text, tables and pictures, nothing to fetch."""

import base64
import html
import re
from collections.abc import Sequence
from pathlib import Path

from tf_infomax.runtime.files import replacing

_STYLE = """\
:root { color-scheme: light dark; --line: #8884; --soft: #8882; --warn: #c60; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 68rem; margin: 0 auto;
  padding: 1rem 1.2rem 4rem; }
h1 { font-size: 1.6rem; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; margin-top: 2.2rem; border-bottom: 1px solid var(--line); }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .7rem; border-bottom: 1px solid var(--line); }
th { text-align: left; font-weight: 600; }
td + td, th + th { text-align: right; white-space: nowrap; }
table.words td + td, table.words th + th { text-align: left; white-space: normal; }
table.words td { min-width: 8rem; }
table.probes :is(td, th):nth-child(2) { text-align: left; }
table.counts td, table.counts th { padding: .2rem .4rem; text-align: right; border: 0; }
img, svg { max-width: 100%; height: auto; background: #fff; border-radius: 4px; }
pre { background: var(--soft); padding: .8rem; border-radius: 4px; overflow-x: auto; }
.warning { border-left: 4px solid var(--warn); padding-left: .8rem; }
.sheet { display: flex; flex-wrap: wrap; gap: .6rem; padding: .8rem 0;
  border-bottom: 1px solid var(--line); }
figure { margin: 0; width: 8rem; }
figure img { display: block; width: 8rem; }
figure.query img { outline: 3px solid var(--warn); }
figcaption { font-size: .8rem; line-height: 1.3; overflow: hidden;
  text-overflow: ellipsis; }
.note { opacity: .8; font-size: .9rem; }
"""


def write_page(path: Path, title: str, parts: Sequence[str]) -> None:
    """Writes the page; `parts` are what the functions below return."""
    head = (
        "<!doctype html>\n<html lang=en>\n<meta charset=utf-8>\n"
        '<meta name=viewport content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(title)}</title>\n<style>\n{_STYLE}</style>\n"
    )
    body = f"<h1>{html.escape(title)}</h1>\n" + "".join(parts)
    with replacing(path) as file:
        text = f"{head}<body>\n{body}</body>\n</html>\n"
        # Names of files may hold bytes that are no text.
        file.write_bytes(text.encode("utf-8", "backslashreplace"))


def heading(text: str) -> str:
    return f"<h2>{html.escape(text)}</h2>\n"


def paragraph(text: str, kind: str = "") -> str:
    """A paragraph; `kind` may be "warning" or "note"."""
    attribute = f" class={kind}" if kind else ""
    return f"<p{attribute}>{html.escape(text)}</p>\n"


def listing(items: Sequence[str]) -> str:
    if not items:
        return ""
    return (
        "<ul>\n"
        + "".join(f"<li>{html.escape(item)}</li>\n" for item in items)
        + "</ul>\n"
    )


def code(text: str) -> str:
    """Text as it is typed."""
    return f"<pre>{html.escape(text)}</pre>\n"


def table(head: Sequence[str], rows: Sequence[Sequence[str]], kind: str = "") -> str:
    """A table; numbers stand at the right but in one of `kind` "words"."""
    cells = lambda row, tag: "".join(f"<{tag}>{html.escape(c)}</{tag}>" for c in row)
    lines = [f"<tr>{cells(head, 'th')}</tr>"]
    lines += [f"<tr>{cells(row, 'td')}</tr>" for row in rows]
    attribute = f" class={kind}" if kind else ""
    return (
        f"<div class=wide><table{attribute}>\n"
        + "\n".join(lines)
        + "\n</table></div>\n"
    )


def counts(names: Sequence[str], rows: Sequence[Sequence[int]]) -> str:
    """A square table of counts, darker where a row has more of its own."""
    lines = ["<tr><th></th>" + "".join(f"<th>{html.escape(n)}</th>" for n in names)]
    for name, row in zip(names, rows, strict=True):
        total = max(1, sum(row))
        cells = "".join(
            f'<td style="background: rgb(31 119 180 / {0.75 * each / total:.2f})">'
            f"{each}</td>"
            for each in row
        )
        lines.append(f"<tr><th>{html.escape(name)}</th>{cells}")
    return (
        "<div class=wide><table class=counts>\n"
        + "\n".join(lines)
        + "\n</table></div>\n"
    )


def picture(path: Path, what: str) -> str:
    """A file .png or .svg inside the page; nothing where there is none.

    Args:
        path: of the file; of one that is there as .svg too, this is taken.
        what: it shows, for those who do not see it.
    """
    drawing = path.with_suffix(".svg")
    if drawing.exists():
        text = drawing.read_text(encoding="utf-8")
        text = text[text.index("<svg") :]
        drawn = _own_names(text, path.stem)
        return f"<div role=img aria-label={_quote(what)}>{drawn}</div>\n"
    if not path.exists():
        return ""
    content = base64.b64encode(path.read_bytes()).decode()
    source = f"data:image/png;base64,{content}"
    return f"<img alt={_quote(what)} src={_quote(source)}>\n"


def thumbnail(jpeg: str, name: str, below: str = "", kind: str = "") -> str:
    """An image of a `sheet`.

    Args:
        jpeg: its bytes in base 64; empty: there is none.
        name: of the image, which stands below it.
        below: a second line.
        kind: "query" for a frame.
    """
    attribute = f" class={kind}" if kind else ""
    source = _quote(f"data:image/jpeg;base64,{jpeg}")
    shown = f"<img alt={_quote(name)} src={source}>" if jpeg else "<p>no image</p>"
    text = "<br>".join(html.escape(line) for line in (name, below) if line)
    return (
        f"<figure{attribute}>{shown}<figcaption title={_quote(name)}>{text}"
        "</figcaption></figure>\n"
    )


def sheet(thumbnails: Sequence[str]) -> str:
    """Thumbnails side by side."""
    return f"<div class=sheet>\n{''.join(thumbnails)}</div>\n"


def _own_names(svg: str, stem: str) -> str:
    """The drawing with names of its own: a page may hold several."""
    svg = re.sub(r'\bid="', f'id="{stem}-', svg)
    return re.sub(r'(href="#|url\(#)', rf"\g<1>{stem}-", svg)


def _quote(text: str) -> str:
    return f'"{html.escape(text)}"'
