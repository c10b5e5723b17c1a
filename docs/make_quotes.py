"""Fills in what the pages quote from files: `python docs/make_quotes.py`. A test refuses pages whose quotes are old.

A fence after the line `<!-- file PATH -->` holds that file. One after `<!-- sections PATH: data tokens -->` holds
those tables of a TOML file; `start` is what stands before the first, but for the file's opening comment.
"""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
QUOTE = re.compile(
    r"(?P<opening><!-- (?P<what>file|sections) (?P<path>[^\s:]+)(?:: (?P<names>[\w ]+))? -->\n```\w*\n).*?^```$",
    re.DOTALL | re.MULTILINE,
)
HEADER = re.compile(r"\[+(\w+)")


def filled(page: str) -> str:
    """The page with every quote as its file is now."""
    return QUOTE.sub(lambda match: f"{match['opening']}{_quoted(match)}\n```", page)


def sections(toml: str) -> dict[str, str]:
    """The text of each top-level table of a TOML file, by name, with its subtables; `start` comes before the first."""
    parts: dict[str, list[str]] = {"start": []}
    name, opening = "start", True
    for line in toml.splitlines():
        header = HEADER.match(line)
        name = header[1] if header else name
        opening = opening and (line.startswith("#") or not line)
        if not opening:
            parts.setdefault(name, []).append(line)
    return {name: "\n".join(lines).strip() for name, lines in parts.items()}


def pages() -> list[Path]:
    """Every page that is written by hand."""
    written = [ROOT / "README.md", *ROOT.glob("docs/**/*.md"), *ROOT.glob("plugins/*/README.md")]
    return sorted(page for page in written if page.name not in {"options.md", "report.md"})  # which are made


def _quoted(match: re.Match[str]) -> str:
    text = (ROOT / match["path"]).read_text(encoding="utf-8")
    if match["what"] == "file":
        return text.strip()
    return "\n\n".join(sections(text)[name] for name in match["names"].split())


if __name__ == "__main__":
    for path in pages():
        text = path.read_text(encoding="utf-8")
        if filled(text) != text:
            path.write_text(filled(text), encoding="utf-8")
