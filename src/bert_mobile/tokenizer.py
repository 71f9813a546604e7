"""WordPiece: train it (uncased), save it for every reader, load any BERT's.

The normaliser is BERT's own (Devlin et al. 2018): control characters out, CJK characters set apart,
accents stripped, lower case. Training is the `tokenizers` library's. One `tokenizer.json` serves
every later stage; `vocab.txt` and `tokenizer_config.json` beside it let transformers'
`BertTokenizer` and transformers.js read the folder.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import WordPiece
from tokenizers.trainers import WordPieceTrainer

from bert_mobile.errors import ArtifactError, InputError
from bert_mobile.files import atomic_folder, read_json, refuse_foreign_folder, write_json
from bert_mobile.progress import progress
from bert_mobile.variants import MAX_POSITION_EMBEDDINGS, VOCABULARY_SIZE

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
"""BERT's five, with ids 0 to 4."""

TOKENIZER_FILES = ("tokenizer.json", "vocab.txt", "tokenizer_config.json")
"""What a tokenizer's folder holds."""

MAX_CHARACTERS_PER_WORD = 100
"""A longer word becomes [UNK], as in BERT."""

ALPHABET_SIZE = 1000
"""Single characters kept, the most frequent first; rarer ones become [UNK]."""


@dataclass(frozen=True)
class TrainedTokenizer:
    """What `train_tokenizer` made."""

    folder: Path
    vocabulary_size: int
    asked_size: int
    """Larger than `vocabulary_size` where the corpus holds too few different words."""


