"""The page of a benchmark: the card's table with our rows, then every task by itself."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from bert_mobile.files import atomic_file
from bert_mobile.tasks.card_table import COLUMNS, CardTable, Result, card_table
from bert_mobile.tasks.table import TASKS

TABLE = "table.md"

Json = Mapping[str, Any]


def page(record: Json, beside: Sequence[Json] = ()) -> str:
    """Return the page of a record, and of records of other models in the same tables."""
    return "\n".join(_page(record, beside)) + "\n"


def _page(record: Json, beside: Sequence[Json]) -> Iterator[str]:
    yield f"# {record['name']} on its tasks"
    yield ""
    for command in record["commands"]:
        yield f"    {command}"
    yield ""
    yield _setting(record)
    yield ""
    yield "## Beside the published card"
    yield ""
    yield _beside_the_card([record, *beside]).markdown()
    yield "## Every task"
    yield ""
    for each in (record, *beside):
        yield from _every_task(each)
    if record["notes"]:
        yield "Notes:"
        yield ""
        yield from (f"- {note}" for note in record["notes"])


def _beside_the_card(records: Sequence[Json]) -> CardTable:
    """Return the card's table; what is said of a float row goes for the quantized one as well."""
    rows: dict[str, dict[str, Result]] = {}
    said = []
    for each in records:
        floats, quantized = float_row(each), quantized_row(each)
        if not floats:
            continue
        title = f"**{each['name']}**"
        seeds = sorted({len(found["seeds"]) for found in each["tasks"].values()})
        rows[title] = floats
        said.append(f"{title}: the median of {_spelled(seeds)} seed(s)")
        if quantized:
            most, runs = _quantized_runs(each)
            small = f"{title}, {most / 1e6:.1f} MB"
            rows[small] = quantized
            said.append(f"{small}: quantized{_how(each)}, the files themselves judged; {runs}")
    table = card_table(rows)
    small_ones = tuple(f"{title}{mark}" for title in rows if " MB" in title for mark in (",", ":"))
    kept = [note for note in table.notes if not note.startswith(small_ones)]
    return replace(table, notes=(*kept[:-2], *said, *kept[-2:]))


def float_row(record: Json) -> dict[str, Result]:
    """Return the row of the float models: medians over the seeds."""
    return {
        name: Result(
            found["figures"][_card_metric(name)]["median"], found["split"], found["disclosed"]
        )
        for name, found in record["tasks"].items()
        if name in COLUMNS
    }


def quantized_row(record: Json) -> dict[str, Result]:
    """Return the row of the quantized models."""
    return {
        name: Result(
            found["quantized"]["figures"][_card_metric(name)], found["split"], found["disclosed"]
        )
        for name, found in record["tasks"].items()
        if name in COLUMNS and "quantized" in found
    }


def _quantized_runs(record: Json) -> tuple[int, str]:
    """Return the bytes of the largest quantized model, and which runs they are of."""
    there = [found for found in record["tasks"].values() if "quantized" in found]
    most = max(found["quantized"]["bytes"] for found in there)
    if all(len(found["quantized"]["seeds"]) == len(found["seeds"]) for found in there):
        return most, "the median of the same seeds"
    return most, "of the best run of each task, whose float figures are in the last table"


def _how(record: Json) -> str:
    there = [found["quantized"] for found in record["tasks"].values() if "quantized" in found]
    return " and trained so" if any(found.get("qat") for found in there) else ""


def _card_metric(name: str) -> str:
    card = TASKS[name].card
    return card.metric if card else TASKS[name].main_metric


def _setting(record: Json) -> str:
    settings = record["settings"]
    shared = ", ".join(
        f"{name.replace('_', ' ')} {_spelled(value)}" for name, value in settings.items() if value
    )
    machines = dict.fromkeys(each["hardware"] for each in record["runs"])
    return (
        f"{len(record['runs'])} runs of {record['name']}, {record['seconds'] / 60:,.1f} minutes of "
        f"training on {', '.join(machines)}; {record['code']}. One setting for all tasks: "
        f"{shared}. The learning rate of the best median is shown."
    )


def _spelled(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _every_task(record: Json) -> Iterator[str]:
    heads = (
        record["name"], "metric", "median", "lowest–highest", "seeds", "learning rate",
        "quantized", "same, float", "test", "examples",
    )  # fmt: skip
    yield f"| {' | '.join(heads)} |"
    yield f"|---|---|{'--:|' * 7}---|"
    for name, found in record["tasks"].items():
        for place, (metric, span) in enumerate(found["figures"].items()):
            yield f"| {' | '.join(_cells(name, metric, span, found, first=place == 0))} |"
    yield ""
    failed = [each for each in record["runs"] if each["status"] != "finished"]
    for each in failed:
        yield (
            f"- {each['task']}, learning rate {each['learning_rate']:g}, seed {each['seed']} "
            f"failed: {each['error']}"
        )
    yield from [""] if failed else []


def _cells(name: str, metric: str, span: Json, found: Json, *, first: bool) -> Iterator[str]:
    yield name if first else ""
    yield metric.replace("_", " ")
    yield f"{100 * span['median']:.1f}"
    yield f"{100 * span['lowest']:.1f}–{100 * span['highest']:.1f}"
    failures = f" ({found['failed']} failed)" if found["failed"] else ""
    yield f"{len(found['seeds'])}{failures}" if first else ""
    yield f"{found['learning_rate']:g}" if first else ""
    quantized = found.get("quantized") or {}
    for key in ("figures", "float_figures"):
        value = (quantized.get(key) or {}).get(metric)
        yield "" if value is None else f"{100 * value:.1f}"
    value = found.get("test", {}).get("figures", {}).get(metric)
    yield "" if value is None else f"{100 * value:.1f}"
    train, dev = found["examples"]
    yield f"{train:,} train, {dev:,} {found['split']}" if first else ""


def write_page(path: Any, text: str) -> None:
    """Write the page."""
    with atomic_file(path) as scratch:
        scratch.write_text(text, encoding="utf-8")
