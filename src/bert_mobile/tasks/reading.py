"""The examples of a task: find the files of a split, read them, give labels their names.

```python
dev = read_task(task("rte"), Path("glue_data"), "dev")
print(dev.describe())           # rte dev: RTE/dev.tsv, all 277 examples
for example in dev: ...         # as often as is liked; nothing is kept in memory
```
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bert_mobile.corpus.streams import COMPRESSIONS, open_stream
from bert_mobile.errors import InputError
from bert_mobile.labelled import (
    CLASS_KINDS,
    Example,
    LabelledFile,
    LabelledText,
    TaggedSentence,
    label_names,
    open_labelled,
)
from bert_mobile.labelled.lines import numbered_lines
from bert_mobile.labelled.names import is_position
from bert_mobile.labelled.places import DataFile
from bert_mobile.tasks.task import Layout, Task

HUB = "hub"
"""Given as data, it stands for the Hugging Face Hub."""

TENTH = 10

_DIGIT_FIRST = re.compile(r"(\d) (.*\S)")


@dataclass(frozen=True)
class Split:
    """A split of a task where it lies; every pass reads it anew."""

    task: Task
    name: str
    files: tuple[str, ...]
    """Paths or addresses."""
    layout: Layout

    @property
    def examples(self) -> int:
        """How many examples it should have."""
        return self.layout.examples or self.task.sizes[self.name]

    @property
    def is_whole(self) -> bool:
        """Whether it is all of the split; a figure of a part compares with no published one."""
        return self.layout.examples is None

    @property
    def is_labelled(self) -> bool:
        """Whether its files say what is right."""
        return self.layout.label is not None or not self.layout.texts

    def describe(self, count: int | None = None) -> str:
        """Say in one line what is read and how much of the whole it is.

        `count` is how many examples there were; without it, as many as there should be.
        """
        whole, there = self.task.sizes[self.name], self.examples if count is None else count
        much = f"all {whole:,}" if there == whole else f"{there:,} of {whole:,}"
        note = f"; {self.layout.note}" if self.layout.note else ""
        labels = "" if self.is_labelled else ", without labels"
        files = " and ".join(Path(file).name for file in self.files)
        return f"{self.task.name} {self.name}: {files}, {much} examples{labels}{note}"

    def __iter__(self) -> Iterator[Example]:
        """Read from the beginning.

        Raises `InputError`, naming file and line, where something is not as the task has it.
        """
        for number, (file, example) in enumerate(self._examples(self.layout.label)):
            if _taken(self.layout, number):
                yield self._named(file, example)

    def groups(self) -> Iterator[str]:
        """Yield the group of each example; raises `InputError` where the task has none."""
        if self.task.group is None:
            raise InputError(f"{self.task.name} has no groups", hint="see the table of tasks")
        for number, (_, example) in enumerate(self._examples(self.task.group)):
            if _taken(self.layout, number) and isinstance(example, LabelledText):
                yield (example.labels or ("",))[0]

    def _examples(self, label: str | None) -> Iterator[tuple[LabelledFile | None, Example]]:
        for path in self.files:
            if self.layout.digit_first:
                yield from ((None, text) for text in _digits_first(path))
                continue
            for inner in self.layout.inner or (None,):
                file = self._opened(path, label, inner)
                for example in file:
                    yield file, example

    def _opened(self, path: str, label: str | None, inner: str | None) -> LabelledFile:
        texts = self.layout.texts
        return open_labelled(
            path,
            self.task.kind,
            text=texts,
            label=label,
            split=inner,
            needs_labels=self.is_labelled,
            header=not any(map(is_position, texts)) if texts else None,
            skip_unlabelled=self.is_labelled and bool(self.task.dropped),
            skip_short_rows=self.layout.skip_short_rows,
        )

    def _named(self, file: LabelledFile | None, example: Example) -> Example:
        """Give labels the names that the task has for them."""
        if isinstance(example, TaggedSentence) and example.tags and self.layout.iob1:
            example = replace(example, tags=bio2(example.tags))
        if not isinstance(example, LabelledText) or not example.labels:
            return example
        names = tuple(self.task.written.get(label, label) for label in example.labels)
        known = self.task.labels
        if known is not None and not set(names) <= set(known):
            place = f"{Path(self.files[0]).name}, line {example.line}"
            if file is not None:
                place = file.place(example)
            raise InputError(
                f"{place}: label {names[0]!r}, expected one of {', '.join(known)}",
                hint=f"is this the data of {self.task.name}? {self.task.source} has it",
            )
        return replace(example, labels=names)


def read_task(task: Task, data: str | Path, split: str) -> Split:
    """Return a split of a task: labelled examples, to be gone through again and again.

    `data` is the folder of the data, in the form of the official download or of the collection
    that the table knows, one of its files, or `HUB`. Raises `InputError` where the split is not
    there, and names the files that it may lie in.
    """
    if split not in task.sizes:
        raise InputError(
            f"{task.name} has no split {split!r}, expected one of {', '.join(task.sizes)}",
            hint=f"its model is trained as {task.trained_as}" if task.trained_as else "name one",
        )
    if str(data) == HUB:
        return _on_hub(task, split)
    for layout in task.layouts.get(split, ()):
        files = [_found(Path(data), task.folder, file) for file in layout.files]
        if all(files):
            return Split(task, split, tuple(str(file) for file in files), layout)
    wanted = [" with ".join(layout.files) for layout in task.layouts.get(split, ())]
    where = "beside the Hub" if not wanted else f"expected {' or '.join(wanted)}"
    raise InputError(
        f"{data} has no {split} split of {task.name}, {where}",
        hint=f"see {task.source}" + (", or read it from the Hub" if task.hub else ""),
    )


def splits_of(task: Task, data: str | Path) -> tuple[str, ...]:
    """Return the splits of a task that are there."""
    found = []
    for split in task.sizes:
        try:
            read_task(task, data, split)
        except InputError:
            continue
        found.append(split)
    return tuple(found)


def labels_of(task: Task, data: str | Path) -> tuple[str, ...]:
    """Return the labels of a task in the order of a model's outputs.

    Where the table does not name them they are those of all labelled splits that are there, so that
    a label which only the test set has is counted wrong rather than refused. Raises `InputError`
    where there are no such splits.
    """
    if task.labels is not None:
        return task.labels
    found: set[str] = set()
    for split in splits_of(task, data):
        examples = read_task(task, data, split)
        if examples.is_labelled:
            found.update(label_names(examples))
    if not found and task.kind in CLASS_KINDS:
        read_task(task, data, "train")  # says what is missing
        raise InputError(f"{data} has no labels of {task.name}", hint=f"see {task.source}")
    return tuple(sorted(found))


def bio2(tags: Sequence[str]) -> tuple[str, ...]:
    """Return IOB1 tags as BIO2: every entity begins with `B-`. BIO2 stays as it is."""
    before = "O"
    found = []
    for tag in tags:
        begins = tag.startswith("I-") and before[2:] != tag[2:]
        found.append(f"B-{tag[2:]}" if begins else tag)
        before = tag
    return tuple(found)


def _on_hub(task: Task, split: str) -> Split:
    if task.hub is None or split not in task.hub.files:
        raise InputError(
            f"{task.name} {split} is not on the Hugging Face Hub in a form that is read here",
            hint=f"download it from {task.source} and name its folder",
        )
    hidden = task.submission is not None and split == "test"
    layout = Layout((task.hub.files[split],), task.hub.texts, None if hidden else task.hub.label)
    return Split(task, split, (task.hub.address(split),), layout)


def _found(data: Path, folder: str, name: str) -> Path | None:
    """Return the file of that name, compressed or not, below `data`; `data` may be the file."""
    relative = Path(name)
    if data.is_file():
        plain = data.name.removesuffix(data.suffix) if data.suffix in COMPRESSIONS else data.name
        return data if plain == relative.name else None
    places = [data / folder / relative, data / relative]
    inner = Path(folder) / relative.parent
    if data.name and data.name == inner.name:
        places.append(data / relative.name)
    for place in places:
        for suffix in ("", *COMPRESSIONS):
            if (path := place.with_name(place.name + suffix)).is_file():
                return path
    return None


def _taken(layout: Layout, number: int) -> bool:
    """Tell whether a split takes the example of a number, from 0."""
    return layout.share == "all" or (number % TENTH == 0) == (layout.share == "tenth")


def _digits_first(path: str) -> Iterator[LabelledText]:
    """Yield the examples of a file of lines such as `3 a charming film .`, in Latin-1."""
    place = Path(path)
    file = DataFile(path, place.name, place.stat().st_size, "txt")
    with open_stream(path) as stream:
        for number, line in numbered_lines(stream.plain, file, "latin-1"):
            parts = _DIGIT_FIRST.fullmatch(line.rstrip("\r\n"))
            if parts is None:
                raise file.error(
                    number, None, "no label and text, expected `3 a text`", "copy the file again"
                )
            yield LabelledText(number, (parts[2],), (parts[1],), None)
