# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Seeing why: attention weights are the model's own, what is summed up adds up, and every picture can be drawn.

Weights and Shapley values are held to slow loops and to eager attention; pictures are drawn from real digits.
"""

import itertools
import math
import sys

import matplotlib
import matplotlib.style
import pytest
import torch
from helpers import MODALITIES, build, make_inputs, max_difference, run, select_rows, tiny_config, without
from matplotlib import pyplot
from PIL import Image
from transformers import ViTConfig
from transformers.dynamic_module_utils import get_imports

from mixture_of_transformers import (
    MoTConfig,
    MoTFeatureExtractor,
    MoTForPreTraining,
    MoTForRetrieval,
    MoTForSequenceClassification,
    MoTImageProcessor,
    MoTModel,
    MoTProcessor,
)
from mixture_of_transformers.attribution_mot import dataset_contributions, modality_contributions
from mixture_of_transformers.data.digits import load_digits_dataset
from mixture_of_transformers.data.tokenizers import train_tokenizer
from mixture_of_transformers.explain import pictures, projection
from mixture_of_transformers.explain.attention import (
    attention_maps,
    attention_rollout,
    modality_attention,
    token_relevance,
)
from mixture_of_transformers.explain.pictures import (
    new_figure,
    plot_attention_over_time,
    plot_contributions,
    plot_embeddings,
    plot_losses,
    plot_modality_attention,
    plot_rollout,
    plot_token_attention,
)
from mixture_of_transformers.explain.projection import project_embeddings
from mixture_of_transformers.explain.tokens import frame_attention, token_labels
from mixture_of_transformers.fusion_mot import FUSIONS
from mixture_of_transformers.modality_audio_mot import AudioModality, MoTAudioConfig
from mixture_of_transformers.modality_image_mot import ImageModality, MoTImageConfig
from mixture_of_transformers.modality_mot import InputNames
from mixture_of_transformers.modality_vectors_mot import VectorsModality

TOLERANCE = 1e-5
NUM_LABELS = 4
SPARSE = {"block_size": 2, "sparsity": 0.6, "min_encoder_tokens": 4}

every_fusion = pytest.mark.parametrize("fusion_type", list(FUSIONS))


def classifier(fusion_type="late", architecture="uneven_towers", **overrides):
    config = tiny_config(architecture, fusion_type=fusion_type, num_labels=NUM_LABELS, **overrides)
    return build(MoTForSequenceClassification, config)


def retriever():
    return build(MoTForRetrieval, tiny_config("uneven_towers"))


def real_pairs(maps):
    """(B, 1, L, L) where query and key are real."""
    return maps.mask[:, None, :, None] & maps.mask[:, None, None, :]


# ------------------------------------------------- attention weights ------------------------------------------------


@pytest.mark.parametrize("sparse", [None, SPARSE], ids=["dense", "block-sparse"])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("architecture", ["default", "joint_only", "uneven_towers"])
@pytest.mark.parametrize("subset", [MODALITIES, ("text", "audio")], ids="+".join)
def test_weights_are_those_of_eager_attention(subset, architecture, attention, sparse):
    # Rows with padding, holes and missing modalities.
    config = tiny_config(architecture, sparse_attention=sparse)
    inputs = make_inputs(subset)
    maps = attention_maps(build(MoTModel, config, attention), inputs, encoders=True)
    eager = build(MoTModel, tiny_config(architecture, sparse_attention=sparse), "eager")
    expected = run(eager, inputs, output_attentions=True, output_encoder_attentions=True)

    assert torch.equal(maps.mask, expected.attention_mask.bool())
    assert list(maps.places) == list(subset)
    assert list(maps.weights) == list(range(config.num_hidden_layers))
    for weights, of_eager in zip(maps.weights.values(), expected.attentions, strict=True):
        assert max_difference(weights, of_eager * real_pairs(maps)) < TOLERANCE
        assert max_difference(weights.sum(dim=-1), maps.mask[:, None].expand(weights.shape[:3]).float()) < TOLERANCE
    for m, part in maps.places.items():
        for weights, of_eager in zip(maps.encoder_weights[m], expected.encoder_attentions[m], strict=True):
            assert max_difference(weights, of_eager * real_pairs(maps)[:, :, part, part]) < TOLERANCE


def test_flex_attention_has_the_same_maps():
    inputs = make_inputs(MODALITIES)
    flex, sdpa = (attention_maps(build(MoTModel, tiny_config(), name), inputs) for name in ("flex_attention", "sdpa"))
    assert max_difference(flex.weights[0], sdpa.weights[0]) < TOLERANCE


def test_block_sparse_layers_show_their_pattern():
    model = build(MoTModel, tiny_config("joint_only", sparse_attention=SPARSE))
    maps = attention_maps(model, make_inputs(MODALITIES))
    first, second = ((weights[:, 0] > 0) for weights in maps.weights.values())
    real = real_pairs(maps)[:, 0]
    assert (first[0] < real[0]).any() and not torch.equal(first, second)  # blocks are left out, others in each layer


@pytest.mark.parametrize("fusion_type", list(FUSIONS))
@pytest.mark.parametrize("model_class", [MoTModel, MoTForSequenceClassification, MoTForRetrieval, MoTForPreTraining])
def test_every_model_and_fusion_has_maps_and_stays_as_it_was(model_class, fusion_type):
    model = build(model_class, tiny_config("uneven_towers", fusion_type=fusion_type)).train()
    model.get_submodule("encoders" if model_class is MoTModel else "mot.encoders").eval()
    modes = [module.training for module in model.modules()]
    inputs = make_inputs(MODALITIES)
    maps = attention_maps(model, {**inputs, "labels": torch.zeros(len(inputs["input_ids"]))}, layers=[-1, 0])
    assert list(maps.weights) == [0, 2] and not maps.encoder_weights
    assert [module.training for module in model.modules()] == modes
    assert model.config._attn_implementation == "sdpa"
    assert not maps.weights[0].requires_grad


def test_errors_name_what_came_and_what_was_expected():
    inputs = make_inputs(MODALITIES)
    with pytest.raises(ValueError, match="`layers` holds 3, but the model has 3 .* 0 to 2"):
        attention_maps(classifier(), inputs, layers=[3])
    with pytest.raises(ValueError, match="no joint or global layers"):
        attention_maps(build(MoTModel, tiny_config("encoders_only")), inputs)
    maps = attention_maps(classifier(), inputs, layers=[1])
    with pytest.raises(ValueError, match="`layer` is 0, but these maps hold layers 1 of 3"):
        maps.layer(0)
    with pytest.raises(ValueError, match="`head` is 4, .* 0 to 3"):
        maps.layer(1, head=4)
    with pytest.raises(ValueError, match="Row 4 has no image: it has text"):
        maps.real("image", 4)
    with pytest.raises(ValueError, match="`row` is 99"):
        maps.real("text", 99)


# ------------------------------------------------- known attention --------------------------------------------------


def looking_model(looks: dict[str, str]):
    """
    A model of one joint layer in which all tokens of a modality look at one modality alone: each expert's keys are a
    constant of its own, and its queries are those of the modality that it looks at.
    """
    config = tiny_config("joint_only", num_joint_layers=1)
    model = build(MoTModel, config)
    width = config.hidden_size // config.num_attention_heads
    with torch.no_grad():
        for i, (m, expert) in enumerate(model.joint_layers[0].experts.items()):
            for projection, place in (
                (expert.attention.k_proj, i),
                (expert.attention.q_proj, MODALITIES.index(looks[m])),
            ):
                projection.weight.zero_()
                projection.bias.zero_()
                projection.bias.view(config.num_attention_heads, width)[:, place] = 20.0
    return model


def test_the_heat_map_shows_attention_that_is_known():
    looks = {"text": "image", "image": "image", "audio": "text"}
    maps = attention_maps(looking_model(looks), make_inputs(MODALITIES))
    mass = modality_attention(maps)[0]  # (B, H, M, M)
    expected = torch.zeros(3, 3)
    for m, other in looks.items():
        expected[MODALITIES.index(m), MODALITIES.index(other)] = 1
    full = slice(0, 4)  # rows that have all modalities
    assert max_difference(mass[full], expected.expand_as(mass[full])) < TOLERANCE
    # Token by token: a word looks at all real patches alike.
    text, image = maps.real("text", 0), maps.real("image", 0)
    assert max_difference(maps.layer(0)[0][text][:, image], torch.full((len(text), len(image)), 1 / len(image))) < 1e-5


def test_mass_between_modalities_sums_to_one_where_they_are_present():
    maps = attention_maps(classifier(), make_inputs(MODALITIES))
    for mass in modality_attention(maps).values():
        assert mass.shape == (len(maps.mask), 4, 3, 3)
        for row in range(len(maps.mask)):
            for i, m in enumerate(MODALITIES):
                if m not in maps.present(row):
                    assert mass[row, :, i].isnan().all()
                    continue
                assert max_difference(mass[row, :, i].sum(dim=-1), torch.ones(4)) < TOLERANCE
                for j, other in enumerate(MODALITIES):
                    assert (mass[row, :, i, j] > 0).all() == (other in maps.present(row))


# ----------------------------------------------------- rollout ------------------------------------------------------


@pytest.mark.parametrize("architecture", ["default", "joint_only", "uneven_towers"])
def test_rollout_is_that_of_a_slow_loop(architecture):
    model = build(MoTModel, tiny_config(architecture))
    inputs = make_inputs(MODALITIES)
    maps = attention_maps(model, inputs, encoders=True)
    rollout, relevance = attention_rollout(maps), token_relevance(maps)
    for row in range(len(maps.mask)):
        real = maps.mask[row].nonzero()[:, 0].tolist()
        flow = {(i, j): float(i == j) for i in real for j in real}
        steps = []
        for m, part in maps.places.items():  # modality after modality, as encoders do not mix
            for weights in maps.encoder_weights[m]:
                steps.append((weights[row].mean(dim=0), part.start, range(part.start, part.stop)))
        steps += [(weights[row].mean(dim=0), 0, range(len(maps.mask[row]))) for weights in maps.weights.values()]
        for weights, start, places in steps:
            inside = [i for i in real if i in places]
            flow |= {
                (i, j): 0.5 * flow[i, j] + 0.5 * sum(weights[i - start, k - start].item() * flow[k, j] for k in inside)
                for i in inside
                for j in real
            }
        expected = torch.tensor([[flow[i, j] for j in real] for i in real])
        assert max_difference(rollout[row][real][:, real], expected) < TOLERANCE
        assert abs(relevance[row].sum().item() - 1) < TOLERANCE and not relevance[row][~maps.mask[row]].any()
    assert max_difference(rollout.sum(dim=-1), maps.mask.float()) < TOLERANCE


# -------------------------------------------------- contributions ---------------------------------------------------


def brute_force(value, players):
    """Shapley values as their definition has them: over every order in which the players may come."""
    shares = dict.fromkeys(players, 0.0)
    for order in itertools.permutations(players):
        for i, player in enumerate(order):
            shares[player] += (value(order[: i + 1]) - value(order[:i])) / math.factorial(len(players))
    return shares


def answer_from(model, inputs, row, subset):
    """(classes,) logits of one row called with a subset of its modalities alone."""
    inputs = select_rows(inputs, [row])
    for m in set(MODALITIES) - set(subset):
        inputs = without(inputs, m)
    return run(model, inputs).logits[0] if subset else model.classifier.bias.detach()


@every_fusion
@pytest.mark.parametrize("output", ["probability", "logit"])
def test_contributions_are_shapley_values(fusion_type, output):
    model, inputs = classifier(fusion_type), make_inputs(MODALITIES)
    found = modality_contributions(model, inputs, output=output)
    assert found.unit == output and found.modalities == MODALITIES
    for row in range(len(found.answer)):
        has = [m for i, m in enumerate(MODALITIES) if found.present[row, i]]

        def value(subset, row=row):
            logits = answer_from(model, inputs, row, subset)
            return (logits.softmax(dim=-1) if output == "probability" else logits)[found.target[row]].item()

        expected = brute_force(value, has)
        assert abs(found.prior[row].item() - value(())) < TOLERANCE
        assert abs(found.answer[row].item() - value(has)) < TOLERANCE
        assert found.target[row] == answer_from(model, inputs, row, has).argmax()
        for i, m in enumerate(MODALITIES):
            assert abs(found.values[row, i].item() - expected.get(m, 0.0)) < TOLERANCE
    assert max_difference(found.values.sum(dim=1), found.answer - found.prior) < TOLERANCE
    assert not found.values[~found.present].any()


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("problem_type", ["regression", "multi_label_classification"])
def test_contributions_to_numbers_and_to_several_labels(problem_type, attention):
    config = tiny_config(num_labels=NUM_LABELS, problem_type=problem_type)
    model, inputs = build(MoTForSequenceClassification, config, attention), make_inputs(MODALITIES)
    target = torch.arange(len(inputs["input_ids"])) % NUM_LABELS
    found = modality_contributions(model, inputs, target=target)
    logits = run(model, inputs).logits
    answers = logits if problem_type == "regression" else logits.sigmoid()
    assert found.unit == ("value" if problem_type == "regression" else "probability")
    assert max_difference(found.answer, answers.gather(1, target[:, None])[:, 0]) < TOLERANCE
    assert max_difference(found.values.sum(dim=1), found.answer - found.prior) < TOLERANCE


def test_the_prior_may_be_the_mean_of_other_rows():
    model, inputs = classifier(), make_inputs(MODALITIES)
    reference = make_inputs(("text", "audio"), seed=5)
    found = modality_contributions(model, inputs, target=2, reference=reference)
    expected = run(model, reference).logits.softmax(dim=-1)[:, 2].mean()
    assert max_difference(found.prior, expected.expand_as(found.prior)) < TOLERANCE
    assert max_difference(found.values.sum(dim=1), found.answer - found.prior) < TOLERANCE


def test_contributions_to_a_similarity():
    model, inputs = retriever(), make_inputs(("text", "audio"))
    with torch.no_grad():
        items = model.get_fused_features(**make_inputs(("image",), masks=None, seed=3)).pooler_output[:1]
        rows = model.get_fused_features(**inputs).pooler_output
    found = modality_contributions(model, inputs, target=items[0])
    assert found.unit == "cosine similarity" and not found.prior.any()
    assert max_difference(found.answer, rows @ items[0]) < TOLERANCE
    assert max_difference(found.values.sum(dim=1), found.answer) < TOLERANCE
    assert not found.of("image").any()
    alone = found.present.sum(dim=1) == 1
    assert max_difference(found.values[alone].sum(dim=1), (rows @ items[0])[alone]) < TOLERANCE


def test_contributions_in_a_dataset_are_those_of_its_batches():
    model, inputs = classifier(), make_inputs(MODALITIES)
    batches = [select_rows(inputs, slice(0, 4)), {**select_rows(inputs, slice(4, None)), "labels": torch.zeros(6)}]
    batches.append(make_inputs(("image", "audio")))
    model.train()
    found = dataset_contributions(model, batches, target=1)
    assert all(module.training for module in model.modules())
    expected = [modality_contributions(model, batch, target=1) for batch in batches]
    assert torch.equal(found.values, torch.cat([part.values for part in expected]))
    assert max_difference(found.values.mean(dim=0).sum(), (found.answer - found.prior).mean()) < TOLERANCE


def test_errors_of_contributions():
    inputs = make_inputs(MODALITIES)
    with pytest.raises(ValueError, match="MoTModel gives no answer"):
        modality_contributions(build(MoTModel, tiny_config()), inputs)
    with pytest.raises(ValueError, match="MoTForPreTraining gives no answer"):
        modality_contributions(build(MoTForPreTraining, tiny_config()), inputs)
    with pytest.raises(ValueError, match="`target` is .*, but the model has 4 outputs: expected 0 to 3"):
        modality_contributions(classifier(), inputs, target=4)
    with pytest.raises(ValueError, match=r"`target` has shape \(2,\)"):
        modality_contributions(classifier(), inputs, target=torch.tensor([0, 1]))
    with pytest.raises(ValueError, match="`output` is 'score'"):
        modality_contributions(classifier(), inputs, output="score")
    with pytest.raises(ValueError, match="`target` is None; a model that retrieves needs the embeddings"):
        modality_contributions(retriever(), inputs)
    with pytest.raises(ValueError, match="`batches` holds nothing"):
        dataset_contributions(classifier(), [])


# ---------------------------------------------------- pictures -----------------------------------------------------


@pytest.fixture(scope="module")
def digits():
    """Six rows of the embedded digits, the last ones without text and without sound, and their processor."""
    splits = load_digits_dataset()
    tokenizer = train_tokenizer(splits["train"]["text"])
    image_processor = MoTImageProcessor(size={"height": 28, "width": 28}, do_convert_rgb=True)
    processor = MoTProcessor(image_processor, MoTFeatureExtractor(), tokenizer, num_frames=4)
    cells = splits["test"].with_format("arrow")[:6].to_pydict()
    text, audio = cells["text"][:5] + [None], cells["audio"][:4] + [None, None]
    return processor, processor(text=text, images=cells["image"], audio=audio)


def digits_config(processor, **fields):
    return MoTConfig.of_size(
        "tiny",
        hidden_size=32,
        intermediate_size=32,
        num_joint_layers=1,
        text_config={"vocab_size": len(processor.tokenizer), "max_position_embeddings": 64},
        image_config={"image_size": 28, "patch_size": 7},
        num_labels=10,
        **fields,
    )


def as_video(inputs, num_frames=3):
    """The batch with a video in place of each picture, its last frame missing in row 0, and times for both clocks."""
    frames = torch.stack([inputs["pixel_values"].roll(i, dims=0) for i in range(num_frames)], dim=1)
    mask = torch.ones(len(frames), num_frames, dtype=torch.long)
    mask[0, -1] = 0
    times = 0.1 * torch.arange(num_frames).expand(len(frames), -1)
    return {**inputs, "pixel_values": frames, "pixel_mask": mask, "pixel_times": times}


def shapes(figure):
    """Those of the arrays that a figure's panels show, in order, without colour bars."""
    return [image.get_array().shape[:2] for axis in figure.axes for image in axis.images]


