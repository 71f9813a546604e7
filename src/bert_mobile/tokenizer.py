"""WordPiece, uncased: train it, save it for every reader, load it.

The normaliser is BERT's own (Devlin et al. 2018): control characters out, CJK characters set apart,
accents stripped, lower case. Training is the `tokenizers` library's. One `tokenizer.json` serves
every later stage; `vocab.txt` and `tokenizer_config.json` beside it let transformers'
`BertTokenizer` and transformers.js read the folder.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import WordPiece
from tokenizers.trainers import WordPieceTrainer

from bert_mobile.errors import ArtifactError, InputError
from bert_mobile.files import atomic_folder, refuse_foreign_folder, write_json
from bert_mobile.variants import MAX_POSITION_EMBEDDINGS, VOCABULARY_SIZE

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
"""BERT's five, with ids 0 to 4."""

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
    corpus: Path, out: Path, *, vocabulary_size: int = VOCABULARY_SIZE
) -> TrainedTokenizer:
    """Train WordPiece on a built corpus (or any source `corpus build` reads) and save it to `out`.

    Raises `InputError` where the size leaves no room for pieces or the corpus has no text.
    """
    if not len(SPECIAL_TOKENS) < vocabulary_size <= 2**16:
        raise InputError(
            f"--vocab-size is {vocabulary_size}, expected {len(SPECIAL_TOKENS) + 1} to 65,536 "
            "(token shards are uint16)",
            hint=f"the family uses {VOCABULARY_SIZE:,}",
        )
    refuse_foreign_folder(out, "tokenizer.json")
    tokenizer = bert_wordpiece({token: i for i, token in enumerate(SPECIAL_TOKENS)})
    trainer = WordPieceTrainer(
        vocab_size=vocabulary_size,
        min_frequency=2,
        limit_alphabet=min(ALPHABET_SIZE, vocabulary_size // 4),
        special_tokens=list(SPECIAL_TOKENS),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_documents(corpus), trainer)
    size = tokenizer.get_vocab_size()
    if size == len(SPECIAL_TOKENS):
        raise InputError(
            f"{corpus} holds no text", hint="check the sources the corpus was built of"
        )
    vocabulary: dict[str, int] = tokenizer.get_vocab()
    with atomic_folder(out) as scratch:
        save_tokenizer(bert_wordpiece(vocabulary), scratch)
    return TrainedTokenizer(out, size, vocabulary_size)


def bert_wordpiece(vocabulary: dict[str, int]) -> Tokenizer:
    """Build BERT's uncased tokenizer around a vocabulary (piece → id), special tokens included."""
    tokenizer = Tokenizer(
        WordPiece(vocabulary, unk_token="[UNK]", max_input_chars_per_word=MAX_CHARACTERS_PER_WORD)
    )
    tokenizer.normalizer = normalizers.BertNormalizer(
        clean_text=True, handle_chinese_chars=True, strip_accents=True, lowercase=True
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
    write_json(folder / "tokenizer_config.json", _config())


def load_tokenizer(source: Path) -> Tokenizer:
    """Read a tokenizer.json, or the one in a folder, without truncation or padding switched on.

    Raises `ArtifactError` where it is missing, damaged or lacks one of the five special tokens.
    """
    path = source / "tokenizer.json" if source.is_dir() else source
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
    absent = [token for token in SPECIAL_TOKENS if tokenizer.token_to_id(token) is None]
    if absent:
        raise ArtifactError(
            f"{path} lacks {', '.join(absent)}, expected a BERT tokenizer",
            hint="use the tokenizer that the model was trained with",
        )
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _documents(corpus: Path) -> Iterator[list[str]]:
    from bert_mobile.corpus import read_sentences

    return read_sentences(corpus)


def _config() -> dict[str, Any]:
    """Return what transformers and transformers.js read beside the tokenizer itself."""
    return {
        "tokenizer_class": "BertTokenizer",
        "do_lower_case": True,
        "strip_accents": True,
        "tokenize_chinese_chars": True,
        "model_max_length": MAX_POSITION_EMBEDDINGS,
        "clean_up_tokenization_spaces": True,
        "unk_token": "[UNK]",
        "sep_token": "[SEP]",
        "pad_token": "[PAD]",
        "cls_token": "[CLS]",
        "mask_token": "[MASK]",
    }
