# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""`generate` of the causal model: every output can be read back, whatever the mode, the strategy and the batch; what is
known of the next ids changes cost alone; guidance and streams say what their slow counterparts say."""

import itertools
import random
from queue import Empty

import pytest
import torch
from transformers import CompileConfig, GenerationConfig, LogitsProcessorList
from transformers.generation import StoppingCriteria, UnbatchedClassifierFreeGuidanceLogitsProcessor

from mixture_of_transformers import MoTCausalConfig, MoTForCausalLM
from mixture_of_transformers.generation_mot import MoTGuidance
from mixture_of_transformers.grammar_mot import MoTGrammar

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


def completes(mode: str, prompt: list[int]) -> bool:
    marks = [token for token in prompt if token in {*BEGIN.values(), *END.values()}]
    if not marks or marks[-1] in END.values():
        return True
    return mode == "interleaved" or mode in BEGIN and marks[-1] == BEGIN[mode]


@pytest.mark.parametrize("mode", MODES)
def test_the_grammar_lets_through_what_a_slow_reader_expects(mode):
    chance, budget, rows = random.Random(0), 12, []
    for prompt in PROMPTS.values():
        if not completes(mode, prompt):
            continue
        for _ in range(20):
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


def test_rows_of_a_batch_obey_rules_of_their_own():
    config = small_config()
    prompts = [prompt for prompt in PROMPTS.values()]
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
    prompts = [prompt for prompt in PROMPTS.values() if completes(mode, prompt)]
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
    prompts = [prompt for prompt in PROMPTS.values() if completes(mode, prompt)]
    together = new_ids(model, prompts, generation_mode=mode, max_new_tokens=17)
    assert together == [new_ids(model, [prompt], generation_mode=mode, max_new_tokens=17)[0] for prompt in prompts]
    backwards = new_ids(model, prompts[::-1], generation_mode=mode, max_new_tokens=17)
    assert together == backwards[::-1], "the order of the rows says nothing"


def test_beams_of_a_batch_are_as_those_of_each_alone(model):
    for mode in ("audio", "interleaved"):
        prompts = [prompt for prompt in PROMPTS.values() if completes(mode, prompt)]
        kwargs = {"generation_mode": mode, "num_beams": 3, "max_new_tokens": 11}
        together = new_ids(model, prompts, **kwargs)
        assert together == [new_ids(model, [prompt], **kwargs)[0] for prompt in prompts]


@pytest.mark.parametrize("kind", ["no cache", "static cache", "chunks"])
@pytest.mark.parametrize("mode", MODES)
def test_what_is_kept_of_earlier_tokens_changes_nothing(model, mode, kind):
    prompts = [prompt for prompt in PROMPTS.values() if completes(mode, prompt)]
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
    for prompt in PROMPTS.values():
        if completes(mode, prompt):
            kwargs = {"generation_mode": mode, "max_new_tokens": 17}
            expected = new_ids(model, [prompt], **kwargs)
            assert new_ids(model, [prompt], prompt_lookup_num_tokens=4, **kwargs) == expected
            assert new_ids(model, [prompt], assistant_model=assistant, **kwargs) == expected


def test_continuous_batching_writes_the_same_text(model):
    prompts = [prompt for prompt in PROMPTS.values() if completes("text", prompt)]
    config = GenerationConfig(max_new_tokens=9, do_sample=False, eos_token_id=EOS, pad_token_id=PAD)
    answers = small_model().generate_batch(prompts, generation_config=config)  # it changes the model's attention
    assert [answer.generated_tokens for answer in answers.values()] == new_ids(model, prompts, max_new_tokens=9)


def test_compiled_decoding_is_as_before(model):
    kwargs = {"max_new_tokens": 9, "cache_implementation": "static"}
    compiled = CompileConfig(backend="eager", fullgraph=True)
    compiled._compile_all_devices = True
    for mode in ("text", "image", "interleaved"):
        prompts = [prompt for prompt in PROMPTS.values() if completes(mode, prompt)]
        expected = new_ids(model, prompts, generation_mode=mode, **kwargs)
        assert new_ids(model, prompts, generation_mode=mode, compile_config=compiled, **kwargs) == expected


def calls_of(model, monkeypatch) -> list[tuple[torch.Tensor, str | None]]:
    """The ids and the `modality` of every call of `forward` from now on."""
    calls, forward = [], model.forward

    def spy(*args, **kwargs):
        calls.append((kwargs["input_ids"].clone(), kwargs.get("modality")))
        return forward(*args, **kwargs)

    spy.__signature__ = __import__("inspect").signature(forward)
    monkeypatch.setattr(model, "forward", spy)
    return calls


@pytest.mark.parametrize("strategy", [*STRATEGIES, "lookup", "assistant"])
@pytest.mark.parametrize("mode", MODES)
def test_what_forward_is_told_of_the_ids_is_so(model, mode, strategy, monkeypatch):
    drafts = {"lookup": {"prompt_lookup_num_tokens": 3}, "assistant": {"assistant_model": small_model(seed=1)}}
    kwargs = STRATEGIES.get(strategy) or drafts.get(strategy) or {}
    prompts = [prompt for prompt in PROMPTS.values() if completes(mode, prompt)]
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
