# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""What loading and saving do beyond the library, for every model of the family.

Weights are read from safetensors alone, and none that a damaged config makes up; a pipeline gets no head that was
never trained; and a saved folder names every class that can read it.
"""

import inspect
import sys
from pathlib import Path

import torch
from transformers.integrations import is_fsdp_enabled

from .carrying_mot import carry

ASK_FOR_SAFETENSORS = (
    "Weights are read from safetensors alone, since pickled ones (pytorch_model.bin) can run code: save the model "
    "anew, or convert it (huggingface.co/spaces/safetensors/convert)."
)
# The errors of damaged weights, or of a damaged list of their shards, by name: code that travels may not import
# safetensors.
UNREADABLE = ("SafetensorError", "JSONDecodeError", "UnicodeDecodeError")
# How many weights, such as those of a head, may begin anew beside a checkpoint's; as many as the checkpoint holds may,
# too. A damaged config could ask for any number.
MOST_NEW_WEIGHTS = 2**27


def task_of_pipeline() -> str | None:
    """The task of the library's `pipeline(...)`, if that loads a model now, of which it tells the model nothing."""
    frame = sys._getframe()
    while frame is not None:
        if frame.f_code.co_name == "load_model" and frame.f_globals.get("__name__") == "transformers.pipelines.base":
            return frame.f_locals["task"]
        frame = frame.f_back
    return None


class LoadingMixin:
    """Safe loading and complete saving; what is not said here is the library's."""

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path, *args, **kwargs):
        """
        As in the library; but from safetensors alone unless `use_safetensors=False` is given, and a pipeline, which is
        there to answer, gets no head that the checkpoint lacks.

        Raises:
            OSError: the checkpoint is not there, or its weights are not safetensors.
            ValueError: they are damaged; or a pipeline's checkpoint lacks its head; or the config promises more than
                `MOST_NEW_WEIGHTS` weights that the checkpoint does not hold.
        """
        kwargs.setdefault("use_safetensors", True)
        task = task_of_pipeline()
        if task is not None:
            kwargs["output_loading_info"] = True
        try:
            found = super().from_pretrained(pretrained_model_name_or_path, *args, **kwargs)
        except OSError as error:
            if not kwargs["use_safetensors"] or "model.safetensors" not in str(error):
                raise
            raise OSError(f"{error} {ASK_FOR_SAFETENSORS}") from error
        except RuntimeError as error:
            if task is None or "ignore_mismatched_sizes" not in str(error):
                raise
            raise ValueError(
                f"Weights of {pretrained_model_name_or_path} have other shapes than its config says: it is damaged."
            ) from error
        except Exception as error:
            if type(error).__name__ not in UNREADABLE:
                raise
            raise ValueError(
                f"The weights of {pretrained_model_name_or_path} cannot be read ({error}): its model.safetensors is "
                "damaged, or was not copied to its end. Copy or download it anew."
            ) from error
        if task is None:
            return found
        model, info = found
        lacking = sorted(map(str, [*info["missing_keys"], *info["mismatched_keys"]]))
        if not lacking and task == "zero-shot-audio-classification" and not hasattr(model, "get_audio_features"):
            lacking = ["the embeddings of MoTForRetrieval"]
        if lacking and not getattr(model, "_hf_peft_config_loaded", False):  # an adapter may bring the head
            raise ValueError(
                f"{pretrained_model_name_or_path} was saved as {', '.join(model.config.architectures)} and cannot "
                f"answer {task!r}, for which it lacks {', '.join(lacking[:3])}: name a checkpoint that was trained "
                "for it."
            )
        return model

    def _move_missing_keys_from_meta_to_device(self, missing_keys, *args, **kwargs):
        """The library's step before memory is taken for the weights that a checkpoint lacks."""
        lacking = sum(self.get_parameter_or_buffer(name).numel() for name in missing_keys)
        held = self.num_parameters() - lacking
        if lacking > max(MOST_NEW_WEIGHTS, held) and not is_fsdp_enabled():  # whose other processes load nothing
            raise ValueError(
                f"The config promises {lacking:,} weights that the checkpoint does not hold, such as "
                f"{min(missing_keys)}: it is damaged, or its config is that of another model."
            )
        return super()._move_missing_keys_from_meta_to_device(missing_keys, *args, **kwargs)

    def check_can_be_saved(self, is_main_process=True, state_dict=None, **kwargs) -> None:
        """Raise a ValueError for weights that no file can hold, such as those that torch packed into int8."""
        if getattr(self, "hf_quantizer", None) is not None:  # The quantizer knows how to save its weights.
            return
        for name, value in (self.state_dict() if state_dict is None else state_dict).items():
            if not isinstance(value, torch.Tensor):
                raise ValueError(
                    f"{name!r} is no tensor but a {type(value).__name__}, which cannot be saved: nothing was written. "
                    "Save the model before it is quantised (torch's `quantize_dynamic` is done anew after loading), "
                    "or keep int8 in a file with `export_onnx` and `quantize_onnx`."
                )

    def save_pretrained(self, save_directory, *args, **kwargs):
        """
        Save the model with its code, and an `auto_map` and pipelines that name all which can read the folder.

        Raises:
            ValueError: weights are no tensors, as after torch's `quantize_dynamic`; or a kind that the user has
                registered cannot go with a checkpoint.
        """
        self.check_can_be_saved(*args, **kwargs)
        is_pushed, name = kwargs.pop("push_to_hub", False), kwargs.pop("repo_id", Path(save_directory).name)
        self.write(save_directory, *args, **kwargs)
        self.save_other_files(Path(save_directory))
        if is_pushed:  # not before these files are there
            options = inspect.signature(self.push_to_hub).parameters
            self.push_to_hub(name, **{option: kwargs[option] for option in options if option in kwargs})

    def write(self, save_directory, *args, **kwargs) -> None:
        """The library's own saving, with what the config says of the folder."""
        super().save_pretrained(save_directory, *args, **kwargs)

    def save_other_files(self, folder: Path) -> None:
        """Write what a saved folder holds beyond the weights, the config and this package's code."""
        carry(folder)
