"""Which images go when space is short: a pure function of what is stored and when it was last used."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Holding:
    """One stored image. `own_bytes` leaves out its environment, which others may share; times are Unix seconds.

    One that is `away` is in a registry alone, and its bytes are those of its layers there.
    """

    reference: str
    environment_key: str
    own_bytes: int
    used_at: float
    away: bool = False


@dataclass(frozen=True)
class Inventory:
    """All stored images, and the bytes that every stored environment has on top of its base.

    `bases` are what environments stand on, and their bytes; `below` says of an environment, or of another base, on
    which. Those `in_demand` are what the next environment will be made on.
    """

    images: Sequence[Holding]
    environments: Mapping[str, int]
    bases: Mapping[str, int] = field(default_factory=dict)
    below: Mapping[str, str] = field(default_factory=dict)
    in_demand: Collection[str] = ()

    @property
    def total_bytes(self) -> int:
        """What everything takes together."""
        return sum(image.own_bytes for image in self.images) + self.size(self.environments) + self.size(self.bases)

    @property
    def shared_by(self) -> Mapping[str, int]:
        """How many images stand on each environment."""
        return Counter(image.environment_key for image in self.images)

    def size(self, names: Collection[str]) -> int:
        """The bytes of these environments or bases together."""
        return sum(self.environments.get(name, 0) + self.bases.get(name, 0) for name in names)

    def idle_bases(self, environments: Collection[str]) -> list[str]:
        """The bases that nothing needs when only these environments are there."""
        needed = set[str]()
        pending = [*self.in_demand, *(self.below[key] for key in environments if key in self.below)]
        while pending:
            if (name := pending.pop()) not in needed:
                needed.add(name)
                pending += [self.below[name]] if name in self.below else []
        return [name for name in self.bases if name not in needed]


@dataclass(frozen=True)
class Removal:
    """What is to be removed, and how many bytes that frees. Images go before environments, these before bases."""

    images: tuple[str, ...]
    environments: tuple[str, ...]
    freed_bytes: int
    bases: tuple[str, ...] = ()


def removals(
    inventory: Inventory,
    in_use: Collection[str],
    *,
    high_bytes: int,
    low_bytes: int,
    pinned: Collection[str] = (),
) -> Removal:
    """What to remove once more than `high_bytes` are taken, until at most `low_bytes` are.

    Environments that no image stands on go first, then the images that were used longest ago, each environment with its
    last image, and each base with the last environment on it. Images in `in_use` and their environments stay, and so do
    the `pinned` environments, which unfinished builds may be about to use, even if that leaves more than `low_bytes`.
    """
    total = inventory.total_bytes
    if total <= high_bytes:
        return Removal((), (), 0)
    shared = Counter(inventory.shared_by)
    removable = inventory.environments.keys() - set(pinned)
    environments = [key for key in inventory.environments if key in removable and not shared[key]]
    below, own, images = _freed(inventory, environments), 0, list[str]()
    for image in sorted(inventory.images, key=lambda image: image.used_at):
        if total - below - own <= low_bytes:
            break
        if image.reference in in_use:
            continue
        images.append(image.reference)
        own += image.own_bytes
        shared[image.environment_key] -= 1
        if not shared[image.environment_key] and image.environment_key in removable:
            environments.append(image.environment_key)
            below = _freed(inventory, environments)
    return Removal(tuple(images), tuple(environments), below + own, tuple(_idle(inventory, environments)))


def _idle(inventory: Inventory, gone: Collection[str]) -> list[str]:
    return inventory.idle_bases(inventory.environments.keys() - set(gone))


def _freed(inventory: Inventory, environments: Sequence[str]) -> int:
    """The bytes of these environments, and of the bases that nothing needs without them."""
    return inventory.size(environments) + inventory.size(_idle(inventory, environments))
