# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Reads datasets of any form, one row at a time or whole, into columns whose meaning is known.

A dataset goes through `sources.load_splits`, `preparation.find_columns`, `prepare_splits` and `drop_bad_examples`. The
rooms in this order, each with its one job:

Where rows come from
    sources: datasets by name or path, as the splits train, validation and test
    hub: datasets of the Hub
    formats: folders and files, by the reader of their format
    folders, split_names: which files of a folder are data, of what kind, and of which split
    table_splits: CSV, TSV, JSON and parquet, each split with the types of the training split
    table_builder, tables, table_types, text_files: the same files from bytes to text, tables and typed columns
    relative_paths: paths in tables, made whole
    media_folders: pictures, sounds and videos in folders
    media_suffixes: which medium a file is of, by its name
    archives: tar archives of WebDataset
    mmsa, pickles: the pickles of MMSA, read without running them
    digits: the embedded dataset
    builders, fingerprints: what `datasets` keeps in its cache, and what makes it read anew

What a dataset may do
    dataset_limits: which files it may name, and how large what it packs may become
    allowed_paths: where the files lie that it may name
    unpacking: compressed files and archives, within the limits
    secrets: tokens and paths of this machine, which are shown to nobody

What rows mean
    column_types: the types of columns, and the form in which cells are stored
    columns, column_names, column_contents: which column is the text, a medium or the label
    labels, label_learning: what labels mean, learned from the training split
    split_types, split_column, splits: splits of the same types, a column that says the split, rows held out or drawn

Rows on their way to a model
    preparation: every split with the columns text, image, audio, video and label
    streams: the same for rows that are never kept
    shares: which rows of a stream are those of one of several readers, and where a reader is
    checks: what is wrong with a row
    tokenizers: a tokenizer that is trained on the texts
"""
