"""The process of a proof: FOLDER PROBES FOUND [TASK DATA PAIRS]; what it finds goes to FOUND."""

import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bert_mobile.errors import BertMobileError
from bert_mobile.files import write_json
from bert_mobile.machine import own_peak_megabytes


def measure(folder: Path, probes: Path, question: list[str]) -> dict[str, Any]:
    """Open the artifact, and measure it: load, latency and memory first, then what it answers."""
    from bert_mobile.runtime import load

    began = time.perf_counter()
    model = load(folder)
    loaded = time.perf_counter() - began
    from bert_mobile.evaluate.latency import latencies
    from bert_mobile.export.proof.probes import compare, takes_pairs

    timed = latencies({"": model.session}, model.config)[""]
    memory = own_peak_megabytes() or None
    found = compare(model.session, model.config, probes)
    facts = {
        "load_seconds": loaded,
        "latency": [asdict(each) for each in timed],
        "peak_megabytes": memory,
        "outputs": sorted(model.session.outputs),
        "pairs": takes_pairs(model.session),
        "differences": {each.output: asdict(each) for each in found},
        "largest_difference": max(each.largest for each in found),
    }
    return facts | _figures(folder, question)


def _figures(folder: Path, question: list[str]) -> dict[str, Any]:
    """Judge the artifact, if there is anything to judge it by."""
    if not question:
        return {}
    from bert_mobile.evaluate.figures import Question, figures_of

    task, data, pairs = question
    place = Path(data) if data and Path(data).exists() else data or None
    [found] = figures_of([folder], Question(task, place, pairs=int(pairs)))
    return {"figures": asdict(found)}


def main() -> None:
    """Measure and write; what is wrong with the artifact is one line on standard error."""
    folder, probes, found, *question = sys.argv[1:]
    try:
        write_json(Path(found), measure(Path(folder), Path(probes), question))
    except BertMobileError as error:
        sys.exit(error.message)


if __name__ == "__main__":
    main()
