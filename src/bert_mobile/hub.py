"""A name → a folder: the embedded model, a folder on disk, or a repository of the Hub.

The Hub's own switches hold: `HF_HOME` says where its cache lies, `HF_HUB_OFFLINE=1` that nothing
but the cache is to be used.
"""

import re
from os import PathLike
from pathlib import Path

from bert_mobile.checkpoint import PROVENANCE, WEIGHTS
from bert_mobile.errors import ArtifactError, MissingExtraError
from bert_mobile.quantize.interface import FLOAT, QUANTIZED
from bert_mobile.runtime.engines import ENGINES
from bert_mobile.tokenizer import TOKENIZER_FILES

DEFAULT = "default"
"""The name of the model that comes with the package."""

MODEL_FILES = (*(engine.place for engine in ENGINES), WEIGHTS)
"""Where a folder may hold its network, the one that is preferred first."""

_FOR_OTHERS = "coreml/model.mlpackage"
"""What `export` writes though nothing here opens it."""

_ON_THE_HUB = (FLOAT, WEIGHTS)
"""What is fetched of a repository that has no packed model."""

_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)
_ALWAYS = ["config.json", *TOKENIZER_FILES, PROVENANCE]


def resolve(name: str | PathLike[str]) -> Path:
    """Return the folder that `name` stands for, downloading it where it is a name on the Hub.

    `"default"` is the embedded model; an existing folder is itself; anything else of the form
    `owner/name` is looked up on the Hub, and only the files that we read are fetched. A path that
    is no string is a folder. Raises `ArtifactError` where there is no such model.
    """
    if not isinstance(name, str):
        if not _is_folder(Path(name)):
            raise ArtifactError(f"{name} is no folder, expected a model's", hint="check the path")
        return Path(name)
    if name == DEFAULT:
        return _embedded()
    if name and _is_folder(Path(name)):
        return Path(name)
    if not _HUB_NAME.fullmatch(name):
        raise ArtifactError(
            f"{name!r} is no folder, expected a folder, {DEFAULT!r} or a Hub name such as "
            "'boltuix/bert-mobile'",
            hint="check the path",
        )
    return _download(name)


def find_model(folder: Path) -> Path:
    """Return the file in `folder` that holds the network; raises `ArtifactError` if none does."""
    for name in MODEL_FILES:
        if (folder / name).exists():
            return folder / name
    if (folder / _FOR_OTHERS).exists():
        raise ArtifactError(
            f"{folder} holds {_FOR_OTHERS} only, which applications on macOS and iOS open",
            hint="name the model that it was exported from, or export it --to onnx",
        )
    raise ArtifactError(
        f"{folder} holds no model, expected one of {', '.join(MODEL_FILES)}",
        hint="name a folder that bert-mobile or transformers wrote",
    )


def _embedded() -> Path:
    folder = Path(__file__).with_name(DEFAULT)
    if not (folder / QUANTIZED).is_file():
        raise ArtifactError(
            "this installation comes without an embedded model",
            hint="name a folder or a Hub name such as 'boltuix/bert-mobile'",
        )
    return folder


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # a name that the file system refuses, such as one far too long
        return False


def _download(name: str) -> Path:
    """Fetch the smallest model that the repository has, or find it in the Hub's cache."""
    folder = _snapshot(name, [*_ALWAYS, QUANTIZED])
    for other in _ON_THE_HUB:
        if any((folder / file).is_file() for file in MODEL_FILES):
            break
        folder = _snapshot(name, [*_ALWAYS, other])
    return folder


def _snapshot(name: str, files: list[str]) -> Path:
    try:
        from huggingface_hub import constants, snapshot_download
        from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]
    except ImportError:
        raise MissingExtraError("huggingface_hub", "hub") from None
    try:
        return Path(snapshot_download(name, allow_patterns=files))
    except (OSError, ValueError, HTTPError) as error:
        if constants.HF_HUB_OFFLINE:
            raise ArtifactError(
                f"{name!r} is neither a folder nor in the cache {constants.HF_HUB_CACHE}, and "
                "HF_HUB_OFFLINE forbids fetching it",
                hint="unset HF_HUB_OFFLINE, or point HF_HOME to a cache that has it",
            ) from error
        reason = str(error).strip().partition("\n")[0]
        raise ArtifactError(
            f"{name!r} is no folder and could not be fetched from the Hugging Face Hub: {reason}",
            hint="check the name, the network and, for a private repository, your access",
        ) from error
