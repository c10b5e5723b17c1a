"""What data sets of installed packages share: which packages, how modules are split, how many rows are drawn."""

from __future__ import annotations

import gc
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar

import attrs
from attrs import validators

from kdkit.api import Corpus, Drop, not_negative, one_of, option, share
from kdkit.errors import UsageError
from kdkit_assertions.installed import origin_of
from kdkit_assertions.splits import ByModule, ByPackage, drop, sample, without_repeats

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from kdkit.api import Example, Origin, SplitName
    from kdkit_assertions.mining import Skipped


def _top_level_names(_: object, field: attrs.Attribute[Any], value: tuple[str, ...]) -> None:
    for name in value:
        if not name.isidentifier():
            raise ValueError(f'{field.name}: "{name}" is not the import name of a top-level package')


def _among_packages(data_set: PackageOptions, field: attrs.Attribute[Any], value: tuple[str, ...]) -> None:
    for name in value:
        if name not in data_set.packages:
            raise ValueError(f'{field.name}: "{name}" is not in packages, which are {list(data_set.packages)}')


@attrs.frozen(kw_only=True)
class PackageOptions:
    """The options of data sets that are read from installed packages."""

    only_with: ClassVar[dict[tuple[str, str], tuple[str, ...]]] = {
        ("split_by", "module"): ("test_share",),
        ("split_by", "package"): ("validation_packages", "test_packages"),
    }
    """Which options count only while another one has a certain value."""

    packages: tuple[str, ...] = option(
        "Import names of the packages that are read, without importing them.",
        default=("sympy", "networkx"),
        check=validators.and_(validators.min_len(1), _top_level_names),
    )
    split_by: str = option(
        "Unit that goes as a whole to train, validation or test: a module or a package.",
        default="module",
        check=one_of("module", "package"),
    )
    validation_share: float = option("Share of the modules for validation.", default=0.1, check=share)
    test_share: float = option(
        "With split_by module: share of the modules held out for the test split.", default=0.1, check=share
    )
    validation_packages: tuple[str, ...] = option(
        "With split_by package: packages for validation; by default, validation_share of the other packages' modules.",
        default=(),
        check=_among_packages,
    )
    test_packages: tuple[str, ...] = option(
        "With split_by package: packages held out for the test split; by default, the validation rows are scored.",
        default=(),
        check=_among_packages,
    )
    split_salt: str = option("Any text; another one gives another split and another choice of rows.", default="")
    train_rows: int = option("Most training rows, drawn over all modules; 0 for all.", default=0, check=not_negative)
    validation_rows: int = option("Most validation rows, drawn likewise; 0 for all.", default=0, check=not_negative)
    test_rows: int = option("Most test rows, drawn likewise; 0 for all.", default=0, check=not_negative)

    def __attrs_post_init__(self) -> None:
        """Refuse an option that another one leaves without effect."""
        fields = attrs.fields_dict(type(self))
        for (choice, wanted), names in self.only_with.items():
            chosen = getattr(self, choice)
            for name in names:
                if chosen != wanted and getattr(self, name) != fields[name].default:
                    raise UsageError(
                        f'{name} has an effect only with {choice} = "{wanted}", but {choice} is "{chosen}"; '
                        f"remove {name} or change {choice}"
                    )

    def origins(self) -> Sequence[Origin]:
        """The packages, each with the licence that it declares."""
        return [origin_of(package) for package in self.packages]

    def division(self) -> ByModule | ByPackage:
        """Which module goes where."""
        by_module = ByModule(
            validation_share=self.validation_share,
            test_share=self.test_share if self.split_by == "module" else 0.0,
            salt=self.split_salt,
        )
        if self.split_by == "module":
            return by_module
        return ByPackage(
            validation_packages=frozenset(self.validation_packages),
            test_packages=frozenset(self.test_packages),
            otherwise=by_module,
        )

    def corpus(self, rows: Mapping[SplitName, Sequence[Example]], skipped: Skipped, origin: str) -> Corpus:
        """The corpus of the rows that were mined.

        Repeats go, and rows that a held-out module has word for word as well; then rows are drawn.

        Args:
            rows: The rows of each split.
            skipped: What was left out.
            origin: What they come from, for an error: "the tests of".

        Raises:
            UsageError: There is no usable row in train or in validation.
        """
        drops = [drop(reason, where) for reason, where in skipped.items()]
        test = without_repeats(rows["test"], held_out=())
        validation = without_repeats(rows["validation"], held_out=rows["test"])
        train = without_repeats(rows["train"], held_out=(*rows["validation"], *rows["test"]))
        corpus = Corpus(
            train=sample(train.rows, self.train_rows, salt=self.split_salt),
            validation=sample(validation.rows, self.validation_rows, salt=self.split_salt),
            test=sample(test.rows, self.test_rows, salt=self.split_salt),
            drops=(*drops, *_joined(train.drops, validation.drops, test.drops)),
        )
        for name in ("train", "validation"):
            if not corpus.split(name):
                raise UsageError(
                    f"{origin} {', '.join(self.packages)} give no usable row for {name}; change the "
                    "shares or packages in [data], or relax its limits"
                )
        return corpus


@contextmanager
def collector_paused() -> Iterator[None]:
    """No garbage collection meanwhile: syntax trees hold no cycles, and searching them for some doubles the time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _joined(*drops: Sequence[Drop]) -> list[Drop]:
    """Drops of several splits, one for each reason."""
    merged: dict[str, Drop] = {}
    for one in (one for split in drops for one in split):
        other = merged.get(one.reason, Drop(reason=one.reason, count=0))
        first = (*other.first, *one.first)[:3]
        merged[one.reason] = Drop(reason=one.reason, count=other.count + one.count, first=first)
    return list(merged.values())
