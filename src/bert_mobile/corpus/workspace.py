"""The working folder of a build: what one stage leaves for the next, and for a resumed attempt.

It is `.NAME.part` beside the corpus and holds, each file written by one task of one stage:

- `identity.json`: sources, settings, libraries, tokenizer; a resume must have the same;
- `spool/FFFFF-NNNNN.jsonl.zst`: records of a file that can be read from its beginning only;
- `tasks/STAGE-NNNNN.json`: the pieces of sources that a task reads;
- `prepared/NNNNN.SPLIT.jsonl.zst` and `prepared/NNNNN.marks.npy`: documents and fingerprints;
- `kept/NNNNN.npy` and `shards.json`: which documents are kept, and the shard of each;
- `results/STAGE-NNNNN.json`: counts;
- `engine/STAGE/`: the engine's own marks of finished tasks, and its logs;
- `corpus/`: what becomes the corpus.
"""

import json
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bert_mobile.corpus.pieces import Encoded
from bert_mobile.corpus.records import Piece
from bert_mobile.corpus.sources import SourceFile
from bert_mobile.errors import ArtifactError, InputError
from bert_mobile.files import begin_part, part_of, read_json, write_json
from bert_mobile.machine import own_peak_megabytes


@dataclass
class Counts:
    """What one task, or all of them together, read and left out."""

    records: int = 0
    plain_bytes: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    repaired: Counter[str] = field(default_factory=Counter)
    peak_megabytes: float = 0.0
    """Most memory of the process that ran it; of several, the largest."""

    def add(self, other: "Counts") -> None:
        """Take in the counts of another task."""
        self.records += other.records
        self.plain_bytes += other.plain_bytes
        self.dropped += other.dropped
        self.repaired += other.repaired
        self.peak_megabytes = max(self.peak_megabytes, other.peak_megabytes)


@dataclass(frozen=True)
class Settings:
    """What the tasks need to know; all of it shapes the corpus."""

    held_out: float
    text_field: str
    shard_bytes: int

    def __post_init__(self) -> None:
        """Refuse what makes no corpus."""
        if not 0 <= self.held_out < 1:
            raise InputError(f"held_out is {self.held_out}, expected 0 to below 1", hint="try 0.01")
        if self.shard_bytes < 1:
            raise InputError(
                f"shard_bytes is {self.shard_bytes}, expected 1 or more", hint="leave it out"
            )


@dataclass(frozen=True)
class Shard:
    """Where the documents of one shard are."""

    name: str
    """Such as `train-00000`."""
    split: str
    task: int
    """The first task that prepared any of them."""
    skip: int
    """Kept documents of that task and split that belong to the shard before."""
    documents: int
    bytes: int
    """Text in it, which measures the work."""


