"""The committed corpus: a few small inputs of each target, one file each.

`sample-NN` are bytes that are taken, `answer-NN` inputs of other answers: `make` writes both
anew, always the same. `found-HASH` were findings once; nobody but a person deletes them.
"""

from __future__ import annotations

from hashlib import blake2b
from pathlib import Path

from tests.fuzz.running import Keeper, fuzz
from tests.fuzz.target import Target

FOLDER = Path(__file__).with_name("corpus")
MOST_FILES = 12
MOST_BYTES = 2048
_SEARCHED = 4_000
_SAMPLES = 6
# What shows an answer can nearly always be short; samples may be as long as they are.
_SHORT = 400


def read(target: str, folder: Path = FOLDER) -> dict[Path, bytes]:
    """Every file of a target, in order of names."""
    return {path: path.read_bytes() for path in sorted((folder / target).glob("*-*"))}


def seeds(target: Target, folder: Path = FOLDER) -> list[bytes]:
    """What a run begins with: fresh samples and the files, each once."""
    return list(dict.fromkeys([*target.samples(), *read(target.name, folder).values()]))


def make(target: Target, folder: Path = FOLDER) -> int:
    """Write the corpus of a target anew, all but what was found; how many files it has."""
    place = folder / target.name
    place.mkdir(parents=True, exist_ok=True)
    for old in [*place.glob("sample-*"), *place.glob("answer-*")]:
        old.unlink()
    samples = sorted((s for s in target.samples() if len(s) <= MOST_BYTES), key=len)[:_SAMPLES]
    files = {f"sample-{at:02}": data for at, data in enumerate(samples)}
    run = fuzz(target, samples, runs=_SEARCHED, seed=1)
    others = sorted((data for data in run.kept if len(data) <= _SHORT), key=len)
    some = others[:: max(1, len(others) // (MOST_FILES - len(files)))]
    files |= {f"answer-{at:02}": data for at, data in enumerate(some[: MOST_FILES - len(files)])}
    for name, data in files.items():
        (place / name).write_bytes(data)
    return len(files)


def keeper(target: str, folder: Path = FOLDER) -> Keeper:
    """Keeps findings of a target as files; gives the path of each."""

    def keep(data: bytes) -> Path:
        path = folder / target / f"found-{blake2b(data, digest_size=6).hexdigest()}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return path

    return keep