def check_file(path, figure, titles):
    assert path.stat().st_size > 5000 and Image.open(path).format == "PNG"
    title = figure.get_suptitle()
    assert all(part in title for part in titles), title


@every_fusion
def test_every_picture_of_a_batch_is_drawn(fusion_type, digits, tmp_path):
    processor, inputs = digits
    model = build(MoTForSequenceClassification, digits_config(processor, fusion_type=fusion_type))
    maps = attention_maps(model, inputs, encoders=True)
    lengths = {m: len(maps.real(m, 0)) for m in MODALITIES}
    path = tmp_path / "picture.png"

    figure = plot_modality_attention(maps, save_path=path)
    check_file(path, figure, ["Attention between modalities", f"mean of {len(maps.mask)} rows"])
    assert shapes(figure) == [(3, 3)] * 2 * (model.config.num_attention_heads + 1)  # two layers
    assert "layer 0 (joint)" in figure.axes[0].get_ylabel()

    figure = plot_token_attention(maps, tokenizer=processor.tokenizer, save_path=path)
    check_file(path, figure, ["layer 1 (global)", "mean of all heads"])
    assert shapes(figure) == list(itertools.product(lengths.values(), repeat=2))
    words = processor.tokenizer.convert_ids_to_tokens(inputs["input_ids"][0][: lengths["text"]].tolist())
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == words
    assert figure.axes[3].get_yticklabels()[1].get_text() == "patch row 1"
    assert figure.axes[8].get_xticklabels()[0].get_text() == "0.00 s"

    figure = plot_rollout(maps, tokenizer=processor.tokenizer, save_path=path)
    check_file(path, figure, ["Attention rollout", "row 0"])
    mel, grid = inputs["input_features_mask"][0].sum().item(), (4, 4)
    text, *others = shapes(figure)
    assert math.prod(text) >= lengths["text"]
    assert others == [(28, 28), (28, 28), grid, (80, mel), (80, mel), (1, mel)]
    shown = torch.from_numpy(figure.subfigs[1].axes[1].images[1].get_array().data)
    relevance = 100 * token_relevance(maps)[0][maps.real("image", 0)]
    assert max_difference(shown.flatten(), relevance) < 1e-4

    contributions = modality_contributions(model, inputs)
    figure = plot_contributions(contributions, row=4, labels=model.config.id2label, save_path=path)
    check_file(path, figure, ["What each modality contributed", "row 4"])
    bars = [bar.get_width() for bar in figure.axes[0].patches]
    assert len(bars) == 4  # the prior, two modalities, the answer
    assert abs(sum(bars[:-1]) - bars[-1]) < TOLERANCE
    assert len(plot_contributions(contributions).axes[0].patches) == 5
    alone = modality_contributions(model, select_rows(inputs, [0]))
    assert plot_contributions(alone, row=0).get_suptitle() == "What each modality contributed"  # no row to be told


