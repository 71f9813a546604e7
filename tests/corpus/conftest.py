"""Synthetic English, and a tiny tokenizer that knows it."""

import json
import random
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from tokenizers.trainers import WordPieceTrainer

from bert_mobile.tokenizer import SPECIAL_TOKENS, bert_wordpiece

TEXT = (
    "the a one some old new small large river town house road field winter summer people king "
    "teacher child garden market ship island mountain forest letter story music colour morning "
    "evening went came saw found built wrote sold carried opened closed kept loved feared near "
    "under over beyond between after before against without through quiet bright heavy empty"
)
WORDS = TEXT.split()


def prose(seed: int, sentences: int = 12) -> str:
    """Return a document of random words: two paragraphs, different for each seed."""
    chance = random.Random(seed)
    found = []
    for _ in range(sentences):
        words = chance.choices(WORDS, k=chance.randint(8, 14))
        found.append(" ".join(words).capitalize() + ".")
    return " ".join(found[: sentences // 2]) + "\n" + " ".join(found[sentences // 2 :])


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a tokenizer.json of a few hundred pieces."""
    made = bert_wordpiece({token: i for i, token in enumerate(SPECIAL_TOKENS)})
    trainer = WordPieceTrainer(
        vocab_size=400, special_tokens=list(SPECIAL_TOKENS), show_progress=False
    )
    made.train_from_iterator((prose(seed) for seed in range(50)), trainer)
    folder = tmp_path_factory.mktemp("tokenizer")
    made.save(str(folder / "tokenizer.json"))
    return folder


@pytest.fixture
def json_lines(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes texts as a JSON Lines file in the test's folder."""

    def write(texts: Iterable[str], name: str = "texts.jsonl") -> Path:
        path = tmp_path / name
        records = ({"source": "test", "title": f"t{i}", "text": t} for i, t in enumerate(texts))
        path.write_text("".join(json.dumps(record) + "\n" for record in records))
        return path

    return write
