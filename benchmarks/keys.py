"""Made-up customer keys, always the same ones, as the inputs of soak and benchmarks."""

import random
import uuid
from collections.abc import Iterator
from pathlib import Path


def made_up_keys(count: int) -> Iterator[str]:
    """Different keys, 36 characters each."""
    chance = random.Random(3)
    for _ in range(count):
        yield str(uuid.UUID(int=chance.getrandbits(128)))


def write_csv(path: Path, count: int) -> Path:
    """An input with a header and so many rows."""
    with path.open("w") as file:
        file.write("customerKey\n")
        file.writelines(f"{key}\n" for key in made_up_keys(count))
    return path