def test_pictures_of_known_attention_show_it():
    maps = attention_maps(looking_model({"text": "image", "image": "image", "audio": "text"}), make_inputs(MODALITIES))
    shown = plot_modality_attention(maps, row=0).axes[0].images[0].get_array()
    assert max_difference(torch.from_numpy(shown.data), torch.tensor([[0, 1, 0], [0, 1, 0], [1.0, 0, 0]])) < TOLERANCE
    blocks = [axis.images[0].get_array().data for axis in plot_token_attention(maps, row=0).axes[:9]]
    assert [block.max() > 0.01 for block in blocks] == [False, True, False, False, True, False, True, False, False]


def test_attention_over_time_between_a_video_and_its_sound(digits, tmp_path):
    processor, inputs = digits
    model = build(MoTModel, digits_config(processor))
    maps = attention_maps(model, as_video(inputs), encoders=True)
    weights, frames, moments = frame_attention(maps, "image", "audio", row=0, layer=0, head=1)
    stride, patches = model.config.audio_config.stem_stride, 16
    assert frames.tolist() == pytest.approx([0.0, 0.1])  # the third is missing
    assert moments.tolist() == pytest.approx([0.01 * stride * i for i in range(len(maps.real("audio", 0)))])
    whole, audio = maps.weights[0][0, 1], maps.real("audio", 0)
    for i, j in itertools.product(range(len(frames)), range(len(moments))):
        own = maps.real("image", 0)[i * patches : (i + 1) * patches]
        assert abs(weights[i, j] - sum(whole[q, audio[j]] for q in own) / patches) < TOLERANCE
    back, *_ = frame_attention(maps, "audio", "image", row=0, layer=0, head=1)
    own = maps.real("image", 0)[:patches]
    assert abs(back[2, 0] - whole[audio[2], own].sum()) < TOLERANCE

    path = tmp_path / "time.png"
    figure = plot_attention_over_time(maps, save_path=path)
    check_file(path, figure, ["Attention over time"])
    assert shapes(figure) == [(2, len(moments))]
    assert figure.axes[0].get_ylabel() == "queries: image (seconds)"
    assert (4, 4) in shapes(plot_rollout(maps, row=1))  # frames one by one
    assert token_labels(maps, "image", row=0)[17] == "0.10 s, patch row 0, column 1"
    with pytest.raises(ValueError, match="Row 0 has no video: it has text, image, audio"):
        frame_attention(maps, "video", "audio")
    with pytest.raises(ValueError, match="`text` has no time: expected image .* or audio"):
        frame_attention(maps, "text", "audio")
    with pytest.raises(ValueError, match="Row 5 has no audio: it has image"):
        plot_attention_over_time(maps, row=5)
    with pytest.raises(ValueError, match="Row 5 has no text"):
        plot_token_attention(maps, row=5, queries="text")


