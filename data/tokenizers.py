# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""The tokenizers that a run trains on its own texts, for any language: WordPiece as in BERT for models that read,
byte-level BPE as in GPT-2 for models that write, whose text comes back as it was.

For WordPiece, a text is normalised (`NORMALIZER`), cut at spaces and punctuation, then at characters that training
never met, and each piece becomes the longest entries of the vocabulary that make it up.
"""

import string
from collections.abc import Iterable
from itertools import groupby

from tokenizers import Regex, Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import BPE, WordPiece
from tokenizers.trainers import BpeTrainer, WordPieceTrainer
from transformers import PreTrainedTokenizerFast

from mixture_of_transformers.data.checks import is_absent

SPECIAL_TOKENS = {
    "pad_token": "[PAD]",
    "unk_token": "[UNK]",
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "mask_token": "[MASK]",
}
# A zero-width space separates words of Thai, Khmer and others. Marks stay, and a letter with its marks is one
# character, however it was typed.
NORMALIZER = normalizers.Sequence(
    [normalizers.Replace("\u200b", " "), normalizers.BertNormalizer(strip_accents=False), normalizers.NFC()]
)
WRITING_TOKENS = {"pad_token": "<|pad|>", "bos_token": "<|begin_of_document|>", "eos_token": "<|end_of_document|>"}
ALL_CHARACTERS = 0x110000  # the number of characters of Unicode
LONGEST_PIECE = 100  # WordPiece takes no longer piece, and a sentence without spaces may be longer.


def train_tokenizer(
    texts: Iterable[str | None], vocab_size: int = 8000, model_max_length: int = 512
) -> PreTrainedTokenizerFast:
    """Train a lower-casing WordPiece tokenizer, as BERT's, with [PAD], [UNK], [CLS], [SEP] and [MASK] as ids 0 to 4.

    Accents and other nonspacing marks are kept. Every character of the texts is in the vocabulary, and English
    letters, digits and punctuation always are, so a new word falls into pieces, of which only characters never met are
    [UNK].

    Args:
        texts: the training texts; None (a row without text) is passed over.
        vocab_size: the most entries that the vocabulary may have, beyond the single characters.
        model_max_length: where `truncation=True` cuts, in tokens.

    Raises:
        ValueError: there is no text.
    """
    texts = [text for text in texts if not is_absent(text)]
    if not texts:
        raise ValueError(
            "Cannot train a tokenizer: every text is None or blank. Name the text column, or load a tokenizer."
        )
    # Each letter stands once at the start of a word and once inside, which are two entries of WordPiece.
    characters = " ".join(2 * character for character in string.ascii_lowercase + string.digits) + string.punctuation
    backend = build_backend({token: i for i, token in enumerate(SPECIAL_TOKENS.values())})
    # The inner letters are named in advance: so they, and the pieces merged from them, get the same ids in every run.
    letters = [f"##{letter}" for letter in sorted(inner_letters([*texts, characters], backend))]
    trainer = WordPieceTrainer(
        vocab_size=vocab_size,
        special_tokens=[*SPECIAL_TOKENS.values(), *letters],
        min_frequency=2,
        limit_alphabet=ALL_CHARACTERS,
        show_progress=False,
    )
    backend.train_from_iterator([*texts, characters], trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=with_known_characters(backend.get_vocab()),
        model_max_length=model_max_length,
        model_input_names=["input_ids", "attention_mask"],
        **SPECIAL_TOKENS,
    )


def build_backend(vocab: dict[str, int]) -> Tokenizer:
    unknown = SPECIAL_TOKENS["unk_token"]
    backend = Tokenizer(WordPiece(vocab, unk_token=unknown, max_input_chars_per_word=LONGEST_PIECE))
    backend.normalizer = NORMALIZER
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece(prefix="##")
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return backend


def with_known_characters(vocab: dict[str, int]) -> Tokenizer:
    """A backend for which an unknown character is [UNK] by itself, not with all that no space parts from it."""
    known = character_ranges(entry for entry in vocab if len(entry) == 1)
    pieces = Regex(f"[{known}]{{1,{LONGEST_PIECE}}}|[^{known}]")
    backend = build_backend(vocab)
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.BertPreTokenizer(), pre_tokenizers.Split(pieces, "isolated")]
    )
    return backend


def character_ranges(characters: Iterable[str]) -> str:
    """A set of characters as a regular expression writes it."""
    codes = sorted(map(ord, characters))
    runs = (list(run) for _, run in groupby(enumerate(codes), lambda pair: pair[1] - pair[0]))
    return "".join(f"\\x{{{run[0][1]:X}}}-\\x{{{run[-1][1]:X}}}" for run in runs)


def inner_letters(texts: Iterable[str], backend: Tokenizer) -> set[str]:
    """The characters of the texts that can stand within a word, as the tokenizer sees it."""
    characters = {character for text in texts for character in backend.normalizer.normalize_str(text)}

    def is_inner(character: str) -> bool:
        word = backend.normalizer.normalize_str(f"a{character}a")
        return len(backend.pre_tokenizer.pre_tokenize_str(word)) == 1

    return {character for character in characters if not character.isspace() and is_inner(character)}


def train_writing_tokenizer(texts: Iterable[str | None], vocab_size: int = 8000) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE tokenizer, as GPT-2's, with <|pad|>, <|begin_of_document|> and <|end_of_document|> as ids
    0 to 2. Every text, of whatever characters, comes back from its ids as it was.

    Args:
        texts: the training texts; None (a row without text) is passed over. Without any, each byte is a token.
        vocab_size: the most entries that the vocabulary may have.
    """
    backend = Tokenizer(BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[*WRITING_TOKENS.values()],
        min_frequency=2,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator((text for text in texts if not is_absent(text)), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, model_input_names=["input_ids", "attention_mask"], **WRITING_TOKENS
    )
