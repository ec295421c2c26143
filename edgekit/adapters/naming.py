"""Where an adapter's modules lie in its base: under the same names, or with the encoder's prefix added or left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass

from edgekit.errors import BadAdapter


@dataclass(frozen=True)
class Naming:
    """Names in the merged model. `base_prefix` is put before all of the base's (a checkpoint of the bare encoder, and
    an adapter of the model with a head); `adapter_prefix` before the adapter's (the other way round).
    """

    base_prefix: str = ""
    adapter_prefix: str = ""

    def of_base(self, name: str) -> str:
        return self.base_prefix + name

    def of_adapter(self, name: str) -> str:
        return self.adapter_prefix + name


def naming(modules: Collection[str], stored: Collection[str], heads: Collection[str]) -> Naming:
    """The one under which each module has a weight among the `stored` names; `heads` need not be there.

    The plain naming where none fits: `require` then says what is missing.
    """
    wanted = [f"{module}.weight" for module in modules if module not in heads]
    names = set(stored)
    if all(name in names for name in wanted):
        return Naming()
    for prefix in _leading(wanted):
        inside = [name.removeprefix(prefix) for name in wanted if name.startswith(prefix)]
        if all(name in names for name in inside):
            return Naming(base_prefix=prefix)
    for prefix in _leading(names):
        if all(prefix + name in names for name in wanted):
            return Naming(adapter_prefix=prefix)
    return Naming()


def require(module: str, names: Collection[str], where: str, base: str) -> None:
    if f"{module}.weight" not in names:
        raise BadAdapter(
            f"{where} was made for another architecture: it changes {module}, which {base} does not have",
            "give the base that it was trained on with --base",
        )


def _leading(names: Collection[str]) -> list[str]:
    """The first parts of dotted names, with their dot, the most frequent one first."""
    counted = Counter(name.split(".", 1)[0] + "." for name in names if "." in name)
    return [prefix for prefix, _ in counted.most_common(4)]
