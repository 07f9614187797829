"""A report as one HTML file that needs no other."""

import base64
import re
from pathlib import Path

from markdown_it import MarkdownIt

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1200px; margin: 2em auto; padding: 0 1em; color: #222; }
table { border-collapse: collapse; margin: 1em 0; font-size: 13px; font-variant-numeric: tabular-nums; }
th, td { padding: .25em .6em; border-bottom: 1px solid #ddd; text-align: left; white-space: nowrap; }
td:last-child { white-space: normal; }
th { border-bottom: 2px solid #888; position: sticky; top: 0; background: #fff; }
tr:hover td { background: #f4f7fb; }
img { max-width: 100%; }
pre { background: #f6f6f6; padding: .8em; white-space: pre-wrap; }
.wide { overflow-x: auto; }
"""
_TYPES = {".png": "image/png", ".jpg": "image/jpeg"}


def to_html(markdown: str, root: Path) -> str:
    """Return the report, with the pictures that it shows, whose paths are below `root`, put into it."""
    body = MarkdownIt("commonmark").enable("table").render(markdown)
    body = re.sub(r'src="([^":]+)"', lambda found: f'src="{_inlined(root / found[1])}"', body)
    body = body.replace("<table>", '<div class="wide"><table>').replace("</table>", "</table></div>")
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>PurifIQA: defenses against attacks</title>'
        f"<style>{STYLE}</style></head><body>\n{body}</body></html>\n"
    )


def _inlined(file: Path) -> str:
    return f"data:{_TYPES[file.suffix]};base64,{base64.b64encode(file.read_bytes()).decode()}"
