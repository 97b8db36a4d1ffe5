# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Pickles as data: arrays, numbers, strings and containers of them, put together without calling anything.

A pickle is a program for a small stack machine. `read_pickle` is such a machine that knows how plain containers and
the arrays of numpy are written and stops at anything else. It looks up no function, so there is none to misuse; an
array is made of numbers or letters alone, and of as many as the file holds.
"""

import codecs
import mmap
import pickletools
import re
from collections.abc import Callable
from pickle import UnpicklingError
from typing import Any, BinaryIO

import numpy as np

# The types of arrays that are read: numbers, letters, and `O`, which is Python's own objects.
KNOWN_DTYPES = re.compile(r"b1|[iu][1248]|f[248]|[US]\d{1,9}|O8?")
# A part of a file may stand in several places of what it holds, which may be so much larger than the file.
TIMES_THE_FILE = 8

NUMPY_MODULES = ("numpy.core.multiarray", "numpy._core.multiarray")  # The name before numpy 2, and the name since.
KNOWN_NAMES = {
    "numpy.ndarray": "ndarray",
    "numpy.dtype": "dtype",
    "_codecs.encode": "latin1",
    "collections.OrderedDict": "dict",
    "__builtin__.bytes": "no bytes",  # Protocol 2 writes b"" as a call of it.
    **{f"{module}._reconstruct": "array" for module in NUMPY_MODULES},
    **{f"{module}.scalar": "scalar" for module in NUMPY_MODULES},
    **{f"{module.replace('multiarray', 'numeric')}._frombuffer": "buffer" for module in NUMPY_MODULES},
}


def read_pickle(path: str) -> Any:
    """
    What a file of any protocol holds; strings of Python 2 are read as latin1.

    Raises:
        UnpicklingError: it is no pickle, it is cut short, or it holds anything but arrays, numbers, strings, None, and
            lists, tuples and dictionaries of them whose keys are strings.
    """
    with open(path, "rb") as file:
        try:
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                found = PickleMachine().run(content)
                check_expanded(found, TIMES_THE_FILE * len(content))
                return found
        except UnpicklingError:
            raise
        except (ValueError, TypeError, IndexError, KeyError, AttributeError, OverflowError) as error:
            raise UnpicklingError(f"it is no pickle, or a damaged one ({error}).") from error


def check_expanded(content: Any, limit: int) -> None:
    """
    Whether everything, written out wherever it stands, is no larger than so much: a part may stand in many places.
    """
    waiting, size = [content], 0
    while waiting:
        part = waiting.pop()
        size += part.nbytes if isinstance(part, np.ndarray) else len(part) if isinstance(part, str | bytes) else 1
        if isinstance(part, dict):
            waiting.extend(part.values())
        elif isinstance(part, list | tuple):
            waiting.extend(part)
        elif isinstance(part, np.ndarray) and part.dtype == object:
            waiting.extend(part.ravel())
        if size + len(waiting) > limit + 1000:
            raise UnpicklingError("its lists hold each other again and again, which would fill the memory.")


# ---------------------------------------------------------------------------------------------------------------------
# Arrays as numpy writes them
# ---------------------------------------------------------------------------------------------------------------------


class NamedFunction:
    """A function or class that a pickle asks for: a name, nothing that could be called."""

    def __init__(self, kind: str):
        self.kind = kind


class TypeDescription:
    """A type of numbers as a pickle describes it: first its letter and size, then its order of bytes."""

    def __init__(self, code: str):
        if not isinstance(code, str) or not KNOWN_DTYPES.fullmatch(code):
            raise UnpicklingError(f"an array is of the type {str(code)[:40]!r}, expected numbers or strings.")
        self.code, self.order = code, "="

    def build(self, state: tuple) -> None:
        _, self.order, *more = state
        if self.order not in ("<", ">", "|", "=") or any(part is not None for part in more[:3]):
            raise UnpicklingError("an array is of a type that is put together of others, expected numbers or strings.")

    def numpy(self) -> np.dtype:
        return np.dtype(object if self.code[0] == "O" else self.order + self.code)


class WaitingArray:
    """An array that waits for its shape and its content."""

    def __init__(self):
        self.array = None

    def build(self, state: tuple) -> None:
        _, shape, dtype, is_fortran, content = state
        self.array = make_array(content, dtype, shape, "F" if is_fortran else "C")


def built(item: Any) -> Any:
    if not isinstance(item, WaitingArray):
        return item
    if item.array is None:
        raise UnpicklingError("an array has no content.")
    return item.array


def make_array(content: Any, dtype: Any, shape: Any, order: str) -> np.ndarray:
    if (
        not isinstance(dtype, TypeDescription)
        or not isinstance(shape, tuple)
        or any(type(size) is not int for size in shape)
    ):
        raise UnpicklingError("an array has no type or no shape.")
    if dtype.code[0] != "O":
        return np.frombuffer(as_bytes(content), dtype.numpy()).reshape(shape, order=order)
    if not isinstance(content, list):  # Bytes would be taken for addresses in this process's memory.
        raise UnpicklingError("an array of objects is given as bytes, expected a list.")
    array = np.empty(len(content), object)
    for place, item in enumerate(content):
        array[place] = item
    return array.reshape(shape, order=order)


def as_bytes(content: Any) -> bytes:
    content = content.encode("latin1") if isinstance(content, str) else content  # Python 2 writes bytes so.
    if not isinstance(content, bytes | bytearray):
        raise UnpicklingError(f"the content of an array is of type {type(content).__name__}, expected bytes.")
    return content


def latin1_bytes(text: str, encoding: str) -> bytes:
    """How protocol 2 writes bytes."""
    if encoding != "latin1":
        raise UnpicklingError(f"bytes are encoded as {str(encoding)[:20]!r}, expected latin1.")
    return text.encode("latin1")


def make_scalar(dtype: TypeDescription, content: Any):
    return make_array(content, dtype, (), "C")[()]


# What is done in place of a call, by the kind that `KNOWN_NAMES` gives a name.
MAKERS: dict[str, Callable] = {
    "dtype": lambda code, *flags: TypeDescription(code),
    "array": lambda kind, *shape_and_type: WaitingArray(),
    "buffer": make_array,
    "scalar": make_scalar,
    "latin1": latin1_bytes,
    "no bytes": lambda: b"",
    "dict": lambda items=(): dictionary([cell for item in items for cell in item]),
}


# ---------------------------------------------------------------------------------------------------------------------
# The machine
# ---------------------------------------------------------------------------------------------------------------------


def read_latin1(file: BinaryIO) -> str:
    """A string of protocol 0, which `pickletools` takes for ASCII."""
    return codecs.escape_decode(file.readline().strip()[1:-1])[0].decode("latin1")


OPCODES = {op.code: (op.name, op.arg and op.arg.reader) for op in pickletools.opcodes}
OPCODES["S"] = ("STRING", read_latin1)
CONSTANT_OPCODES = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
VALUE_OPCODES = ("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT")
VALUE_OPCODES += ("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8")
VALUE_OPCODES += ("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8")
PUT_OPCODES, GET_OPCODES = ("PUT", "BINPUT", "LONG_BINPUT"), ("GET", "BINGET", "LONG_BINGET")


def dictionary(cells: list) -> dict:
    """A dictionary of cells that are keys and values in turn."""
    if any(type(key) is not str for key in cells[::2]):
        raise UnpicklingError("a key of a dictionary is no string.")
    return dict(zip(cells[::2], cells[1::2], strict=True))


class PickleMachine:
    """The stack machine: it has a stack, the stacks below the marks, and what was put aside."""

    def __init__(self):
        self.stack, self.below, self.kept = [], [], {}

    def run(self, file: BinaryIO) -> Any:
        while code := file.read(1):
            name, reader = OPCODES[code.decode("latin1")]
            argument = reader(file) if reader else None
            if name == "STOP":
                return self._value(self.stack.pop())
            if name in VALUE_OPCODES:
                self.stack.append(argument)
            elif name in CONSTANT_OPCODES:
                self.stack.append(CONSTANT_OPCODES[name])
            elif name in PUT_OPCODES or name == "MEMOIZE":
                self.kept[len(self.kept) if name == "MEMOIZE" else argument] = self.stack[-1]
            elif name in GET_OPCODES:
                self.stack.append(self.kept[argument])
            elif name not in ("PROTO", "FRAME"):
                self._do(name, argument)
        raise UnpicklingError("it ends too early.")

    def _do(self, name: str, argument: Any) -> None:
        step = getattr(self, f"_{name.lower()}", None)
        if step is None:
            raise UnpicklingError(f"it asks for {name}, which plain data do not need.")
        step(*(() if argument is None else (argument,)))

    @staticmethod
    def _value(item: Any) -> Any:
        """What a list, a tuple or a dictionary is given: an array in place of what made it, and no function."""
        item = built(item)
        if isinstance(item, NamedFunction | TypeDescription):
            raise UnpicklingError("it holds a function or a type, expected data.")
        return item

    def _marked(self) -> list:
        """What stands above the last mark, which is taken away."""
        items, self.stack = self.stack, self.below.pop()
        return items

    def _mark(self) -> None:
        self.below.append(self.stack)
        self.stack = []

    def _pop(self) -> None:
        self.stack.pop()

    _pop_mark = _marked

    # Containers. Only a tuple may hold a function, since a tuple is also the arguments of a call.

    def _empty_list(self) -> None:
        self.stack.append([])

    def _empty_dict(self) -> None:
        self.stack.append({})

    def _list(self) -> None:
        items = self._marked()
        self.stack.append(list(map(self._value, items)))

    def _dict(self) -> None:
        items = self._marked()
        self.stack.append(dictionary(list(map(self._value, items))))

    def _append(self) -> None:
        self._extend([self.stack.pop()])

    def _appends(self) -> None:
        self._extend(self._marked())

    def _extend(self, items: list) -> None:
        if type(self.stack[-1]) is not list:
            raise UnpicklingError("it adds to what is no list.")
        self.stack[-1].extend(map(self._value, items))

    def _setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._update([key, value])

    def _setitems(self) -> None:
        self._update(self._marked())

    def _update(self, cells: list) -> None:
        if type(self.stack[-1]) is not dict:
            raise UnpicklingError("it sets a key of what is no dictionary.")
        self.stack[-1].update(dictionary(list(map(self._value, cells))))

    def _tuple(self) -> None:
        items = self._marked()
        self._push_tuple(items)

    def _tuple1(self) -> None:
        self._push_tuple([self.stack.pop()])

    def _tuple2(self) -> None:
        self._push_tuple([self.stack.pop() for _ in range(2)][::-1])

    def _tuple3(self) -> None:
        self._push_tuple([self.stack.pop() for _ in range(3)][::-1])

    def _push_tuple(self, items: list) -> None:
        self.stack.append(tuple(map(built, items)))

    # Functions, and what is done in place of their calls.

    def _global(self, name: str) -> None:
        self._name(*name.split(" ", 1))

    def _stack_global(self) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        self._name(module, name)

    def _name(self, module: str, name: str) -> None:
        kind = KNOWN_NAMES.get(f"{module}.{name}")
        if kind is None:
            raise UnpicklingError(
                f"it asks for '{str(module)[:60]}.{str(name)[:60]}', which is not part of a numpy array: it was not "
                "called, since a pickle can run any code. Convert the file, where you trust it, to parquet."
            )
        self.stack.append(NamedFunction(kind))

    def _reduce(self) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        if not isinstance(function, NamedFunction) or function.kind not in MAKERS or type(arguments) is not tuple:
            raise UnpicklingError("it calls what is no part of a numpy array.")
        self.stack.append(MAKERS[function.kind](*arguments))

    def _build(self) -> None:
        state, target = self.stack.pop(), self.stack[-1]
        if not isinstance(target, WaitingArray | TypeDescription) or type(state) is not tuple:
            raise UnpicklingError("it gives a state to what is no numpy array.")
        target.build(state)