@pytest.mark.parametrize("features", [False, True], ids=["raw", "features"])
def test_pictures_of_cls_tokens_holes_and_ready_features(features):
    model = build(MoTModel, tiny_config("uneven_towers", features=features))
    maps = attention_maps(model, make_inputs(MODALITIES, features=features), encoders=True)
    for row in range(len(maps.mask)):
        assert all(len(token_labels(maps, m, row)) == len(maps.real(m, row)) for m in maps.present(row))
    assert token_labels(maps, "text", 3)[0] == "cls"
    # Audio of row 3 has holes: raw frames move up, features stay where they are.
    assert token_labels(maps, "audio", 3)[2] == ("token 2" if features else "0.03 s")
    for row in (0, 3):
        assert plot_token_attention(maps, row=row) and plot_rollout(maps, row=row)


def test_register_tokens_have_names_and_leave_the_others_theirs():
    inputs, drawn = make_inputs(MODALITIES), []
    for registers in (0, 2):
        config = tiny_config()
        for m in MODALITIES:
            config.modality_config(m).num_register_tokens = registers
        maps = attention_maps(build(MoTModel, config), inputs, encoders=True)
        drawn.append({m: token_labels(maps, m, 0) for m in maps.present(0)})
        assert all(len(labels) == len(maps.real(m, 0)) for m, labels in drawn[-1].items())
        assert plot_token_attention(maps) and plot_rollout(maps)
    without_registers, with_registers = drawn
    assert with_registers == {m: ["register 0", "register 1", *labels] for m, labels in without_registers.items()}


