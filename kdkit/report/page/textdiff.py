"""Two texts as what they share and what only one of them has, token by token."""

from __future__ import annotations

import re

TOKENS = re.compile(r"\w+|\s+|[=!<>]=|&&|\|\||->|::|\*\*|//|[^\w\s]")
"""Words, names and numbers; white space; signs, those together that mean something together."""


def pieces(old: str, new: str) -> list[str]:
    """What is kept, gone and added, in turn: `[kept, gone, added, kept, gone, added, ..., kept]`.

    The pieces kept and gone are the old text, those kept and added the new one. White space between two changes is
    part of them, so that a reader is not shown scraps.

    Args:
        old: The text that is compared with.
        new: The text that is shown.
    """
    from cydifflib import SequenceMatcher

    ours, theirs = TOKENS.findall(old), TOKENS.findall(new)
    changes = SequenceMatcher(None, ours, theirs, autojunk=False).get_opcodes()
    found = [""]
    for place, (tag, i1, i2, j1, j2) in enumerate(changes):
        gone, added = "".join(ours[i1:i2]), "".join(theirs[j1:j2])
        if tag == "equal" and not (gone.isspace() and 0 < place < len(changes) - 1):
            found[-1] += gone
        elif len(found) > 1 and not found[-1]:
            found[-3] += gone
            found[-2] += added
        else:
            found += [gone, added, ""]
    return found
