# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Tables: numbers and categories (B, C), of which each column becomes a token and an empty cell is absent.

A number comes standardised, a category as the index of its value (`table_columns_mot.py` says how). All numbers are
embedded by one product and all categories by one look-up, whatever the number of columns.

Shapes: B rows, C columns, the numbers first and then the categories, d width.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field
from statistics import NormalDist
from typing import Any, Literal

import torch
from huggingface_hub.dataclasses import strict
from torch import nn

from .arguments_mot import can_look_at
from .cells_mot import Cell, ProcessorCall, RowReading
from .modality_mot import Modality, MoTEmbeddings, MoTModalityConfig, unit_scale
from .positions_mot import as_mask, blank
from .table_columns_mot import (
    NUM_QUANTILES,
    check_row,
    check_settings,
    column_names,
    is_empty,
    learn_columns,
    shares_below,
    table_of,
)

MOST_VALUES = 2**24  # of all categories together, as of a vocabulary
# Where bins begin and end: at the normal scores of every other quantile, so that each has as many numbers.
EDGES = [NormalDist().inv_cdf(share) for share in shares_below(NUM_QUANTILES)[::2]]


@strict
class MoTTableConfig(MoTModalityConfig):
    r"""
    A table: a number or a category in each column, or ready features. Beyond [`MoTModalityConfig`]:

    Args:
        num_numbers (`int`, *optional*, defaults to 0): How many columns hold numbers; they stand first.
        category_sizes (`list[int]`, *optional*, defaults to none):
            How many values each column of categories has, in order. Their indices are 1, 2, ...; the index 0, which
            does not count here, is that of a value that is none of them.
        column_names (`list[str]`, *optional*): What the columns are called, in pictures and errors.
        position_embedding_type (`str`, *optional*, defaults to `"learned"`):
            What says which column a token is of: `"learned"`, a vector of each column, or `"sinusoidal"`, that of its
            place. Ready features of which no columns are declared take `"sinusoidal"`.
        mask_ratio (`float`, *optional*, defaults to 0.5): The share of a row's cells that pretraining hides.
    """

    model_type = "mot_table"
    base_config_key = "table_config"

    num_numbers: int = 0
    category_sizes: list[int] = field(default_factory=list)
    column_names: list[str] | None = None
    mask_ratio: float | int = 0.5
    position_embedding_type: Literal["learned", "sinusoidal"] = "learned"

    @property
    def num_columns(self) -> int:
        """The columns of a table, each of which is a token."""
        return self.num_numbers + len(self.category_sizes)

    def name_of(self, column: int) -> str:
        """What a column is called."""
        return f"column {column}" if self.column_names is None else self.column_names[column]

    def validate_table(self):
        if min(self.category_sizes, default=1) < 1 or sum(self.category_sizes) > MOST_VALUES:
            raise ValueError(
                f"`category_sizes` are how many values each category has, at least 1 and together at most "
                f"{MOST_VALUES}, got {self.category_sizes}."
            )
        if self.column_names is not None and len(self.column_names) != self.num_columns:
            raise ValueError(
                f"`column_names` has {len(self.column_names)} names, expected one for each of {self.num_columns} "
                f"columns: {self.num_numbers} numbers and {len(self.category_sizes)} categories."
            )
        if self.backbone_config is not None:
            raise ValueError(
                "No model of transformers reads the columns of a table: leave `backbone_config` out, or give ready "
                "features with `feature_size`."
            )
        if self.feature_size is not None and not self.num_columns and self.position_embedding_type == "learned":
            raise ValueError(
                "Ready features of a table have learned positions for as many as there are columns: set `num_numbers` "
                'to how many a row has at most, or `position_embedding_type="sinusoidal"`.'
            )