def test_a_kind_under_another_name_reads_the_inputs_of_that_name():
    names = InputNames("sonar_values", "sonar_features", "sonar_mask", times="sonar_times", segments="sonar_segments")
    sound, pictures = AudioModality("sonar", names), ImageModality("sonar", names)
    inputs = {"sonar_values": torch.zeros(1, 5, 8), "sonar_mask": torch.tensor([[0, 1, 1, 1, 1]])}
    config = MoTAudioConfig(stem_stride=2)
    assert sound.token_labels(config, inputs, 0, 2) == ["0.00 s", "0.02 s"]
    inputs["sonar_times"] = torch.tensor([[0.0, 1.0, 2.0, 3.0, 4.0]])
    assert sound.token_labels(config, inputs, 0, 2) == ["1.00 s", "3.00 s"]
    ready = VectorsModality(sound)
    assert ready.token_labels(config, {"sonar_features": torch.zeros(1, 2, 4)}, 0, 2) == ["token 0", "token 1"]
    video = {"sonar_values": torch.zeros(1, 3, 1, 4, 8), "sonar_mask": torch.tensor([[1, 0, 1]])}
    assert pictures.is_moving(video) and not pictures.is_moving({"sonar_values": torch.zeros(1, 1, 4, 8)})
    labels = pictures.token_labels(MoTImageConfig(image_size=8, patch_size=4), video, 0, 4)
    assert labels == [f"frame {i}, patch row 0, column {column}" for i in (0, 2) for column in (0, 1)]


