# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""What a forward is given has to be a tensor of the kind that its argument takes, and an option one of its choices.

Shapes are checked where they are used; here it is the type, the device and, where looking at them is free, the values
of masks. Every error is a ValueError that names the argument, what came and what was expected.
"""

import torch

INTEGERS = (torch.int64, torch.int32)


def is_one_of(value: object, *choices: object) -> bool:
    """Whether an argument is one of these, which `in` cannot say of arrays: their `==` gives arrays."""
    return any(type(value) is type(choice) and value == choice for choice in choices)


def can_look_at(values: torch.Tensor) -> bool:
    """Whether values may be looked at. An accelerator would be waited for, so there torch's own assertions must do."""
    return values.device.type == "cpu" and not torch.compiler.is_compiling()


def check_tensor(value: torch.Tensor, name: str = "labels") -> None:
    """Refuse a list, an array of numpy or the like, and tensors that no argument takes."""
    if not isinstance(value, torch.Tensor):
        raise ValueError(
            f"`{name}` has type {type(value).__name__}, expected a tensor: pass `torch.tensor({name})`, on the device "
            "of the inputs."
        )
    is_plain = value.layout == torch.strided and not value.is_nested and not value.is_quantized
    if not is_plain or value.is_complex():
        kind = "nested" if value.is_nested else f"{value.dtype}, {value.layout}"
        raise ValueError(
            f"`{name}` is a tensor of a kind that is not taken ({kind}), expected a dense one of numbers."
        )


def check_device(value: torch.Tensor, name: str, device: torch.device) -> None:
    if value.device.type != device.type:
        raise ValueError(
            f"`{name}` is on the device {value.device}, and the model on {device}: pass `{name}.to(model.device)`."
        )


def check_flag(value: bool | None, name: str) -> None:
    """Refuse what is no answer to yes or no, such as a tensor."""
    if value is not None and not isinstance(value, int):
        raise ValueError(f"`{name}` has type {type(value).__name__}, expected True or False.")


def check_whole_numbers(value: torch.Tensor, name: str) -> None:
    """Refuse all but int64 and int32, as embeddings do."""
    check_tensor(value, name)
    if value.dtype not in INTEGERS:
        raise ValueError(f"`{name}` has type {value.dtype}, expected whole numbers: pass `{name}.long()`.")


def check_floats(value: torch.Tensor, name: str) -> None:
    """Refuse whole numbers and booleans, which pixels and features can only be by mistake."""
    check_tensor(value, name)
    if not value.is_floating_point():
        raise ValueError(
            f"`{name}` has type {value.dtype}, expected floats, as `MoTProcessor` makes them of raw values."
        )


def check_not_empty(value: torch.Tensor, name: str) -> None:
    if 0 in value.shape:
        raise ValueError(
            f"`{name}` has shape {tuple(value.shape)}, with a size of 0: expected at least one row, and something in "
            "each. What a row lacks is masked out."
        )


def check_mask(value: torch.Tensor, name: str) -> None:
    """
    Refuse floats that are NaN, negative or all 0: such a mask was made to be added to scores, where 0 stands for real.
    """
    check_tensor(value, name)
    if not value.is_floating_point() or not can_look_at(value):
        return
    is_zero = not value.any()
    if is_zero or not (value >= 0).all():
        raise ValueError(
            f"`{name}` holds {'floats that are all 0' if is_zero else value.min().item()}, expected numbers of which "
            f"0 is masked and others, such as 1, are real. (An additive mask becomes one by `{name} == 0`.)"
        )
