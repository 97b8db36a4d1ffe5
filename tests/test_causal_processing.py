# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""`MoTCausalProcessor`: what documents become in token ids, by hand and by markers; ids that become documents again;
padding, cutting, raw media and their placeholders; what cannot be read; saving, and use without the package.

Most tests have tokenizers whose codes a reader can see: a picture is four greys, a sound one code for each sample.
"""

import base64
import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
import torch
import transformers
from huggingface_hub import HfApi
from PIL import Image
from remote_steps import run_without_package
from small_media import png_bytes, sound_bytes

from mixture_of_transformers import MoTCausalConfig, MoTCausalProcessor, MoTConfig, MoTForCausalLM, MoTModel
from mixture_of_transformers.data.tokenizers import train_tokenizer, train_writing_tokenizer
from mixture_of_transformers.processing_mot import MoTProcessor
from mixture_of_transformers.tokens_mot import (
    MoTAudioTokenizer,
    MoTAudioTokenizerConfig,
    MoTImageTokenizer,
    MoTImageTokenizerConfig,
)

RATE = 100
TOWERS = {
    "image": {"model_type": "mot_image", "image_size": 8, "patch_size": 4, "hidden_size": 16, "num_hidden_layers": 1},
    "audio": {"model_type": "mot_audio", "num_mel_bins": 10, "hidden_size": 16, "num_hidden_layers": 1},
}
SENTENCES = ["a handwritten seven", "an eight", "say it loud", "and then"]


class Greys:
    """Pictures of 2 x 2 pixels, of sixteen greys each."""

    num_codes, num_tokens = 16, 4

    def encode(self, images):
        return torch.from_numpy(np.stack([np.asarray(image.convert("L")).flatten() // 16 for image in images])).long()

    def decode(self, codes):
        assert codes.shape[1:] == (4,)
        return [Image.fromarray((row.reshape(2, 2).numpy() * 16).astype(np.uint8)) for row in codes]


class Levels:
    """Sounds of a hundred samples a second, of eight levels each."""

    num_codes, sampling_rate, tokens_per_second = 8, RATE, RATE

    def encode(self, waveforms, sampling_rate):
        assert sampling_rate == RATE
        return [torch.from_numpy(waveform * 4 + 4).round().long() for waveform in waveforms]

    def decode(self, codes):
        return [((row - 4) / 4).float().numpy() for row in codes]


def picture(seed=0):
    return Image.fromarray((np.random.default_rng(seed).integers(16, size=(2, 2)) * 16).astype(np.uint8))


def sound(length=5, seed=0):
    levels = np.random.default_rng(seed).integers(8, size=length)
    return {"array": ((levels - 4) / 4).astype(np.float32), "sampling_rate": RATE}


def raw_sound(seconds=0.5, seed=0):
    samples = np.random.default_rng(seed).normal(size=int(16000 * seconds)) / 10
    return {"array": samples.astype(np.float32), "sampling_rate": 16000}


def words():
    return train_tokenizer(SENTENCES)


def build(**parts):
    parts = {"tokenizer": words(), "image_tokenizer": Greys(), "audio_tokenizer": Levels(), "encoders": TOWERS} | parts
    return MoTCausalProcessor(**parts)


@pytest.fixture(scope="module")
def processor():
    return build()


def real_tokenizers():
    image = MoTImageTokenizer(MoTImageTokenizerConfig(image_size=8, patch_size=4, hidden_size=8, num_hidden_layers=1))
    audio = MoTAudioTokenizer(MoTAudioTokenizerConfig(hidden_size=8, num_hidden_layers=1))
    return {"image_tokenizer": image.eval(), "audio_tokenizer": audio.eval()}


def assert_equal(actual, expected):
    assert actual.keys() == expected.keys()
    for name, values in expected.items():
        assert torch.equal(actual[name], values), name


def ids_by_hand(processor, *parts):
    """A text as its ids; a medium, ("image", codes), by the ranges that the config says."""
    config = processor.config_for()
    start_of = {name: start for name, start, _ in config.token_ranges}
    ids = [config.bos_token_id]
    for part in parts:
        if isinstance(part, str):
            ids += processor.tokenizer(part, add_special_tokens=False).input_ids
        else:
            name, codes = part
            ids += [config.begin_ids[name], *(start_of[name] + int(code) for code in codes), config.end_ids[name]]
    return ids


# Documents to ids


def test_a_document_is_its_parts_in_order_between_begin_and_end(processor):
    codes = Greys().encode([picture()])[0]
    levels = Levels().encode([sound()["array"]], RATE)[0]
    document = [{"text": "a seven"}, {"image": picture()}, {"text": "say it"}, {"audio": sound()}]
    expected = ids_by_hand(processor, "a seven", ("image", codes), "say it", ("audio", levels))
    batch = processor([document], return_tensors="pt")
    assert batch["input_ids"].tolist() == [expected]
    assert batch["attention_mask"].tolist() == [[1] * len(expected)]
    complete = processor([document], add_eos=True)["input_ids"]
    assert complete == [[*expected, processor.tokenizer.eos_token_id]]


@pytest.mark.parametrize("texts_as", [lambda texts: {"documents": texts}, lambda texts: {"text": texts}])
@pytest.mark.parametrize("nested", ["by row", "flat"])
def test_markers_say_the_same_as_documents(processor, texts_as, nested):
    documents = [
        [{"image": picture(0)}, {"text": "a seven"}, {"image": picture(1), "raw": True}, {"audio": sound()}],
        [{"text": "an eight"}],
        [{"image": picture(2)}, {"audio": raw_sound(), "raw": True}, {"text": "say it"}],
    ]
    texts = ["<image> a seven <image:raw><audio>", "an eight", "<image>  <audio:raw> say it"]
    images, audio = [[picture(0), picture(1)], None, [picture(2)]], [[sound()], [], [raw_sound()]]
    if nested == "flat":
        images, audio = [medium for row in images for medium in row or ()], [sound(), raw_sound()]
    expected = processor(documents, return_tensors="pt")
    assert_equal(processor(**texts_as(texts), images=images, audio=audio, return_tensors="pt"), expected)


def test_one_text_takes_one_medium_or_a_list_of_them(processor):
    expected = processor([[{"image": picture(0)}, {"image": picture(1)}]], return_tensors="pt")
    for images in ([picture(0), picture(1)], [[picture(0), picture(1)]]):
        assert_equal(processor(text="<image><image>", images=images, return_tensors="pt"), expected)
    expected = processor([[{"image": picture(0)}]], return_tensors="pt")
    for images in (picture(0), [picture(0)], [[picture(0)]], np.asarray(picture(0))):
        assert_equal(processor(text="<image>", images=images, return_tensors="pt"), expected)


def test_two_sounds_as_rate_and_samples_go_to_one_text(processor):
    sounds = [sound(4, 1), sound(6, 2)]
    expected = processor([[{"audio": sounds[0]}, {"audio": sounds[1]}]], return_tensors="pt")
    given = [(RATE, each["array"]) for each in sounds]
    assert_equal(processor(text="<audio><audio>", audio=given, return_tensors="pt"), expected)
    bare = [each["array"] for each in sounds]
    assert_equal(processor(text="<audio><audio>", audio=bare, sampling_rate=RATE, return_tensors="pt"), expected)


def test_texts_that_follow_each_other_are_one(processor):
    assert (
        processor([[{"text": "a hand"}, {"text": ""}, {"text": "written seven"}]])["input_ids"]
        == processor("a handwritten seven")["input_ids"]
    )


def test_a_document_may_be_empty_where_something_begins_it(processor):
    assert processor([[]])["input_ids"] == processor("")["input_ids"] == [[processor.tokenizer.bos_token_id]]


def test_codes_stand_in_for_the_medium(processor):
    codes, levels = Greys().encode([picture()])[0], [0, 7, 3]
    expected = ids_by_hand(processor, ("image", codes), ("audio", levels))
    document = [{"image": {"codes": codes}}, {"audio": {"codes": np.array(levels)}}]
    assert processor([document])["input_ids"] == [expected]
    marked = processor("<image><audio>", images={"codes": codes}, audio={"codes": levels})
    assert marked["input_ids"] == [expected]


def test_a_modality_without_a_tokenizer_takes_codes(tmp_path):
    start = len(words()) + 2
    processor = MoTCausalProcessor(words(), token_ranges=[["motion", start, start + 9]])
    expected = ids_by_hand(processor, "say it", ("motion", [8, 0]))
    assert processor([[{"text": "say it"}, {"motion": {"codes": [8, 0]}}]])["input_ids"] == [expected]
    assert processor("say it <motion>", motion=[{"codes": [8, 0]}])["input_ids"] == [expected]
    assert processor.post_process_multimodal_output([expected]) == [[("text", "say it"), ("motion", None)]]


@pytest.mark.parametrize("form", ["path", "bytes", "data URL", "array", "file"])
def test_media_are_read_by_the_readers_of_the_house(processor, tmp_path, form):
    content = png_bytes(picture())
    (tmp_path / "picture.png").write_bytes(content)
    forms = {
        "path": str(tmp_path / "picture.png"),
        "bytes": {"bytes": content, "path": None},
        "data URL": "data:image/png;base64," + base64.b64encode(content).decode(),
        "array": np.asarray(picture()),
    }
    with open(tmp_path / "picture.png", "rb") as file:
        source = forms.get(form, file)
        given = processor([[{"image": source}]])
    assert given["input_ids"] == processor([[{"image": picture()}]])["input_ids"]


def test_a_sound_is_brought_to_the_rate_of_its_tokenizer(processor):
    content = sound_bytes(np.zeros(800), 8000)
    ids = processor([[{"audio": content}]])["input_ids"]
    assert ids == [ids_by_hand(processor, ("audio", [4] * 10))]  # a tenth of a second


def test_a_longer_sound_is_cut_on_request(processor):
    assert processor([[{"audio": sound(60)}]], max_audio_seconds=0.2)["input_ids"] == [
        ids_by_hand(processor, ("audio", Levels().encode([sound(60)["array"][:20]], RATE)[0]))
    ]


# Padding and cutting


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_row_is_the_same_in_a_batch(processor, side):
    rows = [[{"text": "a seven"}], [{"image": picture()}, {"text": "say it loud"}], [{"audio": sound(9)}]]
    batch = processor(rows, padding_side=side, return_tensors="pt")
    for ids, mask, row in zip(batch["input_ids"], batch["attention_mask"], rows):
        assert ids[mask.bool()].tolist() == processor([row])["input_ids"][0]
        assert set(ids[mask == 0].tolist()) <= {processor.tokenizer.pad_token_id}
        assert mask[-1 if side == "left" else 0] == 1


def test_padding_is_on_the_left_unless_asked_for(processor):
    batch = processor(["a", "a handwritten seven"], return_tensors="pt")
    assert batch["attention_mask"][0].tolist()[0] == 0 and batch["attention_mask"][0].tolist()[-1] == 1


def test_options_of_padding_are_those_of_tokenizers(processor):
    batch = processor(["a", "a handwritten seven"], padding="max_length", max_length=30, return_tensors="pt")
    assert batch["input_ids"].shape == (2, 30)
    batch = processor(["a", "a seven"], text_kwargs={"pad_to_multiple_of": 8, "return_tensors": "pt"})
    assert batch["input_ids"].shape == (2, 8)
    rows = [processor(text)["input_ids"][0] for text in ("a", "a seven")]
    assert processor(["a", "a seven"], padding=False)["input_ids"] == rows and len(rows[0]) < len(rows[1])


def test_no_medium_is_cut_in_half(processor):
    document = [{"text": "a seven"}, {"image": picture()}, {"text": "say it loud"}, {"audio": sound(6)}]
    whole = processor([document], add_eos=True)["input_ids"][0]
    config = processor.config_for()
    for length in range(1, len(whole) + 3):
        (ids,) = processor([document], add_eos=True, truncation=True, max_length=length)["input_ids"]
        assert len(ids) <= length and ids == whole[: len(ids)]
        for name, begin in config.begin_ids.items():
            assert ids.count(begin) == ids.count(config.end_ids[name])
        assert (ids[-1] == config.eos_token_id) == (length >= len(whole))
        if len(ids) < min(length, len(whole)):  # what would come next is a medium that has no room
            assert whole[len(ids)] in config.begin_ids.values()


def test_a_raw_medium_that_was_left_out_leaves_no_pixels(processor):
    rows = [
        [{"text": "a"}, {"image": picture(0), "raw": True}, {"image": picture(1), "raw": True}],
        [{"image": picture(2), "raw": True}, {"audio": raw_sound(), "raw": True}],
    ]
    whole = processor(rows, return_tensors="pt")
    cut = processor(rows, truncation=True, max_length=9, return_tensors="pt")
    assert torch.equal(cut["pixel_values"], whole["pixel_values"][[0, 2]])
    assert torch.equal(cut["pixel_mask"], torch.tensor([1, 1])) and "input_features" not in cut


def test_a_row_that_is_too_long_is_an_error_unless_it_may_be_cut(processor):
    with pytest.raises(ValueError, match=r"Row 1 has \d+ tokens, more than `max_length` \(3\)"):
        processor(["a", "a handwritten seven"], max_length=3)
    for wrong in (None, 0, 2.5):
        with pytest.raises(ValueError, match=f"`max_length` is {wrong}: expected a number of tokens"):
            processor(["a"], truncation=True, max_length=wrong)


# Raw media


def test_placeholders_are_as_many_as_the_tokens_of_the_tower(processor):
    media = [("image", picture(0)), ("audio", raw_sound(0.5)), ("image", picture(1)), ("audio", raw_sound(0.81, 1))]
    batch = processor([[{name: medium, "raw": True}] for name, medium in media], return_tensors="pt")
    config = processor.config_for()
    raw = {
        "image": {"pixel_values": batch["pixel_values"]},
        "audio": {
            "input_features": batch["input_features"],
            "input_features_mask": batch["input_features_mask"],
        },
    }
    for name, inputs in raw.items():
        absent = {f"{m}_config": None for m in ("text", "image", "audio") if m != name}
        tower = MoTModel(
            MoTConfig(
                hidden_size=16,
                num_attention_heads=2,
                num_global_layers=0,
                **{**absent, f"{name}_config": TOWERS[name]},
            )
        )
        counts = tower(**inputs).attention_mask.sum(1)
        rows = batch["input_ids"][[i for i, (m, _) in enumerate(media) if m == name]]
        assert (rows == config.placeholder_ids[name]).sum(1).tolist() == counts.tolist()


def test_raw_media_of_all_rows_come_in_reading_order_as_the_other_processor_reads_them(processor):
    other = MoTProcessor(processor.image_processor, processor.feature_extractor, words())
    pictures, sounds = [picture(i) for i in range(3)], [raw_sound(0.5), raw_sound(0.7)]
    expected = other(images=pictures, return_tensors="pt") | other(audio=sounds, return_tensors="pt")
    rows = [
        [{"image": pictures[0], "raw": True}, {"audio": sounds[0], "raw": True}, {"image": pictures[1], "raw": True}],
        [{"audio": sounds[1], "raw": True}, {"image": pictures[2], "raw": True}],
    ]
    batch = processor(rows, return_tensors="pt")
    for name, values in expected.items():
        assert torch.equal(batch[name], values), name


def test_a_medium_without_a_tokenizer_goes_through_the_tower_by_itself():
    processor = build(image_tokenizer=None)
    assert_equal(
        processor("<image> a", images=picture(), return_tensors="pt"),
        processor([[{"image": picture(), "raw": True}, {"text": "a"}]], return_tensors="pt"),
    )
    assert len(processor.config_for().codes("image")) == 0 and "image" not in processor.config_for().num_tokens


def test_other_kinds_of_raw_input_have_placeholders_too():
    processor = MoTCausalProcessor(
        words(),
        modalities={"imu": {"kind": "series", "num_channels": 2}},
        encoders={"imu": {"model_type": "mot_series", "num_channels": 2, "hidden_size": 16, "num_hidden_layers": 1}},
    )
    batch = processor([[{"imu": np.zeros((40, 2), dtype=np.float32)}, {"text": "a"}]], return_tensors="pt")
    assert batch["imu_values"].shape == (1, 40, 2)
    assert (batch["input_ids"] == processor.placeholder_ids["imu"]).sum() > 0


# Ids to documents


def test_what_was_written_comes_back(processor):
    parts = [("text", "a seven"), ("image", picture()), ("audio", sound()["array"]), ("text", "say it")]
    document = [{name: {"array": value, "sampling_rate": RATE} if name == "audio" else value} for name, value in parts]
    batch = processor([document, [{"text": "an eight"}]], add_eos=True, return_tensors="pt")
    first, second = processor.post_process_multimodal_output(batch["input_ids"])
    assert second == [("text", "an eight")]
    assert [name for name, _ in first] == [name for name, _ in parts]
    for (name, actual), (_, expected) in zip(first, parts):
        if name == "text":
            assert actual == expected
        else:
            assert np.array_equal(np.asarray(actual), np.asarray(expected)), name


def test_text_of_any_characters_comes_back_as_it_was():
    processor = build(tokenizer=train_writing_tokenizer(SENTENCES))
    text = "\tÄrger  in 東京\n🙂 <image> <|pad and [CLS] "
    batch = processor([[{"audio": sound()}, {"text": text}, {"image": picture()}, {"text": text}]], add_eos=True)
    (found,) = processor.post_process_multimodal_output(batch["input_ids"])
    assert [value for name, value in found if name == "text"] == [text, text]
    assert processor("a seven")["input_ids"][0] == processor.tokenizer("a seven").input_ids


def test_a_mode_gives_what_was_asked_for(processor):
    batch = processor([[{"image": picture(0)}, {"text": "a seven"}, {"image": picture(1)}], [{"text": "an eight"}]])
    texts = processor.post_process_multimodal_output(batch["input_ids"], generation_mode="text")
    assert texts == ["a seven", "an eight"]
    assert texts == processor.post_process_image_text_to_text(batch["input_ids"])
    first, second = processor.post_process_multimodal_output(batch["input_ids"], generation_mode="image")
    assert np.array_equal(np.asarray(first), np.asarray(picture(1))) and second is None
    with pytest.raises(ValueError, match="did you mean `image`"):
        processor.post_process_multimodal_output(batch["input_ids"], generation_mode="images")


def test_decoding_writes_markers_that_read_as_the_same(processor):
    text = "a seven <image> <audio> say it"
    batch = processor(text, images=picture(), audio=[sound()])
    assert processor.batch_decode(batch["input_ids"], skip_special_tokens=True) == [text]
    assert processor.decode(batch["input_ids"][0], skip_special_tokens=True) == text
    assert processor.decode(torch.tensor(batch["input_ids"]))[0].startswith(processor.tokenizer.bos_token)


def test_a_medium_that_is_not_whole_is_none(processor):
    begin, *codes, end = processor([[{"image": picture()}]], add_special_tokens=False)["input_ids"][0]
    (word,) = processor.tokenizer("a", add_special_tokens=False).input_ids
    for broken in ([begin], [begin, *codes[:3]], [begin, *codes[:3], end], [begin, *codes, codes[0], end]):
        assert processor.post_process_multimodal_output([word, *broken]) == [[("text", "a"), ("image", None)]]
    for whole in ([begin, *codes], codes):
        ((_, value),) = processor.post_process_multimodal_output(whole)[0]
        assert np.array_equal(np.asarray(value), np.asarray(picture()))


def test_a_medium_whose_codes_its_tokenizer_refuses_is_none_and_the_others_are_there():
    class Wary(Levels):
        def decode(self, codes):
            if any(row[0] == 7 for row in codes):
                raise ValueError("No sound begins so loud.")
            return super().decode(codes)

    processor = build(audio_tokenizer=Wary())
    ids = processor([[{"audio": {"codes": codes}}] for codes in ([4, 7], [7, 4], [0])])["input_ids"]
    first, second, third = processor.post_process_multimodal_output(ids, generation_mode="audio")
    assert first.tolist() == [0, 0.75] and second is None and third.tolist() == [-1]


def test_a_sound_that_was_broken_off_is_what_there_is_of_it(processor):
    ids = processor([[{"audio": sound(9)}]])["input_ids"][0]
    ((name, samples),) = processor.post_process_multimodal_output(ids[:-4])[0]
    assert name == "audio" and np.array_equal(samples, sound(9)["array"][:6])


def test_a_medium_that_went_through_a_tower_is_none(processor):
    batch = processor([[{"image": picture(), "raw": True}, {"audio": raw_sound(), "raw": True}]], return_tensors="pt")
    assert processor.post_process_multimodal_output(batch["input_ids"]) == [[("image", None), ("audio", None)]]


@pytest.mark.parametrize("within", [False, True])
@pytest.mark.parametrize("name", ["_attn_implementation", "attn_implementation", "_experts_implementation"])
def test_a_saved_tokenizer_of_media_names_no_code(tmp_path, name, within):
    """An implementation may be a kernel of the Hub, which would be fetched and run."""
    build(**real_tokenizers()).save_pretrained(tmp_path)
    file = tmp_path / "image_tokenizer" / "config.json"
    told = {name: "someone/kernel"}
    file.write_text(json.dumps(json.loads(file.read_text()) | ({"tokenizer": told} if within else told)))
    with pytest.raises(ValueError, match=f"image_tokenizer of .* says how to compute, in `{name}`"):
        MoTCausalProcessor.from_pretrained(tmp_path)


def test_a_saved_tokenizer_of_media_is_never_unpickled(tmp_path):
    parts = real_tokenizers()
    build(**parts).save_pretrained(tmp_path)
    (tmp_path / "image_tokenizer" / "model.safetensors").unlink()
    torch.save(parts["image_tokenizer"].state_dict(), tmp_path / "image_tokenizer" / "pytorch_model.bin")
    with pytest.raises(OSError, match="model.safetensors"):
        MoTCausalProcessor.from_pretrained(tmp_path)


def test_ids_in_any_form_are_decoded(processor):
    ids = processor("a seven")["input_ids"][0]
    for form in (ids, torch.tensor(ids), np.array(ids)):
        assert processor.decode(form, skip_special_tokens=True) == "a seven"
    for form in ([ids, ids], torch.tensor([ids, ids]), [torch.tensor(ids), np.array(ids)]):
        assert processor.batch_decode(form, skip_special_tokens=True) == ["a seven"] * 2


# A model's config


def test_ranges_lie_behind_the_text_and_hold_codes_and_placeholders(processor):
    config = processor.config_for(hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2)
    text = len(processor.tokenizer)
    assert config.token_ranges == [["image", text, text + 17], ["audio", text + 17, text + 26]]
    assert config.vocab_size == text + 26 and config.num_tokens == {"image": 4}
    assert config.placeholder_ids == {"image": text + 16, "audio": text + 25}
    assert config.codes("image") == range(text, text + 16) and config.encoders == TOWERS
    assert processor.tokenizer.convert_ids_to_tokens(config.begin_ids["audio"]) == "<|begin_audio|>"
    assert config.pad_token_id == processor.tokenizer.pad_token_id
    batch = processor([[{"image": picture()}, {"text": "a"}], [{"audio": sound()}]], return_tensors="pt")
    model = MoTForCausalLM(config)
    labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
    assert model(**batch, labels=labels).loss.isfinite()


def test_ranges_may_begin_behind_a_larger_table_of_embeddings():
    processor = build(text_vocab_size=500)
    assert processor.config_for().token_ranges[0][:2] == ["image", 500]
    assert build(text_vocab_size=7).config_fields == build().config_fields


def test_text_alone_needs_nothing_else():
    processor = MoTCausalProcessor(words())
    assert processor.config_for().modalities == ("text",)
    assert (
        processor.decode(processor("a <image> seven")["input_ids"][0], skip_special_tokens=True) == "a < image > seven"
    )


def test_the_tokenizer_of_the_user_stays_as_it_is():
    tokenizer = words()
    before = (len(tokenizer), tokenizer.padding_side, tokenizer.bos_token, tokenizer("a").input_ids)
    processor = build(tokenizer=tokenizer)
    assert (len(tokenizer), tokenizer.padding_side, tokenizer.bos_token, tokenizer("a").input_ids) == before
    assert len(processor.tokenizer) == before[0] + 4


@pytest.mark.parametrize("names", [{"eos_token": "e"}, {"bos_token": "b", "eos_token": "e", "pad_token": "p"}, {}])
def test_the_tokenizer_alone_gives_the_ids_of_a_text_document(names):
    tokenizer = words()
    for name in ("cls_token", "sep_token", "pad_token"):
        setattr(tokenizer, name, None)
    tokenizer.add_special_tokens(names)
    processor = build(tokenizer=tokenizer)
    assert processor.tokenizer("a seven").input_ids == processor("a seven")["input_ids"][0]
    config = processor.config_for()
    assert config.eos_token_id is not None and config.pad_token_id is not None
    assert (config.bos_token_id is None) == ("bos_token" not in names)


def test_without_a_token_that_begins_documents_an_empty_one_is_an_error():
    tokenizer = words()
    tokenizer.cls_token = None
    with pytest.raises(ValueError, match="Row 1 is empty, and the tokenizer has no `bos_token`"):
        build(tokenizer=tokenizer)(["a", ""])


# Conversations


def conversation():
    return [
        {"role": "user", "content": [{"type": "image", "image": picture()}, {"type": "text", "text": "a seven"}]},
        {"role": "assistant", "content": "say it"},
        {
            "role": "user",
            "content": [{"type": "text", "text": "and"}, {"type": "audio", "audio": raw_sound(), "raw": True}],
        },
    ]


def test_a_conversation_is_one_document(processor):
    assert processor.apply_chat_template(conversation()) == "<image>a seven\nsay it\nand<audio:raw>"
    options = {"tokenize": True, "return_dict": True, "return_tensors": "pt"}
    document = [
        {"image": picture()},
        {"text": "a seven\nsay it\nand"},
        {"audio": raw_sound(), "raw": True},
    ]
    expected = processor([document], return_tensors="pt")
    assert_equal(processor.apply_chat_template(conversation(), add_generation_prompt=True, **options), expected)
    batch = processor.apply_chat_template([conversation(), conversation()[1:2]], **options)
    assert_equal(batch, processor([document, [{"text": "say it"}]], return_tensors="pt"))


def test_entries_name_files(processor, tmp_path):
    (tmp_path / "picture.png").write_bytes(png_bytes(picture()))
    expected = processor([[{"image": picture()}]])["input_ids"]
    for source in (
        {"path": str(tmp_path / "picture.png")},
        {"url": str(tmp_path / "picture.png")},
        {"base64": base64.b64encode(png_bytes(picture())).decode()},
    ):
        messages = [{"role": "user", "content": [{"type": "image"} | source]}]
        assert processor.apply_chat_template(messages, tokenize=True) == expected


def test_a_template_of_ones_own_says_roles(processor):
    template = "{% for message in messages %}{{ message.role }}: {{ message.content[0].text }}\n{% endfor %}"
    processor = build(chat_template=template)
    messages = [{"role": "user", "content": [{"type": "text", "text": "a"}]}]
    assert processor.apply_chat_template(messages) == "user: a\n"


def test_entries_of_other_types_are_an_error(processor):
    messages = [{"role": "user", "content": [{"type": "video", "url": "clip.mp4"}]}]
    with pytest.raises(ValueError, match="Unknown type of an entry: `video`"):
        processor.apply_chat_template(messages, tokenize=True)


# What cannot be read


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ({"documents": [[{"image": None}]]}, "documents[0][0] is None"),
        ({"documents": [[{"text": "a"}, {"image": "nowhere.png"}]]}, "documents[0][1]"),
        ({"documents": [[{"image": picture(), "audio": sound()}]]}, "expected a dict with one modality"),
        ({"documents": [[{"image": picture(), "raw": "yes"}]]}, "has `raw` 'yes'"),
        ({"documents": [[{"text": "a", "raw": True}]]}, "beside a medium alone"),
        ({"documents": [[{"img": picture()}]]}, "Unknown modality of documents[0][0]: `img`"),
        ({"documents": [[{"text": 7}]]}, "documents[0][0] has a text of type int"),
        ({"documents": 7}, "`documents` is 7"),
        ({"documents": []}, "`documents` is []"),
        ({"documents": [[{"text": "a <|begin_image|>"}]]}, "documents[0][0] holds <|begin_image|>, a token of media"),
        ({"documents": [[{"image": {"codes": [1, 2]}}]]}, "documents[0][0] has 2 codes, expected 4"),
        ({"documents": [[{"image": {"codes": [1, 2, 3, 16]}}]]}, "codes from 1 to 16, expected 0 to 15"),
        ({"documents": [[{"audio": {"codes": [0.5]}}]]}, "expected whole numbers (n,)"),
        ({"documents": [[{"audio": {"codes": [1]}, "raw": True}]]}, "given as its codes, which no tower reads"),
        (
            {"documents": [[{"audio": np.zeros(9, dtype=np.float32)}]]},
            "The sampling rate of documents[0][0] is missing",
        ),
        (
            {"documents": [[{"audio": {"array": np.zeros(0), "sampling_rate": 8000}}]]},
            "documents[0][0] has zero length",
        ),
        ({"documents": [[{"audio": np.zeros(9), "raw": True}]]}, "The sampling rate of documents[0][0] is missing"),
        ({"documents": [[{"text": "a"}]], "images": [picture()]}, "Got `documents` beside `text` or media"),
        ({"documents": [[{"text": "a"}]], "text": "a"}, "Got `documents` beside `text` or media"),
        ({"text": "a <image>"}, "`images` has 0 media, but the texts have [1] markers <image>"),
        ({"text": "a", "images": picture()}, "`images` has 1 media, but the texts have [0] markers <image>"),
        (
            {"text": ["<image>", "<image>"], "images": [[picture(), picture()], []]},
            "`images` has [2, 0] media of the rows, but the texts have [1, 1] markers",
        ),
        ({"text": ["a", None]}, "text[1] has type NoneType"),
        ({"images": picture()}, "got no `documents` and no `text`"),
        ({"text": "a", "videos": ["clip.mp4"]}, "`videos` was given, but this processor has no ids for it"),
        ({"text": "a", "imags": picture()}, "Unknown argument `imags`: did you mean `images`?"),
        ({"text": "a", "return_offsets_mapping": True}, "`return_offsets_mapping` is an option of tokenizers"),
        ({"text": "a", "text_kwargs": {"stride": 3}}, "`stride` is an option of tokenizers"),
    ],
    ids=lambda value: None if isinstance(value, dict) else value[:40],
)
def test_what_cannot_be_read_is_a_clear_error(processor, call, message):
    with pytest.raises((ValueError, OSError), match=re.escape(message)):
        processor(**call)


@pytest.mark.parametrize(
    ("parts", "document", "message"),
    [
        ({"encoders": {}}, [{"image": picture(), "raw": True}], "this processor has no tower for 'image'"),
        ({"image_tokenizer": None}, [{"image": picture(), "raw": False}], "has no `image_tokenizer`"),
        (
            {"image_tokenizer": None, "encoders": {}, "token_ranges": [["image", 200, 216], ["audio", 216, 224]]},
            [{"image": picture()}],
            "this processor has neither a tokenizer nor a tower for 'image'",
        ),
        (
            {"image_tokenizer": None, "encoders": {}},
            [{"image": picture()}],
            "Unknown modality of documents[0][0]: `image`",
        ),
    ],
)
def test_a_medium_that_the_processor_has_no_part_for_is_a_clear_error(parts, document, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        build(**parts)([document])


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (
            {"token_ranges": [["image", 200, 230], ["audio", 230, 239]]},
            "`image_tokenizer` has 16 codes, but `token_ranges` gives 'image' 29 ids",
        ),
        ({"token_ranges": [["image", 200, 217]]}, "`encoders` names 'audio'"),
        ({"token_ranges": [["image", 200, 216]], "encoders": {}}, "`token_ranges` has no ids for 'audio'"),
        ({"token_ranges": [["image", 4, 21], ["audio", 100, 130]]}, "expected an id below 130 outside of every range"),
        ({"begin_ids": {"image": 5}, "end_ids": {}}, "`begin_ids` and `end_ids` name different modalities"),
        ({"encoders": {"imu": {"model_type": "mot_series"}}}, "Unknown modality in `encoders`: `imu`"),
        ({"tokenizer": None}, "`tokenizer` has type NoneType"),
    ],
)
def test_parts_that_do_not_fit_each_other_are_a_clear_error(parts, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        build(**parts)


def test_ids_outside_the_vocabulary_are_a_clear_error(processor):
    most = processor.config_for().vocab_size - 1
    for wrong in (most + 1, -100):
        with pytest.raises(ValueError, match=f"Row 1 has the id {wrong}, expected whole numbers from 0 to {most}"):
            processor.batch_decode([[5], [5, wrong]])


# Files


def test_a_saved_processor_does_the_same(tmp_path):
    processor = build(**real_tokenizers(), chat_template="{{ messages[0].content }}", text_vocab_size=200)
    processor.save_pretrained(tmp_path)
    again = transformers.AutoProcessor.from_pretrained(tmp_path)
    assert type(again) is MoTCausalProcessor
    assert again.config_fields == processor.config_fields and again.chat_template == processor.chat_template
    rows = [
        [{"text": "a seven"}, {"image": picture()}, {"audio": raw_sound()}],
        [{"image": picture(), "raw": True}, {"audio": raw_sound(), "raw": True}],
    ]
    batch = processor(rows, return_tensors="pt")
    assert_equal(again(rows, return_tensors="pt"), batch)
    (first, _), (expected, _) = (
        each.post_process_multimodal_output(batch["input_ids"]) for each in (again, processor)
    )
    assert [name for name, _ in first] == ["text", "image", "audio"]
    for (_, actual), (_, wanted) in zip(first, expected):
        assert np.array_equal(np.asarray(actual), np.asarray(wanted))


def test_a_saved_processor_may_lack_tokenizers_of_media(tmp_path):
    build(image_tokenizer=None, audio_tokenizer=None).save_pretrained(tmp_path)
    again = transformers.AutoProcessor.from_pretrained(tmp_path)
    assert not again.codecs and again.config_for().encoders == TOWERS
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]


def test_modalities_keep_their_ids_in_a_saved_config(tmp_path):
    processor = build()
    processor.config_for().save_pretrained(tmp_path)
    assert MoTCausalConfig.from_pretrained(tmp_path).token_ranges == processor.token_ranges


USE = """
import sys
import numpy as np, torch, transformers
from PIL import Image
processor = transformers.AutoProcessor.from_pretrained(sys.argv[1], trust_remote_code=True)
model = transformers.AutoModelForCausalLM.from_pretrained(sys.argv[1], trust_remote_code=True)
sound = {"array": np.sin(np.arange(8000) / 9).astype(np.float32), "sampling_rate": 16000}
rows = [[{"text": "a seven"}, {"image": Image.new("L", (8, 8), 80)}, {"audio": sound}], [{"text": "say it"}]]
batch = processor(rows, return_tensors="pt")
ids = model.generate(**batch, generation_mode="image")
found = processor.post_process_multimodal_output(ids, generation_mode="image")
assert all(picture.size == (8, 8) for picture in found), found
torch.save((batch["input_ids"], ids), sys.argv[2])
"""


LOAD = """
import sys
import transformers
from PIL import Image
processor = transformers.AutoProcessor.from_pretrained("user/documents", trust_remote_code=True)
assert list(processor.codecs) == ["image"], processor.codecs
print(processor([[{"text": "a seven"}, {"image": Image.new("L", (8, 8), 80)}]])["input_ids"])
"""


@pytest.mark.slow
def test_a_processor_on_the_hub_brings_its_tokenizers(hub, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    processor = build(**real_tokenizers() | {"audio_tokenizer": None})
    processor.save_pretrained(tmp_path / "saved")
    api = HfApi(endpoint=hub["HF_ENDPOINT"], token=hub["HF_TOKEN"])
    api.create_repo("user/documents")
    api.upload_folder(folder_path=tmp_path / "saved", repo_id="user/documents")
    environment = os.environ | hub | {"HF_HOME": str(tmp_path / "home"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", LOAD], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    document = [{"text": "a seven"}, {"image": Image.new("L", (8, 8), 80)}]
    assert done.stdout.splitlines()[-1] == str(processor([document])["input_ids"])


@pytest.mark.slow
def test_without_the_package_a_saved_folder_does_the_same(tmp_path):
    processor = build(**real_tokenizers(), encoders={})
    model = MoTForCausalLM(
        processor.config_for(hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2)
    )
    model.save_pretrained(tmp_path / "saved")
    processor.save_pretrained(tmp_path / "saved")
    run_without_package(USE, tmp_path / "saved", tmp_path / "ids.pt", folder=tmp_path)
    input_ids, ids = torch.load(tmp_path / "ids.pt")
    audio = {"array": np.sin(np.arange(8000) / 9).astype(np.float32), "sampling_rate": 16000}
    rows = [[{"text": "a seven"}, {"image": Image.new("L", (8, 8), 80)}, {"audio": audio}], [{"text": "say it"}]]
    batch = processor(rows, return_tensors="pt")
    assert torch.equal(batch["input_ids"], input_ids)
    assert torch.equal(model.generate(**batch, generation_mode="image"), ids)