def test_tokens_that_a_model_in_front_gives_are_counted():
    front = {"backbone_config": ViTConfig(hidden_size=8, num_attention_heads=2, image_size=8, patch_size=4)}
    config = MoTConfig.of_size("tiny", text_config=None, image_config=front, audio_config=None)
    model = build(MoTModel, config)
    maps = attention_maps(model, {"pixel_values": torch.rand(2, 3, 8, 8)}, encoders=True)
    assert token_labels(maps, "image") == [f"token {i}" for i in range(5)]  # 2 x 2 patches and ViT's own cls token
    assert plot_token_attention(maps) and plot_rollout(maps)


def test_loss_curves_have_each_term(tmp_path):
    history = [
        {"loss": 2.0, "loss/text": 2.5, "loss/text+image": 1.5, "learning_rate": 1e-3, "step": 50},
        {"loss": "1.0", "loss/text": "1.25", "step": 100},
        {"eval_loss": 1.5, "eval_accuracy": 0.5, "step": 100},
        {"train_runtime": 9.0, "train_loss": 1.5, "step": 100},
    ]
    path = tmp_path / "losses.png"
    figure = plot_losses(history, save_path=path)
    check_file(path, figure, ["Loss"])
    lines = {line.get_label(): line.get_xydata().tolist() for line in figure.axes[0].lines}
    assert lines == {
        "loss": [[50, 2.0], [100, 1.0]],
        "eval_loss": [[100, 1.5]],
        "text": [[50, 2.5], [100, 1.25]],
        "text+image": [[50, 1.5]],
    }
    with pytest.raises(ValueError, match="`log_history` holds no `loss`.* got eval_accuracy, step"):
        plot_losses([{"eval_accuracy": 0.5, "step": 1}])


