"""Which images go when space is short: a pure function of what is stored and when it was last used."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Holding:
    """One stored image. `own_bytes` leaves out its environment, which others may share; times are Unix seconds."""

    reference: str
    environment_key: str
    own_bytes: int
    used_at: float


@dataclass(frozen=True)
class Inventory:
    """All stored images, and the size of every stored environment in bytes."""

    images: Sequence[Holding]
    environments: Mapping[str, int]

    @property
    def total_bytes(self) -> int:
        """What everything takes together."""
        return sum(image.own_bytes for image in self.images) + sum(self.environments.values())

    @property
    def shared_by(self) -> Mapping[str, int]:
        """How many images stand on each environment."""
        return Counter(image.environment_key for image in self.images)


@dataclass(frozen=True)
class Removal:
    """What is to be removed, and how many bytes that frees. Images go before environments."""

    images: tuple[str, ...]
    environments: tuple[str, ...]
    freed_bytes: int


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
    last image. Images in `in_use` and their environments stay, and so do the `pinned` environments, which unfinished
    builds may be about to use, even if that leaves more than `low_bytes`.
    """
    shared = Counter(inventory.shared_by)
    total = inventory.total_bytes
    if total <= high_bytes:
        return Removal((), (), 0)
    images: list[str] = []
    removable = inventory.environments.keys() - set(pinned)
    environments = [key for key in inventory.environments if key in removable and not shared[key]]
    total -= sum(inventory.environments[key] for key in environments)
    for image in sorted(inventory.images, key=lambda image: image.used_at):
        if total <= low_bytes:
            break
        if image.reference in in_use:
            continue
        images.append(image.reference)
        total -= image.own_bytes
        shared[image.environment_key] -= 1
        if not shared[image.environment_key] and image.environment_key in removable:
            environments.append(image.environment_key)
            total -= inventory.environments[image.environment_key]
    return Removal(tuple(images), tuple(environments), inventory.total_bytes - total)
