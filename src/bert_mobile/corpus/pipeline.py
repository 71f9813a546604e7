"""The stages of a build one after the other, and the sum of what they count."""

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bert_mobile.corpus import plan, stages
from bert_mobile.corpus.records import Piece
from bert_mobile.corpus.sources import SourceFile
from bert_mobile.corpus.workspace import Counts, Workspace
from bert_mobile.errors import InputError

if TYPE_CHECKING:
    from bert_mobile.corpus.engine import Engine


class Pipeline:
    """Does in a working folder what is not done there yet."""

    def __init__(self, work: Workspace, engine: "Engine", dropped: Counter[str]) -> None:
        """Begin the counts with what is `dropped` already."""
        self.totals = Counts(dropped=Counter(dropped))
        """Of all tasks."""
        self.fresh = Counts()
        """Of those that this attempt did."""
        self.tasks_kept = 0
        """Those that an earlier attempt did."""
        self.most_tasks = 0
        """That this attempt did in one stage; no more workers were of use."""
        self._work = work
        self._engine = engine

    def from_sources(self, files: Sequence[SourceFile], check: Callable[[], None]) -> None:
        """Read, clean, split, deduplicate and encode.

        `check` is called once the files have been read. Raises `InputError` where nothing is left.
        """
        cut = [plan.cut(file) for file in files]
        whole = [file for file, pieces in zip(files, cut, strict=True) if pieces is None]
        self._read("spool", stages.spool_file, "read", [[Piece(f, bytes=f.bytes)] for f in whole])
        parts = (plan.parts(f, self._work.spool_parts(i)) for i, f in enumerate(whole))
        ordered = [next(parts) if pieces is None else pieces for pieces in cut]
        tasks = plan.grouped(piece for pieces in ordered for piece in pieces)
        self._read("prepare", stages.prepare_pieces, "clean and split", tasks)
        check()
        marks = sum(self._work.marks(task).stat().st_size for task in range(len(tasks)))
        self._run("deduplicate", stages.find_duplicates, "deduplicate", [marks])
        shards = self._work.shards()
        if not any(shard.split == "train" for shard in shards):
            self._work.discard()
            self._refuse_empty(sum(shard.documents for shard in shards))
        self._encode(stages.write_shard)

    def from_texts(self) -> None:
        """Encode the text shards that are there."""
        self._encode(stages.encode)

    def _encode(self, function: Callable[[Path, int], None]) -> None:
        self._run("encode", function, "encode", [shard.bytes for shard in self._work.shards()])

    def _read(
        self,
        name: str,
        function: Callable[[Path, int], None],
        label: str,
        tasks: Sequence[Sequence[Piece]],
    ) -> None:
        self._work.write_tasks(name, tasks)
        self._run(name, function, label, [sum(p.bytes for p in pieces) for pieces in tasks])

    def _run(
        self, name: str, function: Callable[[Path, int], None], label: str, sizes: Sequence[int]
    ) -> None:
        from bert_mobile.corpus.engine import Stage, run_stage

        if not sizes:
            return
        stage = Stage(name, function, label, [size / 1e6 for size in sizes])
        done = set(run_stage(stage, self._work.folder, self._engine))
        self.tasks_kept += len(sizes) - len(done)
        self.most_tasks = max(self.most_tasks, len(done))
        for task in range(len(sizes)):
            counts = self._work.counts(name, task)
            self.totals.add(counts)
            if task in done:
                self.fresh.add(counts)

    def _refuse_empty(self, held_out: int) -> None:
        if held_out:
            raise InputError(
                f"all documents that are left ({held_out}) are held out, none is for training",
                hint="give more documents, or a smaller --held-out",
            )
        drops = ", ".join(f"{count} {reason}" for reason, count in self.totals.dropped.items())
        raise InputError(
            f"no document is left of {self.totals.records} read (dropped: {drops or 'none'})",
            hint="give sources with English prose of two sentences or more a document",
        )
