"""The page and its models as one table: address → file.

index.html  service-worker.js  page/…     as they lie in the package
models.json                               which models there are, size and SHA-256 of their files,
                                          and what the page must know of them before it has them
models/ROLE/…                             what the browser needs of a model's folder
"""

import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from bert_mobile.checkpoint import verify
from bert_mobile.errors import ArtifactError, InputError
from bert_mobile.files import explained, sha256, write_json
from bert_mobile.model.config import (
    ANSWERS,
    MULTI_LABEL,
    PRETRAINING,
    REGRESSION,
    SEQUENCES,
    TOKENS,
    BertConfig,
)
from bert_mobile.runtime.sessions import OnnxSession

ROLES = {
    "default": PRETRAINING,
    "sentiment": SEQUENCES,
    "entities": TOKENS,
    "answers": ANSWERS,
}
"""What models of the page are for → the head that it takes."""

NETWORKS = tuple(
    f"onnx/{name}.onnx"
    for name in ("model_quantized", "model_q4", "model_int8", "model_fp16", "model")
)
"""Where the browser looks for a network in a folder, the smallest first."""

MODELS = "models.json"

_FEELINGS = re.compile(r"(very[ _-])?(pos|neg|positive|negative|neutral)", re.IGNORECASE)
_NAMES = re.compile(
    r"O|[BISUEL]-(PER|PERSON|LOC|LOCATION|GPE|ORG|ORGANI[SZ]ATION|MISC)", re.IGNORECASE
)


@dataclass(frozen=True)
class Site:
    """All that is served."""

    paths: Mapping[str, Path]
    """Address, such as `page/app.js`, to the file there."""
    models: Mapping[str, Any]
    """What `models.json` says."""

    def models_json(self) -> bytes:
        """Return `models.json`."""
        return (json.dumps(self.models, indent=2) + "\n").encode()


def gather(models: Mapping[str, Path]) -> Site:
    """Join the page with models by role; see `ROLES`.

    Raises `InputError` where a model has the wrong head for its role, `ArtifactError` where a
    folder is damaged or holds nothing that a browser can run.
    """
    paths = page_files()
    listed = {}
    for role, folder in models.items():
        listed[role] = _entry(role, folder, f"models/{role}/")
        paths |= {f"models/{role}/{name}": folder / name for name in listed[role]["files"]}
    return Site(paths, listed)


def write_site(folder: Path) -> None:
    """Lay the page around the one model in `folder`, so that any file server can have it.

    Raises as `gather`, and `RunError` where the disk is full.
    """
    config = BertConfig.read(folder)
    (role,) = (role for role, head in ROLES.items() if head == config.architecture)
    entry = _entry(role, folder, "")
    with explained(folder):
        for name, path in page_files().items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, folder / name)
    write_json(folder / MODELS, {role: entry})


def page_files() -> dict[str, Path]:
    """Return the page's own files by address."""
    root = Path(str(files("bert_mobile") / "page" / "site"))
    found = {path.relative_to(root).as_posix(): path for path in root.rglob("*") if path.is_file()}
    if "index.html" not in found:
        raise ArtifactError(f"{root} holds no page", hint="install bert-mobile anew")
    return found


def _entry(role: str, folder: Path, place: str) -> dict[str, Any]:
    """Return what `models.json` says of a model."""
    config = BertConfig.read(folder)
    if config.architecture != ROLES[role]:
        raise InputError(
            f"{folder} is a {config.architecture}, expected a {ROLES[role]} for {role!r}",
            hint="give each model to the option for its kind: bert-mobile demo --help",
        )
    network = next((name for name in NETWORKS if (folder / name).is_file()), None)
    if network is None:
        raise ArtifactError(
            f"{folder} holds no ONNX file, expected one of {', '.join(NETWORKS)}",
            hint=f"bert-mobile quantize {folder} --max-bytes 25_000_000 --out DIR",
        )
    names = ["config.json", "tokenizer.json", network]
    verify(folder, names)
    facts = {
        name: {"bytes": (folder / name).stat().st_size, "sha256": sha256(folder / name)}
        for name in names
        if _there(folder / name)
    }
    return {
        "path": place,
        "model": network,
        "outputs": sorted(OnnxSession(folder / network, folder / network, threads=1).outputs),
        "wording": _wording(role, config),
        "files": facts,
    }


def _wording(role: str, config: BertConfig) -> str:
    """Return in which words the page asks a model: its role, or a key of `OTHERS` in examples.js.

    A head of a kind may have been taught anything: only its labels tell.
    """
    if config.architecture == TOKENS:
        return role if all(map(_NAMES.fullmatch, config.labels)) else "tags"
    if config.architecture != SEQUENCES:
        return role
    if config.problem_type == REGRESSION:
        return "number"
    if config.problem_type == MULTI_LABEL or len(config.labels) == 1:  # each by itself
        return "labels"
    return role if all(map(_FEELINGS.fullmatch, config.labels)) else "label"


def _there(path: Path) -> bool:
    if not path.is_file():
        raise ArtifactError(f"{path} does not exist, expected a model's", hint="check the folder")
    return True