class TableModality(Modality):
    """Columns of numbers and categories."""

    kind, noun = "table", "table"
    cells = (
        Cell(
            name="table",
            argument="table",
            medium=None,
            columns=("table",),
            synonyms=(),
            example={"age": 71, "sex": "f"},
            dimensions=1,
        ),
    )
    config_class = MoTTableConfig
    length_field = "num_columns"
    has_times = False
    drawing = "columns"
    is_exact = True
    reconstruction_loss, features_loss = "mixed", "mse"
    settings = ("numbers", "categories")
    sources = "none of the Hub"

    def embeddings(self, config: MoTTableConfig) -> "MoTTableEmbeddings":
        return MoTTableEmbeddings(config, self)

    def length_limit(self, config: MoTTableConfig) -> int | None:
        return config.num_columns or None

    def segment_length(self, config: MoTTableConfig) -> int:
        return config.num_columns

    def describe(self, config: MoTTableConfig) -> str:
        parts = {
            "number" if config.num_numbers == 1 else "numbers": config.num_numbers,
            "category" if len(config.category_sizes) == 1 else "categories": len(config.category_sizes),
        }
        names = "" if config.column_names is None else f" ({', '.join(config.column_names)})"
        return " and ".join(f"{number} {noun}" for noun, number in parts.items() if number) + f" of a table{names}"

    def example(self, cell: Cell, config: MoTTableConfig) -> dict[str, Any]:
        """A row with the first number and the first category; any of the columns may be left out."""
        if config.column_names is None:
            return cell.example
        number, category = cell.example.values()
        first = {0: number} if config.num_numbers else {}
        first |= {config.num_numbers: category} if config.category_sizes else {}
        return {config.name_of(column): value for column, value in first.items()}

    # What the processor makes of cells

    def check_settings(self, settings: Mapping[str, Any]) -> None:
        """Raise a ValueError for settings of a processor that are none of a table."""
        check_settings(settings, self.name)

    def learn(self, cells: Iterable[Mapping[str, Any] | None]) -> dict[str, Any]:
        """The columns of dicts `{"age": 71, "sex": "f"}`; see `learn_columns`."""
        return learn_columns(cells, self.name)

    def config_fields(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        categories = settings.get("categories", {})
        return {
            "num_numbers": len(settings.get("numbers", {})),
            "category_sizes": [len(categories[column]) for column in sorted(categories)],
            "column_names": column_names(settings),
        }

    def columns_in(self, settings: Mapping[str, Any]) -> tuple[str, ...]:
        return tuple(column_names(settings))

    def collect(self, rows: dict[str, list], call: ProcessorCall) -> dict[str, torch.Tensor]:
        """
        Dicts of columns to values (B, C) and their mask (B, C). What is empty is NaN, so that a row by itself, which
        has no mask, says what it lacks.
        """
        ((name, cells),) = rows.items()
        values = torch.from_numpy(table_of(cells, call.settings, name))
        return {self.names.raw: values, self.names.mask: (~values.isnan()).long()}

    def check_cell(self, cell: Cell, value: Any, name: str) -> Mapping[str, Any]:
        return check_row(value, name)

    def decode_cell(self, cell: Cell, value: Any, reading: RowReading) -> Mapping[str, Any]:
        return check_row(value, f"{reading.name}{cell.name}")

    def pad(
        self, values: Sequence[torch.Tensor | None], multiple: int = 1, fill: float = 0
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Encoded rows, NaN where they are empty, as one tensor and its mask. A table is not padded to a multiple."""
        padded, mask = super().pad(values, 1, torch.nan if is_floating(values) else fill)
        if not padded.is_floating_point():  # numbers of segments
            return padded, mask
        is_real = ~padded.isnan()
        return padded.masked_fill(~is_real, fill), is_real.long()

    def length_of(self, value: torch.Tensor) -> int:
        return 0

    def segments_of(self, cell: Cell, value: Any) -> list:
        """A list of dicts is as many records of one row; a record whose cells are all empty is none."""
        records = list(value) if isinstance(value, (list, tuple)) else [value]
        return [record for record in records if not (isinstance(record, Mapping) and is_empty(record))]

    def kept_places(self, mask: torch.Tensor) -> torch.Tensor:
        """Records keep their empty cells, since the place of a cell says which column it is of."""
        return torch.ones_like(mask, dtype=torch.bool)

    # What pretraining and pictures ask

    def target_size(self, config: MoTTableConfig) -> int:
        return 1 + sum(config.category_sizes)

    def raw_stand_in(self, config: MoTTableConfig, device: torch.device) -> torch.Tensor:
        return torch.zeros(1, config.num_columns, device=device)

    def token_labels(
        self, config: MoTTableConfig, inputs: dict[str, torch.Tensor], row: int, number: int, tokenizer=None
    ) -> list[str]:
        """The names of the columns."""
        return [config.name_of(i) for i in self.real_places(inputs, row, config.num_columns).tolist()]


def is_floating(values: Sequence[torch.Tensor | None]) -> bool:
    return next(value for value in values if value is not None).is_floating_point()


class MoTNumberEmbedding(nn.Module):
    """
    Numbers (B, C) as vectors (B, C, d), by weights of each column's own: one product, whatever the number of columns.

    A number is seen as how far it is through each of several bins, 0 before and 1 behind, by which a linear layer
    makes any curve of it (piecewise linear encoding, arXiv 2203.05556), and as asinh(x), by which those beyond the
    bins differ. Both are finite for every finite number.
    """

    def __init__(self, num_numbers: int, hidden_size: int):
        super().__init__()
        num_features = len(EDGES)  # one bin less, and asinh(x)
        self.weight = nn.Parameter(torch.zeros(num_numbers, num_features, hidden_size))
        self.initial_std = (2 / num_features) ** 0.5  # as `unit_scale`

    def forward(self, numbers: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        edges = numbers.new_tensor(EDGES, dtype=torch.float32)  # (bins + 1,)
        covered = (numbers.float()[..., None] - edges[:-1]) / (edges[1:] - edges[:-1])
        features = torch.cat([covered.clamp(0, 1), compressed(numbers)[..., None]], dim=-1)  # (B, C, bins + 1)
        return torch.einsum("bcf,cfd->bcd", features.to(dtype), self.weight)


def compressed(numbers: torch.Tensor) -> torch.Tensor:
    """asinh(x), float32; what is beyond float32 counts as its end."""
    most = torch.finfo(torch.float32).max
    return numbers.float().clamp(-most, most).asinh()


class MoTTableEmbeddings(MoTEmbeddings):
    """Numbers and categories (B, C), of which each column is a token."""

    def __init__(self, config: MoTTableConfig, modality: TableModality):
        if not config.num_columns:
            raise ValueError(
                f"`{modality.name}_config` is that of a table without columns: give `num_numbers`, `category_sizes` "
                "or both, as `MoTProcessor` learns them."
            )
        super().__init__(config, modality, config.num_columns)
        if hasattr(self, "position_embeddings"):
            unit_scale(self.position_embeddings)
        if config.num_numbers:
            self.number_embeddings = MoTNumberEmbedding(config.num_numbers, config.hidden_size)
        if config.category_sizes:
            self.category_embeddings = unit_scale(nn.Embedding(sum(config.category_sizes), config.hidden_size))

    def embed(self, values: torch.Tensor, mask: torch.Tensor | None, dtype: torch.dtype, times=None, hidden=None):
        mask = self.input_mask(values, mask)
        self.check_values(values, mask)
        numbers, categories = self.split(blank(values, mask))
        tokens = []
        if self.config.num_numbers:
            tokens.append(self.number_embeddings(numbers, dtype))
        if self.config.category_sizes:
            tokens.append(self.embed_categories(categories).to(dtype))
        # A token's position is its column, whatever is empty before it.
        return torch.cat(tokens, dim=1), self.positions(values.shape[1], None, values.device)

    def split(self, values: torch.Tensor) -> list[torch.Tensor]:
        """The numbers and the categories of values (..., C)."""
        return list(values.split([self.config.num_numbers, len(self.config.category_sizes)], dim=-1))

    def embed_categories(self, categories: torch.Tensor) -> torch.Tensor:
        """
        Indices (B, C) to vectors (B, C, d), by one look-up in the values of all columns one after another. Of a value
        that is unknown nothing is said but that it is there: its vector is zero.
        """
        sizes = torch.tensor(self.config.category_sizes, device=categories.device)
        indices = categories.long()
        rows = (indices + (sizes.cumsum(0) - sizes - 1)).masked_fill(indices == 0, 0)
        # What no column has, where `check_values` may not look, is put where torch's own assertion finds it.
        rows = rows.masked_fill((indices < 0) | (indices > sizes), sum(self.config.category_sizes))
        return self.category_embeddings(rows).masked_fill((indices == 0)[..., None], 0)

    def input_mask(self, values: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor | None:
        """Also of several records of a row, one after another, which segments make rows of (`split_segments`)."""
        config = self.config
        if values.ndim != 2 or values.shape[1] % config.num_columns:
            raise ValueError(
                f"`{self.names.raw}` has shape {tuple(values.shape)}, expected (batch, {config.num_columns}): "
                f"{config.num_numbers} numbers, then {len(config.category_sizes)} categories."
            )
        most = 2 / torch.finfo(values.dtype).eps  # up to here all whole numbers can be told apart
        if max(config.category_sizes, default=0) > most:
            raise ValueError(
                f"`{self.names.raw}` has type {values.dtype}, which tells {most:.0f} categories apart, and a column "
                f"has {max(config.category_sizes)}: pass float32."
            )
        return as_mask(mask, tuple(values.shape), self.names.mask)

    def check_values(self, values: torch.Tensor, mask: torch.Tensor | None) -> None:
        """Raise a ValueError for what is no number and for an index that its column does not have."""
        if values.shape[1] != self.config.num_columns:
            raise ValueError(
                f"`{self.names.raw}` has {values.shape[1]} columns, expected {self.config.num_columns}. Several "
                f"records of a row are told apart by `{self.names.segments}`."
            )
        if not can_look_at(values):
            return
        real = torch.ones_like(values, dtype=torch.bool) if mask is None else mask
        if (found := first_place(real & ~values.isfinite())) is not None:
            row, column = found
            raise ValueError(
                f"`{self.names.raw}` holds {values[found].item()} in row {row}, {self.label(column)}: expected a "
                f"finite number. What is empty is masked out by `{self.names.mask}`."
            )
        self.check_categories(values, real)

    def check_categories(self, values: torch.Tensor, real: torch.Tensor) -> None:
        if not self.config.category_sizes or not can_look_at(values):
            return
        sizes, (_, indices) = torch.tensor(self.config.category_sizes), self.split(values)
        wrong = (indices < 0) | (indices > sizes) | (indices != indices.round())
        if (found := first_place(wrong & self.split(real)[1])) is not None:
            row, column = found
            raise ValueError(
                f"`{self.names.raw}` holds {indices[found].item():g} in row {row}, "
                f"{self.label(self.config.num_numbers + column)}, a category of {sizes[column]} values: expected a "
                f"whole number, 1 to {sizes[column]}, or 0 for a value that is unknown."
            )

    def label(self, column: int) -> str:
        """What a column is called in an error."""
        name = self.config.name_of(column)
        return name if self.config.column_names is None else f"column {name!r}"

    def targets(self, values: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        """
        Of a number what asinh makes of it, first; of a category, behind that, a 1 among the values of its column. The
        rest of both is NaN, and so is all of a category whose value is unknown.
        """
        mask = self.input_mask(values, mask)
        real = ~values.isnan() if mask is None else mask & ~values.isnan()
        self.check_categories(values, real)
        numbers, categories = self.split(values.float().masked_fill(~real, torch.nan))
        targets = values.new_full((*values.shape, self.modality.target_size(self.config)), torch.nan)
        targets[:, : self.config.num_numbers, 0] = compressed(numbers)
        sizes = torch.tensor(self.config.category_sizes, dtype=torch.long, device=values.device)
        owners = torch.arange(len(sizes), device=values.device).repeat_interleave(sizes)  # (n,) whose value it is
        ranks = torch.arange(len(owners), device=values.device) - (sizes.cumsum(0) - sizes)[owners] + 1
        is_own = owners == torch.arange(len(sizes), device=values.device)[:, None]  # (categories, n)
        is_value = (categories[..., None] == ranks).float()
        is_known = (categories > 0)[..., None]  # NaN is not
        targets[:, self.config.num_numbers :, 1:] = is_value.masked_fill(~(is_own & is_known), torch.nan)
        return targets


def first_place(found: torch.Tensor) -> tuple[int, int] | None:
    """The row and column of the first True in (B, C); None without one."""
    places = found.nonzero()
    return tuple(places[0].tolist()) if len(places) else None
