"""Whether damage to a model's folder is ever taken for a model.

    python benchmarks/corruption.py [FOLDER…] [--copies 10000] [--seed 0]

Without a folder a micro model of every kind is made here: a float checkpoint, a quantized folder,
and an export to every target that is installed. In copies of each, one file that the loader reads
is damaged (bits flipped, cut short, whole numbers overwritten, bytes put in or behind, two files
swapped, one emptied), and `bert_mobile.load` is asked for it in a process of its own, a batch of
copies at a time: a process that dies is a crash. The last line is one JSON document; the exit
status is 1 where anything was accepted or crashed.
"""

import argparse
import json
import platform
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

BATCH = 250
"""Copies that one process tries."""

LOADER = """\
import sys, warnings
from bert_mobile import load
from bert_mobile.errors import BertMobileError
warnings.simplefilter("ignore")
for line in sys.stdin:
    try:
        load(line.strip(), threads=1)
    except BertMobileError as error:
        print("refused", flush=True)
    except Exception as error:
        print("crashed", type(error).__name__, flush=True)
    else:
        print("accepted", flush=True)
"""
"""What a process does: a folder a line comes in, a verdict a line goes out."""

Damage = Callable[[random.Random, bytes], bytes]


def flipped(chance: random.Random, data: bytes) -> bytes:
    """Flip one to eight bits."""
    spoiled = bytearray(data)
    for _ in range(chance.randint(1, 8)):
        spoiled[chance.randrange(len(spoiled))] ^= 1 << chance.randrange(8)
    return bytes(spoiled)


def truncated(chance: random.Random, data: bytes) -> bytes:
    """Cut the end off."""
    return data[: chance.randrange(len(data))]


def overwritten(chance: random.Random, data: bytes) -> bytes:
    """Write a whole number over 1, 2, 4 or 8 bytes: an extreme one, or any."""
    width = min(chance.choice((1, 2, 4, 8)), len(data))
    place = chance.randrange(len(data) - width + 1)
    most = (1 << 8 * width) - 1
    number = chance.choice((0, 1, most, most >> 1, chance.randint(0, most)))
    return data[:place] + number.to_bytes(width, "little") + data[place + width :]


def inserted(chance: random.Random, data: bytes) -> bytes:
    """Put up to sixteen bytes in somewhere, or behind."""
    place = chance.choice((len(data), chance.randrange(len(data) + 1)))
    return data[:place] + chance.randbytes(chance.randint(1, 16)) + data[place:]


def emptied(chance: random.Random, data: bytes) -> bytes:
    """Keep the length, but of zeros."""
    del chance
    return bytes(len(data))


DAMAGES: tuple[Damage, ...] = (flipped, flipped, truncated, overwritten, overwritten, inserted)


def spoil(folder: Path, names: list[str], chance: random.Random) -> tuple[str, str]:
    """Damage one file, or swap two; return the damage's name and the file's."""
    name = chance.choice(names)
    path = folder / name
    data = path.read_bytes()
    kind = chance.randrange(len(DAMAGES) + 2)
    if kind == len(DAMAGES):
        other = chance.choice([each for each in names if each != name])
        path.write_bytes((folder / other).read_bytes())
        (folder / other).write_bytes(data)
        return "swapped", name
    damage = emptied if kind > len(DAMAGES) else DAMAGES[kind]
    spoiled = damage(chance, data)
    if spoiled == data:  # the number that stood there: try another
        return spoil(folder, names, chance)
    path.write_bytes(spoiled)
    return damage.__name__, name


def read_by_the_loader(folder: Path) -> list[str]:
    """Return the files of a folder that loading it reads: not the card, reports and pages."""
    from bert_mobile.checkpoint import PROVENANCE, WEIGHTS
    from bert_mobile.runtime.engines import ENGINES
    from bert_mobile.tokenizer import TOKENIZER_FILES

    known = ["config.json", *TOKENIZER_FILES, PROVENANCE, WEIGHTS]
    known += [name for engine in ENGINES for name in (engine.place, *engine.beside)]
    return [name for name in known if (folder / name).is_file()]


