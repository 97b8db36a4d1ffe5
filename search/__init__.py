# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Embeds a dataset once, then finds its rows by text, image, audio, or any of them together.

commands: `mot index` and `mot search`
building: makes an index of a dataset
index: `Index`, which is searched and changed
embedder: which model and processor embedded an index, and takes no other
embedding: embeds rows
filters: which rows `where` lets through
approximate: FAISS, for large sets
rows, columns: the rows of a dataset as an index keeps them, and which of their columns are embedded
folder: changes of an index on disk, one after the other
description: `index.json`
shards: parquet files of rows with their embeddings
joining: rows that join others, with classes by their names
files: files that are whole or not there
"""
