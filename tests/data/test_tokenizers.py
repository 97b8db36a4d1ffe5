# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""The tokenizer that a run trains keeps apart what differs, for any language."""

import subprocess
import sys

import pytest
from small_datasets import TESTS
from transformers import AutoTokenizer

from mixture_of_transformers.data.tokenizers import train_tokenizer


def test_tokenizer_learns_words_and_survives_saving(prepared_digits, tmp_path):
    tokenizer = train_tokenizer(prepared_digits["train"]["text"], vocab_size=1000, model_max_length=24)
    assert tokenizer.convert_tokens_to_ids(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]) == [0, 1, 2, 3, 4]
    assert tokenizer.tokenize("SEVEN, Please.") == ["seven", ",", "please", "."]
    assert "[UNK]" not in tokenizer.tokenize("quartz xylophones (42)?")
    tokenizer.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    encoded = loaded(["Press 7 to go on.", "word " * 50], truncation=True, padding=True)
    assert encoded == tokenizer(["Press 7 to go on.", "word " * 50], truncation=True, padding=True)
    assert set(encoded) == {"input_ids", "attention_mask"} and len(encoded["input_ids"][1]) == 24
    assert loaded.get_vocab() == tokenizer.get_vocab() and len(loaded) <= 1000


@pytest.mark.training
def test_tokenizer_is_the_same_in_every_process():
    """Else each run would have other ids, and none would find the rows that another has encoded."""
    texts = ["Naïve cafés, 数字 and €5!", "the number seven was written here", None, "seven numbers, never written"]
    script = f"""
import conftest
from mixture_of_transformers.data.tokenizers import train_tokenizer
print(sorted(train_tokenizer({texts!r}).get_vocab().items()))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=TESTS)
    assert done.stdout.strip() == str(sorted(train_tokenizer(texts).get_vocab().items())), done.stderr


def test_tokenizer_without_text_is_an_error():
    with pytest.raises(ValueError, match="every text is None or blank"):
        train_tokenizer([None, " "])


@pytest.mark.parametrize(
    "words",
    [
        "ma má mà mạ mả mã",  # Vietnamese
        "कु के कै",  # Hindi
        "มา ม้า",  # Thai
        "كَتَبَ كُتُب",  # Arabic
        "かき かぎ",  # Japanese
        "ano año",  # Spanish
        "schon schön",  # German
        "가 각",  # Korean
    ],
)
def test_the_tokenizer_keeps_words_apart_that_differ_in_marks(words):
    tokenizer = train_tokenizer([words])
    encoded = [tuple(tokenizer(word)["input_ids"]) for word in words.split()]
    assert len(set(encoded)) == len(encoded) and tokenizer.unk_token_id not in sum(encoded, ())
    assert [tokenizer.decode(ids, skip_special_tokens=True) for ids in encoded] == words.split()


def test_a_letter_with_a_mark_is_one_however_it_was_typed():
    tokenizer = train_tokenizer(["caf\u00e9 caf\u00e9"])
    assert tokenizer.tokenize("CAFE\u0301") == tokenizer.tokenize("caf\u00e9") == ["caf\u00e9"]


def test_a_sentence_without_spaces_falls_into_pieces_however_long_it_is():
    sentence = "ผมชอบกินข้าวผัดมากเพราะอร่อย"
    tokenizer = train_tokenizer([sentence, "แมวกินปลา"] * 3)
    assert "[UNK]" not in tokenizer.tokenize("ปลากินแมว" + sentence * 10)
    assert tokenizer.tokenize("แมวกิน\u200bปลา") == tokenizer.tokenize("แมวกิน ปลา")


def test_a_character_never_met_is_unknown_by_itself(tmp_path):
    tokenizer = train_tokenizer(["日本の猫", "great days"] * 2)
    tokenizer.save_pretrained(tmp_path)
    for found in (tokenizer, AutoTokenizer.from_pretrained(tmp_path)):
        assert found.tokenize("日犬の great😀days") == ["日", "[UNK]", "の", "great", "[UNK]", "days"]


def test_every_character_of_the_texts_is_known():
    characters = [chr(0x4E00 + i) for i in range(3000)]
    tokenizer = train_tokenizer(["".join(characters)])
    assert tokenizer.unk_token_id not in tokenizer("".join(characters))["input_ids"]