def verdicts(folders: list[Path]) -> list[str]:
    """Load folders in a process; one that dies is replaced, and the folder it died of crashed."""
    found: list[str] = []
    while len(found) < len(folders):
        lines = "\n".join(str(folder) for folder in folders[len(found) :])
        done = subprocess.run(
            [sys.executable, "-c", LOADER],
            input=lines, capture_output=True, text=True, check=False,
        )  # fmt: skip
        found += done.stdout.split("\n")[:-1]
        if done.returncode:
            found.append(f"crashed status {done.returncode}")
    return found[: len(folders)]


def attack(folder: Path, copies: int, seed: int) -> dict[str, Counter[str]]:
    """Spoil copies of a folder; return the verdicts of each damage."""
    names = read_by_the_loader(folder)
    chance = random.Random(f"{seed} {folder.name}")
    counts: dict[str, Counter[str]] = {}
    for start in range(0, copies, BATCH):
        with tempfile.TemporaryDirectory() as scratch:
            done = []
            for number in range(start, min(start + BATCH, copies)):
                copy = shutil.copytree(folder, Path(scratch) / str(number))
                done.append((copy, *spoil(copy, names, chance)))
            for (_, damage, name), verdict in zip(
                done, verdicts([d[0] for d in done]), strict=True
            ):
                counts.setdefault(damage, Counter())[verdict] += 1
                if verdict != "refused":
                    print(f"{folder.name}: {name} {damage}: {verdict}")
    return counts


def make_micro_models(out: Path) -> list[Path]:
    """Make one small model of every kind: float, quantized, and every target that is installed."""
    import numpy as np

    from bert_mobile.checkpoint import expected_shapes, write_checkpoint
    from bert_mobile.export import TARGETS, export
    from bert_mobile.model.config import BertConfig
    from bert_mobile.quantize import quantize
    from bert_mobile.tokenizer import SPECIAL_TOKENS, bert_wordpiece, save_tokenizer

    letters = "abcdefghijklmnopqrstuvwxyz"
    pieces = [*SPECIAL_TOKENS, *letters, *(f"##{letter}" for letter in letters), ".", ","]
    (out / "tokenizer").mkdir()
    save_tokenizer(bert_wordpiece({piece: i for i, piece in enumerate(pieces)}), out / "tokenizer")
    config = BertConfig(1, 64, 2, 64, vocab_size=len(pieces), max_position_embeddings=32)
    rng = np.random.default_rng(0)
    weights = {
        name: rng.normal(0, 0.1, shape).astype(np.float32)
        for name, shape in expected_shapes(config).items()
    }
    (out / "float").mkdir()
    write_checkpoint(out / "float", config, weights, out / "tokenizer", {"parents": []})
    quantize(out / "float", out / "quantized", max_bytes=70_000)
    found = [out / "float", out / "quantized"]
    for target in TARGETS.values():
        if target.missing is None and target.name != "coreml":  # which runs on macOS only
            export(out / "quantized", target.name, out / target.name)
            found.append(out / target.name)
    return found


def main() -> None:
    """Attack, print a table, then JSON."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folders", nargs="*", type=Path)
    parser.add_argument("--copies", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as scratch:
        folders = given.folders or make_micro_models(Path(scratch))
        if set(verdicts(folders)) != {"accepted"}:
            sys.exit("a folder that nobody touched is refused")
        shares = [given.copies // len(folders)] * len(folders)
        shares[0] += given.copies - sum(shares)
        results = {
            folder.name: attack(folder, share, given.seed)
            for folder, share in zip(folders, shares, strict=True)
        }
    total: Counter[str] = Counter()
    for name, counts in results.items():
        for damage, found in sorted(counts.items()):
            print(f"{name:12} {damage:12} {dict(found)}")
            total.update({verdict.split()[0]: number for verdict, number in found.items()})
    found = {verdict: total[verdict] for verdict in ("refused", "accepted", "crashed")}
    record = {
        "copies": given.copies, "seed": given.seed, **found, "kinds": list(results),
        "seconds": round(time.perf_counter() - began, 1), "python": platform.python_version(),
        "openvino": find_spec("openvino") is not None,
    }  # fmt: skip
    print(json.dumps(record))
    sys.exit(1 if found["accepted"] or found["crashed"] else 0)


if __name__ == "__main__":
    main()
