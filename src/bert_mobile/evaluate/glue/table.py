"""The page of a benchmark: the card's table with our rows, then every task by itself."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bert_mobile.files import atomic_file
from bert_mobile.tasks.card_table import COLUMNS, Result, card_table
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
    rows: dict[str, dict[str, Result]] = {}
    for each in (record, *beside):
        rows |= rows_of(each)
    yield "## Beside the published card"
    yield ""
    yield card_table(rows).markdown()
    yield "## Every task"
    yield ""
    for each in (record, *beside):
        yield from _every_task(each)
    if record["notes"]:
        yield "Notes:"
        yield ""
        yield from (f"- {note}" for note in record["notes"])


def rows_of(record: Json) -> dict[str, dict[str, Result]]:
    """Return the rows of a record in the card's table: the float models, and the quantized."""
    floats, quantized = {}, {}
    most = None
    for name in COLUMNS:
        found = record["tasks"].get(name)
        if found is None:
            continue
        said = found["disclosed"]
        floats[name] = Result(_card_figure(name, found, "median"), found["split"], said)
        if found.get("quantized") and found["quantized"]["figures"]:
            value = found["quantized"]["figures"][_card_metric(name)]
            quantized[name] = Result(value, found["split"], said)
            most = max(most or 0, found["quantized"]["bytes"])
    title = f"**{record['name']}**"
    rows = {title: floats} if floats else {}
    if most is not None:
        rows[f"**{record['name']}**, {most / 1e6:.1f} MB"] = quantized
    return rows


def _card_metric(name: str) -> str:
    card = TASKS[name].card
    return card.metric if card else TASKS[name].main_metric


def _card_figure(name: str, found: Json, which: str) -> float:
    return float(found["figures"][_card_metric(name)][which])


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
        "quantized", "same run, float", "test", "data",
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
    yield "; ".join(found["data"]) if first else ""


def write_page(path: Any, text: str) -> None:
    """Write the page."""
    with atomic_file(path) as scratch:
        scratch.write_text(text, encoding="utf-8")
