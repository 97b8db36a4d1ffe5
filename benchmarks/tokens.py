# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""What tokenizers of pictures and sounds lose, beside k-means of patches and of frames with as many codes and tokens.

    python -m benchmarks.tokens path/to/digits3m

Both learn the training split. Of the test split, whose speaker none has heard: the mean squared error of what comes
back (of pixels from 0 to 1; of log-mel frames in decibels), and how often a judge of real training digits
(`judges.py`) says of what comes back what it says of the real thing.
"""

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image
from sklearn.cluster import KMeans as Clusters

from mixture_of_transformers.tokens_mot import MoTAudioTokenizerConfig, MoTImageTokenizerConfig, to_pictures
from mixture_of_transformers.training.fit_tokens import fit_audio_tokenizer, fit_image_tokenizer

from .generate_digits import SAMPLING_RATE, media, splits_of
from .judges import PictureJudge, SoundJudge, share_right

MOST_BLOCKS = 60_000  # that k-means learns from


class KMeans:
    """Blocks (rows, columns) of (C, H, W) as the nearest of as many blocks as there are codes."""

    def __init__(self, inputs: list[torch.Tensor], block: tuple[int, int], num_codes: int):
        self.block = block
        blocks = torch.cat([self.blocks(each).flatten(0, 1) for each in inputs])
        some = torch.randperm(len(blocks), generator=torch.Generator().manual_seed(0))[:MOST_BLOCKS]
        self.means = Clusters(num_codes, n_init=1, random_state=0).fit(blocks[some].numpy())

    def blocks(self, inputs: torch.Tensor) -> torch.Tensor:
        """(C, H, W) to (H / rows, W / columns, C * rows * columns)."""
        return (
            inputs.unfold(1, self.block[0], self.block[0])
            .unfold(2, *[self.block[1]] * 2)
            .permute(1, 2, 0, 3, 4)
            .flatten(2)
        )

    def __call__(self, inputs: torch.Tensor) -> torch.Tensor:
        """What comes back of (C, H, W)."""
        blocks = self.blocks(inputs)
        nearest = self.means.cluster_centers_[self.means.predict(blocks.flatten(0, 1).numpy())]
        back = (
            torch.from_numpy(nearest).float().unflatten(1, (len(inputs), *self.block)).unflatten(0, blocks.shape[:2])
        )
        return back.permute(2, 0, 3, 1, 4).flatten(3, 4).flatten(1, 2)


def timed(make: Callable) -> tuple[object, float]:
    start = time.process_time()
    return make(), time.process_time() - start


def pictures(train, test, levels: list[int], steps: int) -> None:
    learnt, images = media(train, "image"), media(test, "image")
    judge = PictureJudge(learnt, train["label"])
    real = judge(images)
    print(f"pictures: the judge is right about {share_right(real, test['label']):.3f} of the real ones")
    config = MoTImageTokenizerConfig(levels=levels)
    tokenizer, seconds = timed(lambda: fit_image_tokenizer(learnt, config, steps))
    values = tokenizer.to_pixel_values(images)
    patch = (config.patch_size, config.patch_size)
    means, mean_seconds = timed(lambda: KMeans(list(tokenizer.to_pixel_values(learnt)), patch, tokenizer.num_codes))
    ways = {
        "finite scalar quantization": (tokenizer.decode(tokenizer.encode(images)), seconds),
        "k-means of patches": (to_pictures(torch.stack([means(each) for each in values])), mean_seconds),
    }
    for name, (back, seconds) in ways.items():
        error = np.mean([(grey_values(a) - grey_values(b)) ** 2 for a, b in zip(images, back)])
        print(
            f"  {name}: {tokenizer.num_tokens} tokens, {tokenizer.num_codes} codes, error {error:.4f}, "
            f"judged alike {share_right(judge(back), real):.3f}, {seconds:.0f} s"
        )


def grey_values(image: Image.Image) -> np.ndarray:
    return np.asarray(image.convert("L"), dtype=np.float64) / 255


def sounds(train, test, levels: list[int], steps: int) -> None:
    learnt, waveforms = media(train, "audio"), media(test, "audio")
    judge = SoundJudge(learnt, SAMPLING_RATE, train["label"])
    real = judge(waveforms)
    print(f"sounds: the judge is right about {share_right(real, test['label']):.3f} of the real ones")
    config = MoTAudioTokenizerConfig(levels=levels)
    tokenizer, seconds = timed(lambda: fit_audio_tokenizer(learnt, SAMPLING_RATE, config, steps))

    def frames_of(found):
        return [tokenizer.to_input_features(waveform, SAMPLING_RATE) for waveform in found]

    block = (config.num_mel_bins, config.frames_per_token)
    means, mean_seconds = timed(lambda: KMeans(frames_of(learnt), block, tokenizer.num_codes))
    frames = frames_of(waveforms)
    ways = {
        "finite scalar quantization": ([tokenizer(each[None])[0].detach() for each in frames], seconds),
        "k-means of frames": ([means(each) for each in frames], mean_seconds),
        "nothing but Griffin-Lim": (frames, 0.0),
    }
    tokens = [each.shape[-1] // config.frames_per_token for each in frames]
    for name, (back, seconds) in ways.items():
        error = torch.cat([(a - b).flatten() for a, b in zip(frames, back)]).square().mean()
        error *= (config.dynamic_range / 2) ** 2
        spoken = [tokenizer.to_waveform(tokenizer.from_input_features(each)) for each in back]
        print(
            f"  {name}: {np.mean(tokens):.1f} tokens (at most {max(tokens)}), {tokenizer.num_codes} codes, "
            f"error {error:.1f}, judged alike {share_right(judge(spoken), real):.3f}, {seconds:.0f} s"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset")
    parser.add_argument("--image_levels", type=int, nargs="+", default=MoTImageTokenizerConfig().levels)
    parser.add_argument("--audio_levels", type=int, nargs="+", default=MoTAudioTokenizerConfig().levels)
    parser.add_argument("--steps", type=int, default=2000)
    arguments = parser.parse_args()
    splits = splits_of(arguments.dataset)
    pictures(splits["train"], splits["test"], arguments.image_levels, arguments.steps)
    sounds(splits["train"], splits["test"], arguments.audio_levels, arguments.steps)


if __name__ == "__main__":
    main()
