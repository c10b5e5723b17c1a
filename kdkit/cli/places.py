"""Places on the command line: folders, and URLs where a command takes them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from kdkit.errors import UsageError

if TYPE_CHECKING:
    import click


def place_of(text: str) -> Path | str:
    """A folder or a URL."""
    from kdkit.system.url import is_url

    return text.rstrip("/") if is_url(text) else Path(text)


def folder_of(_context: click.Context, _parameter: click.Parameter, text: str) -> Path:
    """A folder. A callback and no type: of a type's ValueError, which a UsageError is, click hides the message.

    Raises:
        UsageError: It is a URL.
    """
    from kdkit.system.url import is_meant_as_url

    place = place_of(text)
    if isinstance(place, str) or is_meant_as_url(place):
        raise UsageError(
            f"{text} is a URL, but this command needs a folder; fetch the cache with `kdkit cache fetch URL`, "
            "and send your result to a URL with `kdkit cache push FOLDER URL`"
        )
    return place


def folders_of(context: click.Context, parameter: click.Parameter, texts: tuple[str, ...]) -> tuple[Path, ...]:
    """Folders, as `folder_of`."""
    return tuple(folder_of(context, parameter, text) for text in texts)


def url_of(_context: click.Context, _parameter: click.Parameter, text: str) -> str:
    """A URL, without slashes at its end.

    Raises:
        UsageError: It is none.
    """
    place = place_of(text)
    if isinstance(place, Path):
        raise UsageError(f"{text} is not a URL; give one that begins with a scheme such as s3:// or file://")
    return place
