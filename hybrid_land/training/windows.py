"""Training data as windows in time: split by place, packed in memory, drawn as batches."""

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from queue import Queue

import numpy as np
import xarray as xr

from hybrid_land.columns import forcing_numpy, parameters_from, require
from hybrid_land.errors import InputError
from hybrid_land.models.emulator import PARAMETERS
from hybrid_land.training.config import Phase
from hybrid_land.variables import DIAGNOSTIC, PROGNOSTIC

Batch = dict[str, np.ndarray]


def validation_columns(data: xr.Dataset, *, share: float, seed: int) -> np.ndarray:
    """Columns to withhold: whole places (same lat and lon), spread over the climate classes.

    Args:
        data: with `lat`, `lon` and, where known, `climate_index` on `column`.
        share: of places to withhold.
        seed: of the draw.

    Returns:
        Boolean `[column]`, true where withheld.
    """
    place = np.stack([data.lat.to_numpy(), data.lon.to_numpy()], axis=1)
    _, first, member = np.unique(place, axis=0, return_index=True, return_inverse=True)
    count = max(1, round(share * len(first)))
    draw = np.random.default_rng(seed).permutation(len(first))
    if "climate_index" in data:
        climate = data.climate_index.to_numpy()[first]
        draw = draw[np.argsort(climate[draw], kind="stable")]
    chosen = draw[(np.arange(count) * len(first)) // count]
    return np.isin(member.reshape(-1), chosen)


@dataclass(frozen=True)
class Windows:
    """Columns of several files in one array, cut where a window may start.

    Attributes:
        rows: `[row, variable]`: each column's records in time, one column after the other.
        variables: names of the second axis.
        fixed: `[column, parameter]`.
        parameters: names of its second axis.
        column_of: `[row]`, the column that a row belongs to.
        room: `[row]`, how many steps follow within the column.
    """

    rows: np.ndarray
    variables: tuple[str, ...]
    fixed: np.ndarray
    parameters: tuple[str, ...]
    column_of: np.ndarray
    room: np.ndarray

    def draw(self, phase: Phase, *, seed: int, update: int) -> Batch:
        """The batch of an update: a function of the seed and the update's number alone.

        Returns:
            `rows` `[length + 1, variable, window]` and `fixed` `[parameter, window]`.
        """
        generator = np.random.Generator(np.random.Philox(key=[seed, update]))
        starts = np.flatnonzero(self.room >= phase.length)
        chosen = starts[generator.integers(0, len(starts), phase.batch)]
        index = chosen[:, None] + np.arange(phase.length + 1)[None, :]
        rows = np.ascontiguousarray(self.rows[index].transpose(1, 2, 0))
        return {"rows": rows, "fixed": np.ascontiguousarray(self.fixed[self.column_of[chosen]].T)}

    def batches(
        self, schedule: Sequence[tuple[int, Phase]], *, seed: int, ahead: int = 3
    ) -> Iterator[Batch]:
        """Batches of the updates in order, read by another thread while the device works."""
        queue: Queue[Batch] = Queue(maxsize=ahead)
        stop = threading.Event()

        def read() -> None:
            for update, phase in schedule:
                if stop.is_set():
                    return
                queue.put(self.draw(phase, seed=seed, update=update))

        reader = threading.Thread(target=read, daemon=True)
        reader.start()
        try:
            for _ in schedule:
                yield queue.get()
        finally:
            stop.set()
            while reader.is_alive():
                while not queue.empty():
                    queue.get_nowait()
                reader.join(timeout=0.05)


def pack(datasets: Sequence[xr.Dataset], *, sources: Sequence[str]) -> Windows:
    """Pack data sets of the data's form into `Windows`.

    Args:
        datasets: each with dims `(time, column)`.
        sources: what to call each in a message.

    Raises:
        InputError: if one lacks a variable of the emulator, or there is nothing to pack.
    """
    if not datasets:
        raise InputError("no training data given; expected at least one file")
    blocks, fixed, columns, rooms = [], [], [], []
    names: tuple[str, ...] = ()
    total = 0
    for data, source in zip(datasets, sources, strict=True):
        require(data, (*PROGNOSTIC, *DIAGNOSTIC), source=source)
        series = forcing_numpy(data) | {
            name: data[name].transpose("time", "column").to_numpy()
            for name in (*PROGNOSTIC, *DIAGNOSTIC)
        }
        names = tuple(series)
        time, count = data.sizes["time"], data.sizes["column"]
        block = np.stack([series[name].astype(np.float32) for name in names], axis=-1)
        blocks.append(block.transpose(1, 0, 2).reshape(count * time, len(names)))
        values = parameters_from(data)
        fixed.append(np.stack([np.asarray(values[name]) for name in PARAMETERS], axis=-1))
        columns.append(total + np.repeat(np.arange(count), time))
        rooms.append(np.tile(np.arange(time)[::-1], count))
        total += count
    return Windows(
        rows=np.concatenate(blocks),
        variables=names,
        fixed=np.concatenate(fixed).astype(np.float32),
        parameters=PARAMETERS,
        column_of=np.concatenate(columns),
        room=np.concatenate(rooms),
    )
