# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Blocks of rows that many workers answer at once: processes of this machine, or of all machines of a Ray cluster.

A block is a range of rows under a number. Whoever asks keeps each answer under its number as it comes, in whatever
order, and asks the next time only for those that are missing. A block is answered whole or not at all: what a worker
had begun when it was killed is begun anew, by another or by its successor.
"""

import logging
import os
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import pyarrow as pa

from mixture_of_transformers.training.command import FORESEEN

# From the numbers of blocks and the rows of each, to the number of one after the other and what is known of its rows.
Answer = Callable[[Mapping[int, range]], Iterator[tuple[int, pa.Table]]]

LOCAL = "local"
KINDS = {kind.__name__: kind for kind in FORESEEN}
FAILURE = pa.struct([(name, pa.string()) for name in ("kind", "message", "trace")])
TRAVELS = pa.schema([("number", pa.int64()), ("answer", pa.large_binary()), ("failure", FAILURE)])
OBJECT_STORE = 2**28  # bytes of memory that a Ray of one's own shares: what travels are answers, not media


@dataclass
class RayArguments:
    """Whether other processes and machines compute, and which."""

    ray: bool = field(
        default=False,
        metadata={"help": "Compute on the workers of Ray, each with a model of its own (docs/distributed.md)."},
    )
    ray_address: str = field(
        default=LOCAL,
        metadata={
            "help": "The cluster, as Ray calls it: 'auto' for the one that this machine is of, or host:port; 'local' "
            "starts one on this machine, for as long as the command runs."
        },
    )
    ray_workers: int = field(
        default=0,
        metadata={"help": "The number of workers; 0 for one on each GPU, or else on each core, of the cluster."},
    )


def on_ray(open_answer: Callable[[], Answer], address: str = LOCAL, workers: int = 0, cpus: int = 1) -> Answer:
    """
    What answers blocks on the workers of Ray, each of them on one GPU where the cluster has any.

    Args:
        open_answer: opens on a worker, once, what answers there. It is pickled: the files that it names have to be
            there under the same paths on every machine.
        address: of the cluster, as `RayArguments` say.
        workers: their number; 0 for one on each GPU, or else on each core.
        cpus: how many cores a worker takes.

    Raises:
        ImportError: Ray is not installed. ValueError: there cannot be so many workers. ConnectionError: there is no
            cluster at this address. Once it answers, whatever a worker raises.
    """
    try:
        import ray.data
    except ImportError as error:
        raise ImportError("--ray needs Ray: pip install 'mixture-of-transformers[ray]'.") from error
    if workers < 0:
        raise ValueError(f"--ray_workers is {workers}; expected 1 or more, or 0 for as many as the cluster has.")

    def answer(blocks: Mapping[int, range]) -> Iterator[tuple[int, pa.Table]]:
        if not blocks:
            return
        with connected(address):
            gpus = int(ray.cluster_resources().get("GPU", 0))
            many = workers or gpus or max(1, int(ray.cluster_resources().get("CPU", 1)) // cpus)
            quiet = ray.data.DataContext.get_current()
            quiet.enable_progress_bars = quiet.print_on_execution_start = False
            asked = [{"number": n, "start": rows.start, "stop": rows.stop} for n, rows in blocks.items()]
            answered = ray.data.from_items(asked, override_num_blocks=len(asked)).map_batches(
                Worker,
                fn_constructor_args=(open_answer, os.getcwd()),
                batch_size=1,
                batch_format="pyarrow",
                # None waits in the queue of a worker, since another one may be free before.
                compute=ray.data.ActorPoolStrategy(size=min(many, len(asked)), max_tasks_in_flight_per_actor=1),
                num_cpus=cpus,
                num_gpus=1 if gpus else 0,
            )
            # Without prefetching, since a block that waits for the next one is lost with this process.
            for found in answered.iter_batches(batch_size=1, batch_format="pyarrow", prefetch_batches=0):
                ((number, content, failure),) = zip(*(column.to_pylist() for column in found.columns))
                if failure:
                    raise error_of(failure)
                yield number, pa.ipc.open_stream(content).read_all()

    return answer


@contextmanager
def connected(address: str) -> Iterator[None]:
    """A cluster is there: the one that this process is connected to, or else that at an address."""
    import ray

    if ray.is_initialized():
        yield
        return
    own = {"object_store_memory": OBJECT_STORE, "include_dashboard": False} if address == LOCAL else {}
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # A Ray of one's own reports to nobody.
    ray.init(address, log_to_driver=False, logging_level=logging.WARNING, **own)
    try:
        yield
    finally:
        ray.shutdown()


class Worker:
    """
    One process of Ray: a block in, its answer out, or what went wrong, each as a table of one row. Nothing is raised,
    since Ray would give a traceback in the place of an error.

    Args:
        open_answer: of `on_ray`.
        folder: in which its paths are, as far as they are relative.
    """

    def __init__(self, open_answer: Callable[[], Answer], folder: str):
        self.open_answer = open_answer
        self.answer: Answer | None = None
        with suppress(OSError):  # A cluster without common folders still has what is on the Hub.
            os.chdir(folder)

    def __call__(self, block: pa.Table) -> pa.Table:
        ((number, start, stop),) = zip(*(block[name].to_pylist() for name in ("number", "start", "stop")))
        content, failure = None, None
        try:
            self.answer = self.answer or self.open_answer()
            ((_, found),) = self.answer({number: range(start, stop)})
            sink = pa.BufferOutputStream()
            with pa.ipc.new_stream(sink, found.schema) as stream:
                stream.write_table(found)
            content = sink.getvalue().to_pybytes()
        except Exception as error:
            failure = failure_of(error)
        return pa.Table.from_arrays([[number], [content], [failure]], schema=TRAVELS)


def failure_of(error: Exception) -> dict[str, str]:
    """An error as it travels: the nearest kind that every machine knows, its message, and where it was raised."""
    kind = next((name for name, kind in KINDS.items() if isinstance(error, kind)), None)
    message = str(error) if kind else f"{type(error).__name__}: {error}"
    return {"kind": kind or "", "message": message, "trace": "".join(traceback.format_exception(error))}


def error_of(failure: dict[str, str]) -> Exception:
    error = KINDS.get(failure["kind"], RuntimeError)(failure["message"])
    error.add_note(f"It was raised by a worker:\n{failure['trace']}")
    return error