def train_tokenizer(
    documents: Iterable[list[str]], out: Path, *, vocabulary_size: int = VOCABULARY_SIZE
) -> TrainedTokenizer:
    """Train WordPiece on documents, each a list of texts, and save it to `out`.

    `corpus.read_sentences` makes such documents of a built corpus or of any source. Raises
    `InputError` where the size leaves no room for pieces or there is no text.
    """
    if not len(SPECIAL_TOKENS) < vocabulary_size <= 2**16:
        raise InputError(
            f"--vocab-size is {vocabulary_size}, expected {len(SPECIAL_TOKENS) + 1} to 65,536 "
            "(token shards are uint16)",
            hint=f"the family uses {VOCABULARY_SIZE:,}",
        )
    refuse_foreign_folder(out, _is_tokenizer)
    tokenizer = bert_wordpiece({token: i for i, token in enumerate(SPECIAL_TOKENS)})
    trainer = WordPieceTrainer(
        vocab_size=vocabulary_size,
        min_frequency=2,
        limit_alphabet=min(ALPHABET_SIZE, vocabulary_size // 4),
        special_tokens=list(SPECIAL_TOKENS),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_shown(documents), trainer)
    size = tokenizer.get_vocab_size()
    if size == len(SPECIAL_TOKENS):
        raise InputError("there is no text to train on", hint="check what the corpus was built of")
    vocabulary: dict[str, int] = tokenizer.get_vocab()
    with atomic_folder(out) as scratch:
        save_tokenizer(bert_wordpiece(vocabulary), scratch)
    return TrainedTokenizer(out, size, vocabulary_size)


def bert_wordpiece(vocabulary: dict[str, int], *, lowercase: bool = True) -> Tokenizer:
    """Build BERT's tokenizer around a vocabulary (piece → id), special tokens included.

    A cased one (`lowercase` is false) keeps accents too.
    """
    tokenizer = Tokenizer(
        WordPiece(vocabulary, unk_token="[UNK]", max_input_chars_per_word=MAX_CHARACTERS_PER_WORD)
    )
    tokenizer.normalizer = normalizers.BertNormalizer(
        clean_text=True, handle_chinese_chars=True, strip_accents=lowercase, lowercase=lowercase
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece(prefix="##")
    tokenizer.post_processor = processors.BertProcessing(
        ("[SEP]", vocabulary["[SEP]"]), ("[CLS]", vocabulary["[CLS]"])
    )
    tokenizer.add_special_tokens(list(SPECIAL_TOKENS))
    return tokenizer


def save_tokenizer(tokenizer: Tokenizer, folder: Path) -> None:
    """Write tokenizer.json, vocab.txt and tokenizer_config.json into `folder`."""
    tokenizer.save(str(folder / "tokenizer.json"))
    pieces = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    text = "".join(f"{piece}\n" for piece, _ in pieces)
    (folder / "vocab.txt").write_text(text, encoding="utf-8")
    write_json(folder / "tokenizer_config.json", _config(tokenizer))


def load_tokenizer(source: Path, most_ids: int | None = None) -> Tokenizer:
    """Read a tokenizer.json, or the one in a folder, without truncation or padding switched on.

    A folder of an older maker may have vocab.txt only. `most_ids` is what the embedding of a model
    has rows for. Raises `ArtifactError` where there is none, or it is damaged, has more ids than
    that or lacks one of the five special tokens.
    """
    tokenizer = _read_tokenizer(source)
    size = id_count(tokenizer)
    if most_ids is not None and size > most_ids:
        raise ArtifactError(
            f"the tokenizer in {source} has {size} pieces, expected at most the {most_ids} of "
            "config.json",
            hint="use the tokenizer that the model was trained with",
        )
    return tokenizer


def _read_tokenizer(source: Path) -> Tokenizer:
    path = source / "tokenizer.json" if source.is_dir() else source
    if not path.is_file() and (source / "vocab.txt").is_file():
        return _from_vocabulary(source)
    if not path.is_file():
        raise ArtifactError(
            f"{path} does not exist, expected a tokenizer",
            hint="bert-mobile tokenizer train CORPUS --out DIR",
        )
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:
        raise ArtifactError(
            f"{path} is no tokenizer.json: {error}", hint="copy it again from its source"
        ) from error
    _check_special_tokens(path, tokenizer.get_vocab())
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def id_count(tokenizer: Tokenizer) -> int:
    """Return the rows that an embedding needs: the largest id and one, holes included."""
    return max(tokenizer.get_vocab().values(), default=-1) + 1


def same_tokenizer(one: Tokenizer, other: Tokenizer) -> bool:
    """Tell whether two tokenizers cut alike, however their files are spelled."""
    return (
        one.get_vocab() == other.get_vocab()
        and type(one.normalizer) is type(other.normalizer)
        and _normalization(one) == _normalization(other)
    )


def _from_vocabulary(folder: Path) -> Tokenizer:
    """Read vocab.txt, a piece a line, uncased unless tokenizer_config.json says otherwise."""
    path, settings = folder / "vocab.txt", folder / "tokenizer_config.json"
    try:
        lines = path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ArtifactError(
            f"{path} is no list of pieces: {error}", hint="copy it again from its source"
        ) from error
    vocabulary = {piece: i for i, piece in enumerate(lines)}
    _check_special_tokens(path, vocabulary)
    config = read_json(settings, "the settings of a tokenizer") if settings.is_file() else {}
    return bert_wordpiece(vocabulary, lowercase=config.get("do_lower_case") is not False)


def _check_special_tokens(path: Path, vocabulary: dict[str, int]) -> None:
    absent = [token for token in SPECIAL_TOKENS if token not in vocabulary]
    if absent:
        raise ArtifactError(
            f"{path} lacks {', '.join(absent)}, expected a BERT tokenizer",
            hint="use the tokenizer that the model was trained with",
        )


def _is_tokenizer(folder: Path) -> bool:
    """Tell whether a folder holds a tokenizer and nothing else."""
    return {path.name for path in folder.iterdir()} == set(TOKENIZER_FILES)


def _shown(documents: Iterable[list[str]]) -> Iterator[list[str]]:
    with progress("tokenizer", None, "documents") as bar:
        for document in documents:
            yield document
            bar.advance()


def _normalization(tokenizer: Tokenizer) -> dict[str, bool]:
    """Return what a BERT normaliser does, by transformers's names."""
    stated = json.loads(tokenizer.to_str()).get("normalizer") or {}
    lowercase, accents = stated.get("lowercase", False), stated.get("strip_accents")
    return {
        "do_lower_case": lowercase,
        "strip_accents": lowercase if accents is None else accents,
        "tokenize_chinese_chars": stated.get("handle_chinese_chars", False),
    }


def _config(tokenizer: Tokenizer) -> dict[str, Any]:
    """Return what transformers and transformers.js read beside the tokenizer itself."""
    return {
        "tokenizer_class": "BertTokenizer",
        **_normalization(tokenizer),
        "model_max_length": MAX_POSITION_EMBEDDINGS,
        "clean_up_tokenization_spaces": True,
        "unk_token": "[UNK]",
        "sep_token": "[SEP]",
        "pad_token": "[PAD]",
        "cls_token": "[CLS]",
        "mask_token": "[MASK]",
    }
