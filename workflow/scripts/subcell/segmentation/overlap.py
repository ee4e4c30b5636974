"""Reading, inference and writing at the same time: a network that waits for a disk is an idle network."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")
Read = TypeVar("Read")
Predicted = TypeVar("Predicted")
Done = TypeVar("Done")


def overlapped(
    items: Iterable[Item],
    *,
    read: Callable[[Item], Read],
    batch_of: Callable[[Read], tuple[object, int]],
    predict: Callable[[list[Read]], list[Predicted]],
    finish: Callable[[Read, Predicted], Done],
    write: Callable[[Done], None],
    workers: int = 1,
) -> None:
    """Take every item through four stages that overlap; results are written in the order of the items.

    Items are read and prepared in one thread, predicted in batches in the calling thread, finished in `workers` threads
    and written in another. An error of any stage ends the run once it reaches the calling thread.

    Parameters
    ----------
    items : what to work on
    read : an item as it enters a batch
    batch_of : (key, most): items with the same key that follow each other share a batch of at most so many
    predict : a batch -> a result each
    finish : one item and its result -> what is written
    write : writes it
    workers : threads that finish
    """
    with ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(workers) as finishers, ThreadPoolExecutor(1) as writer:
        finishing: deque[Future[Done]] = deque()
        writing: deque[Future[None]] = deque()
        try:
            for batch in _batches(_ahead(reader, read, items), batch_of):
                for one, result in zip(batch, predict(batch), strict=True):
                    finishing.append(finishers.submit(finish, one, result))
                del batch
                # What is not finished or written yet stays in memory, so there is no more of it than this.
                while len(finishing) > workers:
                    writing.append(writer.submit(write, finishing.popleft().result()))
                while len(writing) > 1:
                    writing.popleft().result()
            while finishing:
                writing.append(writer.submit(write, finishing.popleft().result()))
            while writing:
                writing.popleft().result()
        except BaseException:
            for pool in (reader, finishers, writer):
                pool.shutdown(wait=False, cancel_futures=True)
            raise


def _ahead(pool: ThreadPoolExecutor, read: Callable[[Item], Read], items: Iterable[Item]) -> Iterator[Read]:
    """Results in order, one item ahead."""
    iterator = iter(items)
    waiting = deque(pool.submit(read, item) for item in islice(iterator, 1))
    while waiting:
        waiting.extend(pool.submit(read, item) for item in islice(iterator, 1))
        yield waiting.popleft().result()


def _batches(items: Iterable[Read], batch_of: Callable[[Read], tuple[object, int]]) -> Iterator[list[Read]]:
    batch: list[Read] = []
    key: object = None
    for item in items:
        wanted, most = batch_of(item)
        if batch and (wanted != key or len(batch) >= most):
            yield batch
            batch = []
        key = wanted
        batch.append(item)
    if batch:
        yield batch
