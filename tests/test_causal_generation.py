# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""`generate` of the causal model: every output can be read back, whatever the mode, the strategy and the batch; what
is known of the next ids changes cost alone; guidance and streams say what their slow counterparts say."""

import inspect
import random
import threading
import time
from queue import Empty

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import CompileConfig, GenerationConfig, pipeline
from transformers.generation import ContinuousBatchingConfig

from mixture_of_transformers import MoTCausalConfig, MoTForCausalLM
from mixture_of_transformers.data.tokenizers import train_tokenizer
from mixture_of_transformers.grammar_mot import MoTGrammar
from mixture_of_transformers.processing_causal_mot import MoTCausalProcessor
from mixture_of_transformers.streaming_mot import MoTIteratorStreamer, MoTStreamer

BOS, EOS, PAD = 1, 2, 0
BEGIN, END = {"image": 4, "audio": 6, "tactile": 8}, {"image": 5, "audio": 7, "tactile": 9}
RANGES = {"image": (40, 50), "audio": (50, 62), "tactile": (62, 66)}
CODES = {"image": range(40, 49), "audio": range(50, 61), "tactile": range(62, 66)}  # the last of two is a placeholder
NUMBER = {"image": 4, "tactile": 1}
MODES = ("text", "image", "audio", "tactile", "interleaved")
STRATEGIES = {
    "greedy": {},
    "sampling": {"do_sample": True, "top_k": 8},
    "beams": {"num_beams": 3},
    "sampled beams": {"num_beams": 2, "do_sample": True, "temperature": 1.5},
    "several": {"do_sample": True, "num_return_sequences": 2},
    "no cache": {"use_cache": False},
    "static cache": {"cache_implementation": "static"},
    "repetition penalty": {"repetition_penalty": 1.7},
    "no repetition": {"no_repeat_ngram_size": 2},
    "no early end": {"min_new_tokens": 9},
}
PROMPTS = {
    "text": [BOS, 20, 21, 22],
    "after a picture": [BOS, 4, 41, 42, 40, 48, 5, 30],
    "after raw media": [BOS, 4, 49, 49, 5, 6, 61, 7],
    "at a picture": [BOS, 30, 4],
    "within a picture": [BOS, 20, 4, 44, 45],
    "at the end of a picture": [BOS, 4, 44, 45, 46, 47],
    "within a sound": [BOS, 6, 51, 52],
    "at a sound": [BOS, 6],
}


def small_config(**changes) -> MoTCausalConfig:
    fields = {
        "vocab_size": 70,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 128,
        "initializer_range": 0.4,
        "token_ranges": [[m, *bounds] for m, bounds in RANGES.items()],
        "begin_ids": BEGIN,
        "end_ids": END,
        "num_tokens": NUMBER,
        "placeholder_ids": {"image": 49, "audio": 61},
        "bos_token_id": BOS,
        "eos_token_id": EOS,
        "pad_token_id": PAD,
    }
    return MoTCausalConfig(**fields | changes)


def small_model(seed: int = 0, **changes) -> MoTForCausalLM:
    torch.manual_seed(seed)
    model = MoTForCausalLM(small_config(**changes)).eval()
    with torch.no_grad():  # media are to begin and end within few tokens
        for token in (*BEGIN.values(), *END.values(), EOS):
            model.lm_head.weight[token] *= 2
    return model


@pytest.fixture(scope="module")
def model():
    return small_model()


def left_padded(prompts: list[list[int]]) -> dict[str, torch.Tensor]:
    longest = max(map(len, prompts))
    ids = [[PAD] * (longest - len(prompt)) + prompt for prompt in prompts]
    mask = [[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts]
    return {"input_ids": torch.tensor(ids), "attention_mask": torch.tensor(mask)}


def new_ids(model, prompts: list[list[int]], **kwargs) -> list[list[int]]:
    """What is generated after each prompt, up to the end, or to what fills the row."""
    inputs = left_padded(prompts)
    rows = model.generate(**inputs, **kwargs)[:, inputs["input_ids"].shape[1] :].tolist()
    return [row[: row.index(EOS) + 1] if EOS in row else row for row in rows]


def can_follow(mode: str, prompt: list[int], new: list[int], budget: int) -> set[int]:
    """Read slowly, id by id: what may come next."""
    media = {"text": (), "interleaved": tuple(BEGIN)}.get(mode, (mode,))
    within, count, finished = None, 0, False
    for column, token in enumerate(prompt + new):
        if token in BEGIN.values():
            within, count = next(m for m in BEGIN if BEGIN[m] == token), 0
        elif token in END.values():
            within, finished = None, column >= len(prompt)
        else:
            count += 1
    left = budget - len(new)
    if within is not None:
        codes, end = set(CODES[within]), {END[within]}
        if within in NUMBER:
            return codes if count < NUMBER[within] else end
        return codes if count == 0 else end if left <= 1 else codes | end
    if mode not in ("text", "interleaved"):
        return {EOS} if finished else {BEGIN[mode]}
    text = set(range(70)) - set(range(40, 66)) - set(BEGIN.values()) - set(END.values())
    return text | {BEGIN[m] for m in media if left >= NUMBER.get(m, 1) + 2}


def assert_parses(mode: str, prompt: list[int], new: list[int], budget: int) -> None:
    for length, token in enumerate(new):
        assert token in can_follow(mode, prompt, new[:length], budget), (mode, prompt, new, length)
    is_whole = len(new) < budget and new[-1] == EOS
    marks = [token for token in prompt + new if token in {*BEGIN.values(), *END.values()}]
    assert is_whole or len(new) == budget
    assert not marks or marks[-1] in END.values(), "the last medium is broken off"


def prompts_of(mode: str) -> list[list[int]]:
    """Those that end outside of media, or within one that the mode completes."""
    ends = {"interleaved": tuple(BEGIN.values())}.get(mode, (BEGIN.get(mode),))
    unfinished = [next((t for t in p[::-1] if t in {*BEGIN.values(), *END.values()}), None) for p in PROMPTS.values()]
    return [p for p, mark in zip(PROMPTS.values(), unfinished) if mark not in BEGIN.values() or mark in ends]


@pytest.mark.parametrize("mode", MODES)
def test_the_grammar_lets_through_what_a_slow_reader_expects(mode):
    chance, budget, rows = random.Random(0), 12, []
    for prompt in prompts_of(mode):
        for _ in range(8):
            new: list[int] = []
            while len(new) < budget:
                rows.append((prompt, list(new)))
                new.append(chance.choice(sorted(can_follow(mode, prompt, new, budget))))
    config, seen = small_config(), set()
    for prompt, new in rows:
        grammar = MoTGrammar(config, mode, EOS, prompt_length=len(prompt), max_length=len(prompt) + budget)
        scores = grammar(torch.tensor([prompt + new]), torch.randn(1, config.vocab_size))
        found = frozenset((scores[0] > -torch.inf).nonzero()[:, 0].tolist())
        assert found == can_follow(mode, prompt, new, budget), (prompt, new)
        seen.add(found)
    assert len(seen) >= {"text": 1, "image": 4, "audio": 5, "tactile": 4, "interleaved": 8}[mode]


@pytest.mark.parametrize("kwargs", [{"num_beams": 2}, {"do_sample": True}, {}])
def test_an_output_parses_although_other_processors_rule_out_every_code(model, kwargs):
    (found,) = new_ids(
        model, [PROMPTS["text"]], generation_mode="image", suppress_tokens=list(CODES["image"]), **kwargs
    )
    assert len(found) == NUMBER["image"] + 3
    assert [found[0], *found[-2:]] == [BEGIN["image"], END["image"], EOS]
    assert {*found[1:-2]} <= {*CODES["image"]}


def test_rows_of_a_batch_obey_rules_of_their_own():
    config = small_config()
    prompts = list(PROMPTS.values())
    ids = left_padded(prompts)["input_ids"]
    grammar = MoTGrammar(config, "interleaved", EOS, prompt_length=ids.shape[1], max_length=ids.shape[1] + 6)
    scores = torch.randn(len(ids), config.vocab_size)
    before = scores.clone()
    together = grammar(ids, scores)
    alone = torch.cat([grammar(ids[i : i + 1], scores[i : i + 1]) for i in range(len(ids))])
    assert torch.equal(together, alone)
    assert torch.equal(scores, before), "the scores that came are not changed"
    assert len({tuple((row > -torch.inf).tolist()) for row in together}) > 4


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("mode", MODES)
def test_every_output_parses(model, mode, strategy):
    prompts = prompts_of(mode)
    kwargs = STRATEGIES[strategy]
    copies = kwargs.get("num_return_sequences", 1)
    for budget in (7, 23):
        rows = new_ids(model, prompts, generation_mode=mode, max_new_tokens=budget, **kwargs)
        assert len(rows) == len(prompts) * copies
        for prompt, new in zip((p for p in prompts for _ in range(copies)), rows):
            assert_parses(mode, prompt, new, budget)


def test_all_modes_are_of_the_media_that_the_config_has(model):
    assert model.output_modalities == ("text", "image", "audio", "tactile")
    assert small_model(begin_ids={}, end_ids={}, num_tokens={}).output_modalities == ("text",)


@pytest.mark.parametrize("mode", MODES)
def test_a_batch_of_prompts_padded_on_the_left_is_as_each_alone(model, mode):
    prompts = prompts_of(mode)
    together = new_ids(model, prompts, generation_mode=mode, max_new_tokens=17)
    assert together == [new_ids(model, [prompt], generation_mode=mode, max_new_tokens=17)[0] for prompt in prompts]
    backwards = new_ids(model, prompts[::-1], generation_mode=mode, max_new_tokens=17)
    assert together == backwards[::-1], "the order of the rows says nothing"


def test_beams_of_a_batch_are_as_those_of_each_alone(model):
    for mode in ("audio", "interleaved"):
        prompts = prompts_of(mode)
        kwargs = {"generation_mode": mode, "num_beams": 3, "max_new_tokens": 11}
        together = new_ids(model, prompts, **kwargs)
        assert together == [new_ids(model, [prompt], **kwargs)[0] for prompt in prompts]


@pytest.mark.parametrize("kind", ["no cache", "static cache", "chunks"])
@pytest.mark.parametrize("mode", MODES)
def test_what_is_kept_of_earlier_tokens_changes_nothing(model, mode, kind):
    prompts = prompts_of(mode)
    kwargs = {"chunks": {"prefill_chunk_size": 3}}.get(kind) or STRATEGIES[kind]
    expected = new_ids(model, prompts, generation_mode=mode, max_new_tokens=17)
    assert new_ids(model, prompts, generation_mode=mode, max_new_tokens=17, **kwargs) == expected


def test_generation_goes_on_from_a_cache_wherever_the_row_stands(model):
    prompt = torch.tensor([PROMPTS["within a picture"]])
    kwargs = {"generation_mode": "interleaved", "max_length": 30}
    whole = model.generate(prompt, **kwargs)
    for cut in range(6, 20):
        begun = whole[:, :cut]
        with torch.no_grad():
            cache = model(begun[:, :-1], use_cache=True).past_key_values
        assert torch.equal(model.generate(begun, past_key_values=cache, **kwargs), whole)


@pytest.mark.parametrize("mode", MODES)
def test_drafts_change_nothing(model, mode):
    assistant = small_model(seed=0, num_hidden_layers=1)
    assistant.load_state_dict(model.state_dict(), strict=False)  # so that some of its drafts are right
    for prompt in prompts_of(mode):
        kwargs = {"generation_mode": mode, "max_new_tokens": 11}
        expected = new_ids(model, [prompt], **kwargs)
        assert new_ids(model, [prompt], prompt_lookup_num_tokens=4, **kwargs) == expected
        assert new_ids(model, [prompt], assistant_model=assistant, **kwargs) == expected


def test_continuous_batching_writes_the_same_text(model):
    prompts = prompts_of("text")
    config = GenerationConfig(max_new_tokens=9, do_sample=False, eos_token_id=EOS, pad_token_id=PAD)
    little = ContinuousBatchingConfig(page_size=32, num_blocks=8, max_batch_tokens=64)
    # The model is another one, whose attention the library may change.
    answers = small_model().generate_batch(prompts, config, little, warmup=False)
    assert [answer.generated_tokens for answer in answers.values()] == new_ids(model, prompts, max_new_tokens=9)


def test_compiled_decoding_is_as_before(model):
    kwargs = {"max_new_tokens": 9, "cache_implementation": "static"}
    compiled = CompileConfig(backend="eager", fullgraph=True)
    compiled._compile_all_devices = True
    for mode in ("image", "interleaved"):
        prompts = prompts_of(mode)
        expected = new_ids(model, prompts, generation_mode=mode, **kwargs)
        assert new_ids(model, prompts, generation_mode=mode, compile_config=compiled, **kwargs) == expected


def calls_of(model, monkeypatch) -> list[tuple[torch.Tensor, str | None]]:
    """The ids and the `modality` of every call of `forward` from now on."""
    calls, forward = [], model.forward

    def spy(*args, **kwargs):
        calls.append((kwargs["input_ids"].clone(), kwargs.get("modality")))
        return forward(*args, **kwargs)

    spy.__signature__ = inspect.signature(forward)
    monkeypatch.setattr(model, "forward", spy)
    return calls


@pytest.mark.parametrize("strategy", [*STRATEGIES, "lookup", "assistant"])
@pytest.mark.parametrize("mode", MODES)
def test_what_forward_is_told_of_the_ids_is_so(model, mode, strategy, monkeypatch):
    drafts = {"lookup": {"prompt_lookup_num_tokens": 3}, "assistant": {"assistant_model": small_model(seed=1)}}
    kwargs = STRATEGIES.get(strategy) or drafts.get(strategy) or {}
    prompts = prompts_of(mode)
    batches = [[prompt] for prompt in prompts] + ([prompts] if strategy not in drafts else [])
    calls = calls_of(model, monkeypatch)
    for batch in batches:
        new_ids(model, batch, generation_mode=mode, max_new_tokens=8, **kwargs)
    told = [(ids, modality) for ids, modality in calls if modality is not None]
    for ids, modality in told:
        assert {model.config.modality_of(token) for token in ids.flatten().tolist()} == {modality}
    if strategy in drafts or strategy == "no cache":
        assert not told
    elif mode in ("image", "tactile"):
        assert {modality for _, modality in told} == {"text", mode}


def test_text_and_pictures_are_decoded_without_sorting(model, monkeypatch):
    calls = calls_of(model, monkeypatch)
    new_ids(model, [PROMPTS["text"], PROMPTS["after a picture"]], max_new_tokens=6)
    assert [modality for _, modality in calls[1:]] == ["text"] * (len(calls) - 1)
    calls.clear()
    new_ids(model, [PROMPTS["text"], PROMPTS["after a picture"]], generation_mode="image")
    assert [modality for _, modality in calls] == [None, "text", *["image"] * 4, "text"]
    calls.clear()
    new_ids(model, [PROMPTS["within a picture"]], generation_mode="image")
    assert [modality for _, modality in calls] == [None, *["image"] * 2, "text"]
    calls.clear()
    new_ids(model, [PROMPTS["text"], PROMPTS["within a picture"]], generation_mode="image")
    assert {modality for _, modality in calls} == {None}, "rows stand at different places"


def guided_slowly(model, prompt: list[int], mode: str, scale: float, budget: int, negative=(BOS,)) -> list[int]:
    """Guidance as its formula says, without a cache, a batch or padding; none at a scale of 1."""
    new: list[int] = []
    while len(new) < budget and (not new or new[-1] != EOS):
        ids = prompt + new
        with torch.no_grad():
            scores = model(torch.tensor([ids])).logits[0, -1].log_softmax(0)
            marks = [i for i, token in enumerate(ids) if token in {*BEGIN.values(), *END.values()}]
            if marks and ids[marks[-1]] in BEGIN.values():
                free = model(torch.tensor([[*negative, *ids[marks[-1] :]]])).logits[0, -1].log_softmax(0)
                scores = free + scale * (scores - free)
        allowed = sorted(can_follow(mode, prompt, new, budget))
        new.append(allowed[int(scores[allowed].argmax())])
    return new


@pytest.mark.parametrize("mode", MODES)
def test_a_batch_is_generated_as_a_plain_loop_of_forward_would(model, mode):
    expected = [guided_slowly(model, prompt, mode, 1.0, 17) for prompt in prompts_of(mode)]
    assert new_ids(model, prompts_of(mode), generation_mode=mode, max_new_tokens=17) == expected


@pytest.mark.parametrize("mode", MODES[1:])
def test_guidance_is_what_its_formula_says_in_rows_at_different_places(model, mode):
    prompts = prompts_of(mode)
    expected = [guided_slowly(model, prompt, mode, 2.5, 17) for prompt in prompts]
    kwargs = {"generation_mode": mode, "max_new_tokens": 17}
    assert new_ids(model, prompts, guidance_scale=2.5, **kwargs) == expected
    if mode in ("image", "audio"):
        assert new_ids(model, prompts, **kwargs) != expected, "guidance changes what is drawn"
    assert new_ids(model, prompts, guidance_scale=1.0, **kwargs) == new_ids(model, prompts, **kwargs)


def test_guidance_leads_away_from_a_negative_prompt(model):
    prompts = [PROMPTS["text"], PROMPTS["within a picture"], PROMPTS["after a picture"]]
    negative = [[BOS, 33, 34], [BOS, 12, 13, 14, 15], [BOS]]
    away = left_padded(negative)
    found = new_ids(
        model,
        prompts,
        generation_mode="image",
        guidance_scale=3.0,
        negative_prompt_ids=away["input_ids"],
        negative_prompt_attention_mask=away["attention_mask"],
    )
    assert found == [guided_slowly(model, p, "image", 3.0, 7, n) for p, n in zip(prompts, negative)]


def test_sequences_without_a_first_id_are_guided_too():
    other = small_model(bos_token_id=None)
    prompts = prompts_of("audio")
    found = new_ids(other, prompts, generation_mode="audio", guidance_scale=2.0, max_new_tokens=12)
    assert found == [guided_slowly(other, prompt, "audio", 2.0, 12, negative=()) for prompt in prompts]


def test_guidance_begins_anew_with_every_medium(model):
    """Text comes between the media, of which the second branch sees nothing."""
    prompt, budget = [BOS, 4, 44], 40
    for seed in range(3):
        other = small_model(seed)
        expected = guided_slowly(other, prompt, "interleaved", 2.0, budget)
        found = new_ids(
            other, [prompt, prompt], generation_mode="interleaved", guidance_scale=2.0, max_new_tokens=budget
        )
        assert found == [expected] * 2
        begun = sum(token in BEGIN.values() for token in expected)
        if begun >= 2:
            return
    pytest.fail("no seed gives several media")


def test_several_answers_are_guided_each(model):
    kwargs = {"generation_mode": "image", "guidance_scale": 4.0, "do_sample": True, "num_return_sequences": 3}
    rows = new_ids(model, [PROMPTS["text"], PROMPTS["at a picture"]], **kwargs)
    assert len(rows) == 6
    for prompt, new in zip([PROMPTS["text"]] * 3 + [PROMPTS["at a picture"]] * 3, rows):
        assert_parses("image", prompt, new, 7)


def test_a_mode_whose_medium_has_a_fixed_number_needs_no_budget(model):
    (new,) = new_ids(model, [PROMPTS["text"]], generation_mode="image")
    assert (len(new), new[0], new[-2:]) == (7, BEGIN["image"], [END["image"], EOS])
    (new,) = new_ids(model, [PROMPTS["at a picture"]], generation_mode="image")
    assert len(new) == 6
    (new,) = new_ids(model, [PROMPTS["text"]], generation_mode="audio", bad_words_ids=[[END["audio"]]])
    assert len(new) == 124, "it goes on to the end of the positions"
    assert new[-1] == END["audio"]


def test_a_generation_config_keeps_the_mode(model, tmp_path):
    ends = {"eos_token_id": EOS, "bos_token_id": BOS, "pad_token_id": PAD}
    model = small_model()
    model.generation_config = GenerationConfig(generation_mode="image", guidance_scale=2.0, **ends)
    model.save_pretrained(tmp_path)
    again = MoTForCausalLM.from_pretrained(tmp_path)
    expected = new_ids(small_model(), [PROMPTS["text"]], generation_mode="image", guidance_scale=2.0)
    assert new_ids(again, [PROMPTS["text"]]) == expected
    config = GenerationConfig(generation_mode="tactile", **ends)
    assert new_ids(again, [PROMPTS["text"]], generation_config=config)[0][0] == BEGIN["tactile"]
    plain = new_ids(small_model(), [PROMPTS["text"]], max_new_tokens=5)
    assert new_ids(again, [PROMPTS["text"]], generation_mode="text", max_new_tokens=5) == plain


@pytest.mark.parametrize("mode", MODES)
def test_embeddings_of_a_prompt_give_what_its_ids_give(model, mode):
    ids = torch.tensor([PROMPTS["after a picture"]])
    numbers = torch.tensor([[model.config.modalities.index(model.config.modality_of(t)) for t in ids[0].tolist()]])
    new = model.generate(
        inputs_embeds=model.get_input_embeddings()(ids),
        modality_ids=numbers,
        generation_mode=mode,
        max_new_tokens=12,
    )
    assert torch.equal(new, model.generate(ids, generation_mode=mode, max_new_tokens=12)[:, ids.shape[1] :])


def test_a_model_without_ranges_generates_as_the_library_does():
    plain = small_model(token_ranges=[], begin_ids={}, end_ids={}, num_tokens={}, placeholder_ids={})
    ids = torch.tensor([PROMPTS["after a picture"]])
    found = plain.generate(ids, max_new_tokens=12, eos_token_id=None)
    for _ in range(12):
        with torch.no_grad():
            ids = torch.cat([ids, plain(ids).logits[:, -1:].argmax(-1)], dim=1)
    assert torch.equal(found, ids)


def test_a_model_that_only_reads_pictures_writes_text_alone():
    reader = small_model(
        token_ranges=[["image", 40, 41]],
        begin_ids={"image": 4},
        end_ids={"image": 5},
        num_tokens={},
        placeholder_ids={"image": 40},
    )
    assert reader.output_modalities == ("text",)
    (new,) = new_ids(reader, [[BOS, 4, 40, 40, 5]], max_new_tokens=40, do_sample=True)
    assert not {4, 5, 40} & set(new)
    with pytest.raises(ValueError, match="'image'.* only reads"):
        new_ids(reader, [[BOS]], generation_mode="image")
    with pytest.raises(ValueError, match="ends within a medium of 'image'"):
        new_ids(reader, [[BOS, 4, 40, 40]])


@pytest.mark.parametrize(
    ("prompt", "kwargs", "message"),
    [
        ([BOS, 20], {"generation_mode": "video"}, "Unknown `generation_mode` 'video', expected one of text, image"),
        ([BOS, 70], {}, "the id 70, outside the model's vocabulary of 0 to 69"),
        ([BOS, -1], {"generation_mode": "image"}, "the id -1, outside"),
        ([BOS, 4, 44], {}, "Row 0 of the prompt ends within a medium of 'image', which `generation_mode='text'`"),
        ([BOS, 4, 44], {"generation_mode": "audio"}, "ends within a medium of 'image', which .*'audio'` does not"),
        ([BOS, 4, 49], {"generation_mode": "image"}, "not all codes of 'image'.*not placeholders"),
        ([BOS, 4, 44, 20], {"generation_mode": "interleaved"}, "not all codes of 'image'"),
        ([BOS, 4, 44, 44, 44, 44, 44], {"generation_mode": "image"}, "of 5 tokens, and one has 4: its end id"),
        ([BOS, 20], {"generation_mode": "image", "max_new_tokens": 5}, "Row 0 needs 6 new tokens .* leaves 5"),
        ([BOS, 20], {"generation_mode": "image", "max_length": 7}, "Row 0 needs 6 new tokens .* leaves 5"),
        ([BOS, 4, 44], {"generation_mode": "interleaved", "max_new_tokens": 3}, "needs 4 new tokens .* leaves 3"),
        ([BOS, 20], {"generation_mode": "audio", "max_new_tokens": 2}, "Row 0 needs 3 new tokens"),
        ([BOS, 6], {"generation_mode": "audio", "max_new_tokens": 1}, "Row 0 needs 2 new tokens"),
        ([BOS, 20], {"generation_mode": "image", "guidance_scale": 3.0, "num_beams": 2}, "not go with beam_search"),
        (
            [BOS, 20],
            {"generation_mode": "image", "guidance_scale": 3.0, "prompt_lookup_num_tokens": 2},
            "not go with assisted_generation",
        ),
        ([BOS, 20], {"guidance_scale": 3.0}, "guides pictures and sounds, and text mode makes none"),
        (
            [BOS, 20],
            {"generation_mode": "image", "negative_prompt_ids": torch.tensor([[BOS, 9]])},
            "give `guidance_scale` too",
        ),
        (
            [BOS, 20],
            {"generation_mode": "image", "guidance_scale": 3.0, "negative_prompt_ids": torch.tensor([[BOS]] * 2)},
            "`negative_prompt_ids` has 2 rows, expected one for each of the 1 rows",
        ),
        ([BOS, 20], {"modality": "text"}, "`modality` is an argument of `forward`"),
        ([BOS, 20], {"generation_modes": "image"}, "generation_modes"),
    ],
)
def test_what_cannot_be_generated_is_said_at_once(model, prompt, kwargs, message):
    with pytest.raises(ValueError, match=message):
        model.generate(torch.tensor([prompt]), **kwargs)


def test_a_mode_that_ends_needs_an_end():
    endless = small_model(eos_token_id=None)
    with pytest.raises(ValueError, match="ends with an `eos_token_id`"):
        endless.generate(torch.tensor([[BOS]]), generation_mode="image")


def test_continuous_batching_of_pictures_is_refused():
    config = GenerationConfig(max_new_tokens=9, generation_mode="image", eos_token_id=EOS)
    with pytest.raises(ValueError, match="Continuous batching cannot do `generation_mode='image'`"):
        small_model().generate_batch([[BOS, 20]], config)


class Codes:
    """A tokenizer of media whose decoded media say their codes."""

    def __init__(self, num_codes: int, num_tokens: int | None = None):
        self.num_codes, self.sampling_rate, self.tokens_per_second = num_codes, 8000, 50
        if num_tokens is not None:
            self.num_tokens = num_tokens

    def encode(self, media, *args):
        raise NotImplementedError

    def decode(self, codes):
        if hasattr(self, "num_tokens"):
            return [Image.fromarray(np.uint8(np.array(row))[None]) for row in codes]
        return [np.array(row, dtype=np.float32) for row in codes]


@pytest.fixture(scope="module")
def speaking():
    """A processor and a model for it, which soon begins and ends media."""
    tokenizer = train_tokenizer(["one two three four five six seven eight nine ten, a picture and a sound."], 300)
    processor = MoTCausalProcessor(tokenizer, Codes(9, 4), Codes(11))
    torch.manual_seed(3)
    fields = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    model = MoTForCausalLM(processor.config_for(**fields, initializer_range=0.4)).eval()
    with torch.no_grad():
        for token in (*processor.begin_ids.values(), *processor.end_ids.values()):
            model.lm_head.weight[token] *= 3
    return model, processor


def merged(segments) -> list[tuple]:
    """Pieces of text that follow each other as one; media as what can be compared."""
    found: list[tuple] = []
    for modality, content in segments:
        if modality != "text":
            found.append((modality, np.asarray(content).tolist()))
        elif found and found[-1][0] == "text":
            found[-1] = ("text", found[-1][1] + content)
        else:
            found.append(("text", content))
    return found


@pytest.mark.parametrize("mode", ["text", "image", "audio", "interleaved"])
def test_a_stream_gives_what_the_whole_output_says(speaking, mode):
    model, processor = speaking
    inputs = processor(text=["one two three", "a sound and a picture, ten"], return_tensors="pt")
    kwargs = {"generation_mode": mode, "max_new_tokens": 40, "do_sample": True}
    rows: list[list] = [[], []]
    torch.manual_seed(1)
    streamer = MoTStreamer(processor, lambda row, *segment: rows[row].append(segment))
    ids = model.generate(**inputs, **kwargs, streamer=streamer)
    new = ids[:, inputs["input_ids"].shape[1] :]
    expected = processor.post_process_multimodal_output(new)
    assert [merged(row) for row in rows] == [merged(row) for row in expected]
    if mode != "image":
        assert max(map(len, rows)) > 2 or mode == "audio", "it comes in pieces"
    torch.manual_seed(1)
    again = list(model.stream(processor, **inputs, **kwargs))
    for row in (0, 1):
        assert merged(segment for number, *segment in again if number == row) == merged(rows[row])


def test_the_pipeline_of_the_library_makes_what_each_mode_says(speaking):
    model, processor = speaking
    answer = pipeline("any-to-any", model=model, processor=processor)
    assert isinstance(answer("one", generation_mode="image")[0]["generated_image"], Image.Image)
    sound = answer("one", generation_mode="audio", max_new_tokens=9)[0]["generated_audio"]
    assert sound.dtype == np.float32 and 1 <= len(sound) <= 7
    assert answer("one", max_new_tokens=9)[0]["generated_text"].startswith("one")
    with pytest.raises(ValueError, match="tactile"):
        answer("one", generation_mode="tactile")


def test_a_stream_of_drafts_and_of_an_unfinished_prompt_is_whole(speaking):
    model, processor = speaking
    begin, first = processor.begin_ids["image"], processor.layout.codes("image").start
    ids = torch.tensor([[*processor("two")["input_ids"][0], begin, first + 3, first + 5]])
    kwargs = {"generation_mode": "image", "prompt_lookup_num_tokens": 3}
    ((row, modality, picture),) = model.stream(processor, input_ids=ids, **kwargs)
    assert (row, modality) == (0, "image")
    assert np.asarray(picture)[0, :2].tolist() == [3, 5]
    shown = []
    streamer = MoTStreamer(processor, lambda *segment: shown.append(segment), skip_prompt=False)
    model.generate(ids, streamer=streamer, **kwargs)
    assert "".join(content for _, modality, content in shown if modality == "text").strip() == "two"


def test_a_stream_raises_what_generate_raises_and_stops_with_its_reader(speaking):
    model, processor = speaking
    inputs = processor(text=["one"], return_tensors="pt")
    with pytest.raises(ValueError, match="Unknown `generation_mode`"):
        list(model.stream(processor, **inputs, generation_mode="video"))
    threads = threading.active_count()
    began = time.monotonic()
    segments = model.stream(processor, **inputs, max_new_tokens=100_000, eos_token_id=None)
    assert next(segments)[1] == "text"
    segments.close()
    assert time.monotonic() - began < 20
    assert threading.active_count() == threads


def test_an_iterator_of_segments_waits_as_long_as_it_is_told(speaking):
    with pytest.raises(Empty):
        next(iter(MoTIteratorStreamer(speaking[1], timeout=0.01)))
