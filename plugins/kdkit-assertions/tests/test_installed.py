"""Versions are those of the distributions that hold a package, also where these have another name."""

from __future__ import annotations

import importlib.metadata
from contextlib import suppress

import pytest

from kdkit_assertions.installed import origin_of, version_of


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def install(place, name, version, record="", top_level=None):
    info = place / f"{name}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (info / "RECORD").write_text(record)
    if top_level is not None:
        (info / "top_level.txt").write_text(top_level)


@pytest.mark.parametrize(
    ("record", "top_level"),
    [("other/__init__.py,,\nother/inner/x.py,,\n", None), ("other.py,,\n", None), ("a.pth,,\n", "more\nother\n")],
    ids=["a package", "a module", "declared"],
)
def test_a_distribution_of_another_name_is_found_once_it_is_installed(place, record, top_level):
    assert version_of("other") == ""
    install(place, "py-other", "1.5", record, top_level)
    assert version_of("other") == "1.5"


def test_a_distribution_of_the_same_name_comes_first(place):
    install(place, "py-other", "1.5", "other/__init__.py,,\n")
    install(place, "other", "2.0")
    assert version_of("other") == "2.0"


def test_what_is_installed_here_is_found_as_the_standard_library_finds_it():
    for package, (distribution, *_) in list(importlib.metadata.packages_distributions().items())[::9]:
        known = importlib.metadata.version(distribution)
        with suppress(importlib.metadata.PackageNotFoundError):
            known = importlib.metadata.version(package)
        assert version_of(package) == known, package


def test_a_package_has_the_licence_that_it_declares():
    found = origin_of("networkx")
    assert (found.of, found.said_by) == (f"networkx {version_of('networkx')}", "its metadata")
    assert "BSD" in found.licence
    assert origin_of("json").licence == "PSF-2.0"
    assert (origin_of("no_such_package").of, origin_of("no_such_package").licence) == ("no_such_package", "")