class Workspace:
    """Paths in a working folder, and the small files there."""

    def __init__(self, folder: Path) -> None:
        """Look at `folder`; nothing is made."""
        self.folder = folder
        self.corpus = folder / "corpus"
        self.index = folder / "duplicates.sqlite"
        self.settings_file = folder / "settings.json"

    @classmethod
    def begin(cls, out: Path) -> "Workspace":
        """Make the working folder of a corpus anew; an earlier attempt's is removed."""
        work = cls(begin_part(out))
        for name in ("spool", "tasks", "prepared", "kept", "results", "engine", "corpus"):
            (work.folder / name).mkdir()
        return work

    @classmethod
    def unfinished(cls, out: Path, identity: Mapping[str, Any]) -> "Workspace | None":
        """Return what an earlier attempt left, or None where it left nothing to go on with.

        Raises `InputError` where that attempt had another identity.
        """
        work = cls(part_of(out))
        if not work.corpus.is_dir():
            return None
        try:
            before = read_json(work.folder / "identity.json", "a build's identity")
        except ArtifactError:
            return None
        for name, value in json.loads(json.dumps(identity)).items():
            if before.get(name) != value:
                raise InputError(
                    f"the unfinished build of {out} was begun with other {name}",
                    hint="give the same as then, or leave out --resume to begin anew",
                )
        return work

    @staticmethod
    def is_unfinished(out: Path) -> bool:
        """Tell whether a build of `out` was broken off; encoding anew leaves nothing to keep."""
        return (part_of(out) / "identity.json").is_file()

    def has_finished_tasks(self) -> bool:
        """Tell whether any task of any stage is marked as finished."""
        return any(self.folder.glob("engine/*/completions/*"))

    def discard(self) -> None:
        """Remove the folder: nothing in it is worth going on with."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def identify(self, identity: Mapping[str, Any]) -> None:
        """Record what a resumed attempt must have in common with this one."""
        write_json(self.folder / "identity.json", identity)

    def write_settings(self, settings: Settings) -> None:
        """Tell all tasks."""
        write_json(self.settings_file, asdict(settings))

    def settings(self) -> Settings:
        """Return the settings of the build."""
        return Settings(**read_json(self.settings_file, "a build's settings"))

    def results(self, stage: str, task: int) -> Path:
        """Return where a task leaves its counts."""
        return self.folder / "results" / f"{stage}-{task:05d}.json"

    def write_counts(self, stage: str, task: int, counts: Counts) -> None:
        """Leave a task's counts, with the memory that its process took."""
        counts.peak_megabytes = own_peak_megabytes()
        write_json(self.results(stage, task), vars(counts))

    def counts(self, stage: str, task: int) -> Counts:
        """Return a finished task's counts."""
        found = read_json(self.results(stage, task), "a task's counts")
        maps = {name: Counter(found[name]) for name in ("dropped", "repaired")}
        return Counts(**(found | maps))

    def write_encoded(self, task: int, encoded: Encoded) -> None:
        """Leave what a shard holds."""
        write_json(self.results("encoded", task), asdict(encoded))

    def encoded(self, task: int) -> Encoded:
        """Return what a shard holds."""
        return Encoded(**read_json(self.results("encoded", task), "what a shard holds"))

    def write_tasks(self, stage: str, tasks: Sequence[Sequence[Piece]]) -> None:
        """Say what each task of a stage reads."""
        for task, pieces in enumerate(tasks):
            text = json.dumps([asdict(piece) for piece in pieces])
            self._task(stage, task).write_text(text, encoding="utf-8")

    def pieces(self, stage: str, task: int) -> list[Piece]:
        """Return what a task reads."""
        text = self._task(stage, task).read_text(encoding="utf-8")
        return [
            Piece(**(piece | {"file": SourceFile(**piece["file"])})) for piece in json.loads(text)
        ]

    def prepared_tasks(self) -> int:
        """Return how many tasks the stage that prepares documents has."""
        return len(list((self.folder / "tasks").glob("prepare-*.json")))

    def _task(self, stage: str, task: int) -> Path:
        return self.folder / "tasks" / f"{stage}-{task:05d}.json"

    def spool_part(self, task: int, part: int) -> Path:
        """Return one part of a spooled file."""
        return self.folder / "spool" / f"{task:05d}-{part:05d}.jsonl.zst"

    def spool_parts(self, task: int) -> list[Path]:
        """Return all parts of a spooled file in order."""
        return sorted((self.folder / "spool").glob(f"{task:05d}-*.jsonl.zst"))

    def text(self, task: int, split: str) -> Path:
        """Return the documents of one split that a task prepared."""
        return self.folder / "prepared" / f"{task:05d}.{split}.jsonl.zst"

    def marks(self, task: int) -> Path:
        """Return the fingerprints of the documents that a task prepared."""
        return self.folder / "prepared" / f"{task:05d}.marks.npy"

    def kept(self, task: int) -> Path:
        """Return which documents of a task are kept."""
        return self.folder / "kept" / f"{task:05d}.npy"

    def write_shards(self, shards: Sequence[Shard]) -> None:
        """Say which shards there are."""
        write_json(self.folder / "shards.json", {"shards": [asdict(shard) for shard in shards]})

    def shards(self) -> list[Shard]:
        """Return all shards, those of one split together."""
        found = read_json(self.folder / "shards.json", "a build's list of shards")
        return [Shard(**shard) for shard in found["shards"]]
