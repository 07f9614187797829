"""A report as one HTML file that needs no other."""

import base64
import re
from pathlib import Path

from markdown_it import MarkdownIt

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1500px; margin: 2em auto; padding: 0 1em; color: #222; }
p, ul, nav, pre { max-width: 1200px; }
table { border-collapse: collapse; margin: 1em 0; font-size: 13px; font-variant-numeric: tabular-nums; }
th, td { padding: .25em .6em; border-bottom: 1px solid #ddd; text-align: left; white-space: nowrap; }
td.prose { white-space: normal; min-width: 20em; max-width: 60em; overflow-wrap: anywhere; }
th { border-bottom: 2px solid #888; }
th:first-child, td:first-child { position: sticky; left: 0; background: #fff; }
tr:hover td { background: #f4f7fb; }
img { max-width: 100%; }
pre { background: #f6f6f6; padding: .8em; white-space: pre-wrap; overflow-wrap: anywhere; }
.wide { overflow-x: auto; }
@media (max-width: 700px) {
  img { max-width: none; width: 760px; }
  th:first-child, td:first-child { white-space: normal; overflow-wrap: anywhere; max-width: 9em; }
}
"""
PROSE = 60
"""From so many characters on a cell of a table is a text, which may be broken."""
_TYPES = {".png": "image/png", ".jpg": "image/jpeg"}


def to_html(markdown: str, root: Path) -> str:
    """Return the report, with the pictures that it shows, whose paths are below `root`, put into it."""
    body = MarkdownIt("commonmark", {"html": False}).enable("table").render(markdown)
    body = re.sub(r'src="([^":]+)"', lambda found: f'src="{_inlined(root / found[1])}"', body)
    body = body.replace("<table>", '<div class="wide" tabindex="0"><table>').replace("</table>", "</table></div>")
    body = body.replace("<p><img", '<p class="wide"><img')
    body = re.sub(rf"<td>(?=(?:(?!</td>).){{{PROSE}}})", '<td class="prose">', body)
    body = _with_contents(body)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>PurifIQA: defenses against attacks</title><style>{STYLE}</style></head><body>\n{body}</body></html>\n"
    )


def _with_contents(body: str) -> str:
    """Return the page with links to its sections below its title."""
    entries: list[str] = []

    def named(found: re.Match[str]) -> str:
        level, text = found.groups()
        link = f'<a href="#section-{len(entries)}">{text}</a>'
        entries.append(f"<br><b>{link}</b>" if level == "2" else f" · {link}")
        return f'<h{level} id="section-{len(entries) - 1}">{text}</h{level}>'

    body = re.sub(r"<h([23])>(.*?)</h\1>", named, body)
    return body.replace("</h1>", f"</h1>\n<nav>{''.join(entries).removeprefix('<br>')}</nav>", 1)


def _inlined(file: Path) -> str:
    return f"data:{_TYPES[file.suffix]};base64,{base64.b64encode(file.read_bytes()).decode()}"