@pytest.mark.parametrize("method", ["pca", "tsne"])
def test_the_map_of_embeddings_keeps_groups_together(method, tmp_path):
    labels = torch.arange(40) % 10
    embeddings = {
        m: torch.nn.functional.one_hot(labels).float() + 0.01 * torch.randn(40, 10) for m in ("text", "image")
    }
    embeddings["image"][0] = 0  # which the row did not have
    path = tmp_path / "map.png"
    figure = plot_embeddings(embeddings, labels, method=method, save_path=path)
    check_file(path, figure, ["Map of embeddings", "PCA" if method == "pca" else "t-SNE"])
    assert [text.get_text() for text in figure.axes[0].texts] == [str(i) for i in range(10)] * 2  # in each modality
    assert sum(len(points.get_offsets()) for points in figure.axes[0].collections) == 79
    points = torch.from_numpy(project_embeddings(embeddings["text"], method)).double()
    assert points.shape == (40, 2)
    if method == "tsne":
        nearest = (torch.cdist(points, points) + 1e9 * torch.eye(40, dtype=torch.double)).argmin(dim=1)
        assert torch.equal(labels[nearest], labels)
    with pytest.raises(ValueError, match="has 40 rows, but there are 3 labels"):
        plot_embeddings(embeddings, labels[:3])
    with pytest.raises(ValueError, match='`method` is .umap., expected "pca" or "tsne"'):
        project_embeddings(embeddings["text"], "umap")


