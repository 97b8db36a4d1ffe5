# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""The tokenizer that a run trains on its own texts."""

import string
from collections.abc import Iterable

from transformers import BertTokenizer

from .checks_mot import is_absent


def train_tokenizer(texts: Iterable[str | None], vocab_size: int = 8000, model_max_length: int = 512) -> BertTokenizer:
    """Train a lower-casing WordPiece tokenizer, as BERT's, with [PAD], [UNK], [CLS], [SEP] and [MASK] as ids 0 to 4.

    English letters, digits and punctuation are always in the vocabulary, so a new word falls into pieces rather than
    to [UNK].

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
    # Each letter once at the start of a word and once inside, which WordPiece counts as two entries.
    characters = " ".join(2 * character for character in string.ascii_lowercase + string.digits) + string.punctuation
    settings = {"do_lower_case": True, "model_input_names": ["input_ids", "attention_mask"]}
    tokenizer = BertTokenizer(**settings)
    # Named in advance, the inner letters get the same ids in every run, and so do the pieces that are merged from them.
    letters = [f"##{letter}" for letter in sorted(_inner_letters([*texts, characters], tokenizer.backend_tokenizer))]
    trained = tokenizer.train_new_from_iterator(
        [texts, [characters]],
        vocab_size=vocab_size,
        new_special_tokens=letters,
        min_frequency=2,
        show_progress=False,
    )
    return BertTokenizer(vocab=trained.get_vocab(), model_max_length=model_max_length, **settings)


def _inner_letters(texts: Iterable[str], backend) -> set[str]:
    """The characters that stand within a word of any text, not at its start, as the tokenizer sees it."""
    chunks = {chunk for text in texts for chunk in text.split()}
    normalized = (backend.normalizer.normalize_str(chunk) for chunk in chunks)
    words = (word for chunk in normalized for word, _ in backend.pre_tokenizer.pre_tokenize_str(chunk))
    return {letter for word in words for letter in word[1:]}
