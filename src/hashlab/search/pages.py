"""What was found, as one page of HTML that needs nothing else: pictures are in it, and it opens
offline, in light and dark.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

STYLE = """\
:root { color-scheme: light dark; --paper: #fff; --ink: #1d1f24; --soft: #5d636f; --line: #dfe2e8; --mark: #c2410c;
  --empty: #e9ebf0; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #16181d; --ink: #e8eaee; --soft: #a0a7b4; --line: #30343d; --mark: #fb923c; --empty: #2a2e37; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 80rem; padding: 1.5rem 1.25rem 3rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.45 system-ui, sans-serif; }
h1 { margin: 0 0 .25rem; font-size: 1.5rem; }
h2 { margin: 0 0 .75rem; font-size: 1.05rem; overflow-wrap: anywhere; }
p { margin: 0; color: var(--soft); }
section { margin-top: 1.5rem; padding-top: 1.25rem; border-top: 1px solid var(--line); }
ul { display: grid; grid-template-columns: repeat(auto-fill, minmax(8.5rem, 1fr)); gap: 1.1rem .9rem; margin: 0;
  padding: 0; list-style: none; }
figure { margin: 0; }
img, .none { display: block; width: 100%; aspect-ratio: 1; object-fit: cover; border-radius: .4rem;
  background: var(--empty); }
.none { display: grid; place-items: center; color: var(--soft); font-size: .8rem; }
.asked img, .asked .none { outline: 3px solid var(--mark); outline-offset: 2px; }
.asked figcaption { margin-top: 1.3rem; }
figcaption { margin-top: .4rem; font-size: .8rem; overflow-wrap: anywhere; }
figcaption b { font-size: .95rem; }
figcaption span { display: block; color: var(--soft); }
svg { display: block; width: 100%; height: .55rem; margin-top: .35rem; background: var(--empty); border-radius: 2px; }
svg path { fill: var(--mark); }
"""


@dataclass(frozen=True)
class Picture:
    """One picture of a page.

    Attributes:
        name: what stands below it.
        source: an address for `src`, such as `data:image/jpeg;base64,…`; None where there is none.
        note: what is said of it in words, such as its distance.
        labels: what is known of it.
        differing: the bits, of `bits`, in which its code differs from the first one's; None where
            that is not to be shown.
        asked: whether it is what was asked for.
    """

    name: str
    source: str | None
    note: str = ""
    labels: str = ""
    differing: Sequence[int] | None = None
    bits: int = 0
    asked: bool = False


def page(title: str, about: str, sections: Sequence[tuple[str, Sequence[Picture]]]) -> str:
    """A page with a heading and pictures in each section; all text is escaped."""
    body = "\n".join(_section(heading, pictures) for heading, pictures in sections)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<style>
{STYLE}</style>
</head>
<body>
<h1>{escape(title)}</h1>
<p>{escape(about)}</p>
{body}
</body>
</html>
"""


def _section(heading: str, pictures: Sequence[Picture]) -> str:
    items = "\n".join(f"<li>{_figure(picture)}</li>" for picture in pictures)
    return f"<section>\n<h2>{escape(heading)}</h2>\n<ul>\n{items}\n</ul>\n</section>"


def _figure(picture: Picture) -> str:
    name = escape(picture.name)
    shown = '<div class="none">no picture</div>'
    if picture.source is not None:
        shown = f'<img src="{escape(picture.source)}" alt="{name}" loading="lazy">'
    words = [f"<b>{escape(picture.note)}</b>"] if picture.note else []
    words += [f"<span>{escape(picture.labels)}</span>"] if picture.labels else []
    kind = ' class="asked"' if picture.asked else ""
    caption = f"<figcaption>{''.join(words)}<span>{name}</span></figcaption>"
    return f"<figure{kind}>{shown}{_strip(picture)}{caption}</figure>"


def _strip(picture: Picture) -> str:
    """The differing bits as marks on a strip of all bits."""
    if picture.differing is None:
        return ""
    marks = "".join(f"M{bit} 0h1v1h-1z" for bit in picture.differing)
    words = f"{len(picture.differing)} of {picture.bits} bits differ"
    view = f'viewBox="0 0 {picture.bits} 1" preserveAspectRatio="none"'
    return f'<svg {view} role="img" aria-label="{words}"><path d="{marks}"/></svg>'