def test_only_pictures_need_matplotlib(monkeypatch):
    # They are imported where they are used, not with the module.
    for module in (pictures, projection):
        assert not {"matplotlib", "sklearn"} & set(get_imports(module.__file__))
    maps = attention_maps(classifier(), make_inputs(MODALITIES))
    for name in ("matplotlib", "matplotlib.figure"):
        monkeypatch.setitem(sys.modules, name, None)  # as if it were not installed
    assert modality_contributions(classifier(), make_inputs(MODALITIES)).answer.isfinite().all()
    with pytest.raises(ImportError, match=r"mixture-of-transformers\[viz\]"):
        plot_modality_attention(maps)


def test_pictures_leave_the_settings_of_matplotlib_alone(tmp_path):
    settings, backend, open_figures = dict(matplotlib.rcParams), matplotlib.get_backend(), pyplot.get_fignums()
    first, second = (new_figure("Title", (2, 2), tmp_path / f"{i}.png") for i in range(2))
    for step in (first.__enter__, second.__enter__, lambda: first.__exit__(None, None, None)):
        step()  # as two threads do, of which neither ends what it began before the other begins
        assert dict(matplotlib.rcParams) == settings
    second.__exit__(None, None, None)
    plot_losses([{"loss": 1.0, "step": 1}], save_path=tmp_path / "loss.png")
    with pytest.raises(ValueError, match="has 40 rows, but there are 3 labels"):
        plot_embeddings(torch.eye(40), [0, 1, 2])
    assert dict(matplotlib.rcParams) == settings
    assert matplotlib.get_backend() == backend and pyplot.get_fignums() == open_figures


@pytest.mark.parametrize("backend", ["agg", "pdf", "svg", "tkagg", "module://nowhere"])
def test_pictures_are_drawn_whatever_backend_is_chosen(backend, tmp_path, monkeypatch):
    monkeypatch.setitem(matplotlib.rcParams, "backend", backend)  # as MPLBACKEND sets it; nobody has to have it
    chosen = matplotlib.rcParams["backend"]  # some versions write its name in their own letters
    for ending, start in {"png": b"\x89PNG", "pdf": b"%PDF", "svg": b"<?xml"}.items():
        path = tmp_path / f"loss.{ending}"
        plot_losses([{"loss": 1.0, "step": 1}, {"loss": 0.5, "step": 2}], save_path=path)
        assert path.read_bytes().startswith(start)
    assert matplotlib.rcParams["backend"] == chosen


def test_pictures_can_be_read_in_a_dark_style_too(tmp_path):
    ink = {}
    for style in ("default", "dark_background"):
        with matplotlib.style.context(style):
            plot_losses([{"loss": 1.0, "step": 1}, {"loss": 0.5, "step": 2}], save_path=tmp_path / "loss.png")
        pixels = Image.open(tmp_path / "loss.png").convert("L")
        assert pixels.getpixel((0, 0)) == 255
        ink[style] = sum(pixels.histogram()[:64])
    assert ink["dark_background"] == pytest.approx(ink["default"], rel=0.2)  # letters, axes and the curve
