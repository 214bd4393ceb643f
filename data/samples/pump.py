"""Which series show what sensor data must survive? A simulated pump with known events, each with known modes.

Readings come once a second: pressure behind the pump (bar), flow (cubic metres an hour), current of the motor (A), vibration of
its bearing (mm/s), and where the valve behind it stands, which is a level. The pump obeys the affinity laws: with speed w, flow
goes as w, head as w squared, power as w cubed; pressure falls with the square of the flow along the pump's curve, and the valve
sets the resistance against which it works. To that comes what happens to pumps: a start, vapour (cavitation), a leak.
Each window has a stream of random numbers of its own: how many windows of another class are drawn changes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from data.errors import DataError
from data.schema import Column, Schema
from data.windows import batch, schema

Array = np.ndarray

STEADY = "steady"
COUNTS: Mapping[str, int] = {STEADY: 300, "start": 90, "cavitation": 24, "leak": 30}
#: Each class's modes and the share of its windows that show them.
MODES: Mapping[str, Mapping[str, float]] = {
    STEADY: {"full": 0.5, "throttled": 0.3, "cycling": 0.2},
    "start": {"direct": 0.6, "soft": 0.4},
    "cavitation": {"bursts": 0.6, "steady": 0.4},
    "leak": {"seal": 0.6, "burst": 0.4},
}
CHANNELS = ("pressure", "flow", "current", "vibration", "valve")
VALVE = ("open", "throttled", "closed")
PERIOD = 1.0
LENGTHS = (32, 512)
#: Pumps: their model, and the power of their motor in kW.
MODELS: Mapping[str, float] = {"P40": 4.0, "P75": 7.5, "P110": 11.0}
PUMPS = 36
#: Resistance of the valve's positions, as a share of the head at full flow.
RESISTANCE = np.array([0.55, 1.8, 40.0])
#: Steps of a sequence that fills the unit interval evenly (of the golden section).
STEP = 0.6180339887498949


def pump_schema(counts: Mapping[str, int] = COUNTS) -> Schema:
    """The schema of the windows that `draw` gives of these counts."""
    classes = sorted((name for name in MODES if counts.get(name, 0)), key=lambda name: -counts[name])
    attributes = (
        Column(name="model", kind="categorical", dtype="string", categories=tuple(MODELS)),
        Column(name="power", kind="numeric", dtype="double", low=min(MODELS.values()), high=max(MODELS.values()), decimals=1),
    )
    levels = tuple(VALVE if name == "valve" else () for name in CHANNELS)
    return schema(CHANNELS, classes, levels=levels, period=PERIOD, attributes=attributes)


def mode(source: str) -> str:
    """The mode that the `source` text of a window names: "pump/leak/seal/17" -> "seal".

    Raises DataError for a text that `draw` did not write."""
    parts = source.split("/")
    if len(parts) != 4 or parts[0] != "pump" or parts[2] not in MODES.get(parts[1], {}):
        raise DataError(f"{source!r} does not name a simulated window; it must read pump/<class>/<mode>/<number>")
    return parts[2]


def draw(counts: Mapping[str, int] = COUNTS, *, length: int = 96, seed: int = 0) -> pa.Table:
    """Windows of pumps as a table with the columns of `pump_schema()`, class by class.

    counts: windows a class, of steady, start, cavitation, leak; length: readings a window, 32 to 512. A class named twice as
    large begins with the windows of the smaller one. Raises DataError for an unknown class, a length out of bounds, or no
    window."""
    _check(counts, length)
    rows = pump_schema(counts)
    parts = [_of_class(rows, name, int(counts.get(name, 0)), length, seed) for name in MODES if counts.get(name, 0)]
    return pa.Table.from_batches(parts, schema=rows.arrow())


def _check(counts: Mapping[str, int], length: int) -> None:
    for name, count in counts.items():
        if name not in MODES:
            raise DataError(f"pumps have no class {name!r}; the classes are {', '.join(MODES)}")
        if count < 0:
            raise DataError(f"counts.{name} is {count}; it must be 0 or more")
    if not sum(counts.values()):
        raise DataError("counts name no window; give at least one class a number")
    if not LENGTHS[0] <= length <= LENGTHS[1]:
        raise DataError(f"a length of {length} is out of bounds; a window has {LENGTHS[0]} to {LENGTHS[1]} readings")


def _of_class(rows: Schema, name: str, count: int, length: int, seed: int) -> pa.RecordBatch:
    place = list(MODES).index(name)
    values, sources, entities, starts, models = [], [], [], [], []
    for i in range(count):
        rng = np.random.default_rng([seed, place, i])
        which = _mode(name, i)
        number = int(rng.integers(PUMPS))
        kind = list(MODELS)[number % len(MODELS)]
        values.append(_window(name, which, Pump.of(number, seed), length, rng))
        sources.append(f"pump/{name}/{which}/{i}")
        entities.append(f"pump {number:02}")
        starts.append(1.7e9 + 86_400.0 * i + 3_600.0 * place)
        models.append(kind)
    return batch(
        rows,
        np.stack(values).astype(np.float32),
        np.full(count, length),
        classes=[name] * count,
        starts=starts,
        entities=entities,
        sources=sources,
        attributes={"model": models, "power": [MODELS[kind] for kind in models]},
    )


def _mode(name: str, i: int) -> str:
    """The mode of a class's window: shares are met as evenly as they can be from the first window on."""
    at = ((i + 0.5) * STEP) % 1.0
    edges = np.cumsum(list(MODES[name].values()))
    return list(MODES[name])[min(int(np.searchsorted(edges, at, side="right")), len(edges) - 1)]


@dataclass(frozen=True)
class Pump:
    """One pump. head: bar at no flow; flow: cubic metres an hour at full speed against an open valve; current: A at that flow;
    rough: mm/s of vibration that its bearing has by itself; turn: radians a second of what the vibration beats with."""

    head: float
    flow: float
    current: float
    rough: float
    turn: float

    @classmethod
    def of(cls, number: int, seed: int) -> Pump:
        """The pump of a number: its model, and what makes it another one than the next of that model."""
        rng = np.random.default_rng([seed, 977, number])
        power = list(MODELS.values())[number % len(MODELS)]
        own = 1 + 0.06 * rng.standard_normal(3)
        return cls(
            head=float(3.2 + 0.22 * power) * own[0],
            flow=float(6.0 * power**0.9) * own[1],
            current=float(1.9 * power) * own[2],
            rough=float(rng.uniform(0.8, 1.6)),
            turn=float(rng.uniform(0.7, 1.3)),
        )

    def at(self, speed: Array, resistance: Array) -> tuple[Array, Array, Array]:
        """Pressure, flow and current, where the pump's curve meets that of the pipe."""
        flow = speed / np.sqrt(0.45 + resistance)
        pressure = self.head * (speed**2 - 0.45 * flow**2)
        return pressure, self.flow * flow, self.current * (0.35 * speed + 0.65 * speed**2 * flow)


def _window(name: str, which: str, pump: Pump, length: int, rng: np.random.Generator) -> Array:
    """(channels, length) of one window."""
    t = np.arange(length) * PERIOD
    speed, valve = _driven(name, which, t, rng)
    resistance = _smooth(RESISTANCE[valve], 3)
    gone, rough, ripple = _harmed(name, which, t, rng)
    pressure, flow, current = pump.at(speed, resistance * (1 - 0.6 * gone))
    phase = rng.uniform(0, 2 * np.pi)
    vibration = pump.rough * speed**2 * (1 + 0.15 * np.sin(pump.turn * t + phase)) + rough
    pressure = pressure * (1 - 0.35 * gone) + ripple * 0.12 * pump.head
    flow = flow * (1 - 0.12 * rough / (1 + rough)) * (1 - 0.25 * gone)
    noise = rng.standard_normal((4, length)) * np.array([[0.012], [0.012], [0.015], [0.05]])
    read = np.stack([pressure, flow, current, vibration]) * (1 + noise) + 0.01 * np.abs(noise)
    return np.concatenate([np.maximum(read, 0.0), valve[None, :]])


def _driven(name: str, which: str, t: Array, rng: np.random.Generator) -> tuple[Array, Array]:
    """Speed as a share of the rated one, and where the valve stands, over time."""
    length = len(t)
    drift = 0.01 * np.cumsum(rng.standard_normal(length)) / np.sqrt(length)
    speed = np.full(length, rng.uniform(0.92, 1.0)) + drift
    valve = np.zeros(length, dtype=np.int64)
    if name == "start":
        begin = rng.uniform(0.1, 0.45) * t[-1]
        rise = rng.uniform(1.5, 3.0) if which == "direct" else rng.uniform(10.0, 18.0)
        speed = speed * np.clip(1 - np.exp(-np.maximum(t - begin, 0) / rise), 0, 1)
        valve[t < begin + rng.uniform(0.5, 2.0) * rise] = 2
    elif name == STEADY and which == "throttled":
        valve[:] = 1
    elif name == STEADY and which == "cycling":
        every = rng.uniform(18, 34)
        valve[np.sin(2 * np.pi * t / every + rng.uniform(0, 2 * np.pi)) > 0] = 1
    elif name != STEADY and rng.random() < 0.3:
        valve[:] = 1
    return speed, valve


def _harmed(name: str, which: str, t: Array, rng: np.random.Generator) -> tuple[Array, Array, Array]:
    """What of the water is lost (0 to 1), how much the bearing shakes beyond its own (mm/s), and a ripple of the pressure."""
    length, zero = len(t), np.zeros(len(t))
    if name == "cavitation":
        shape = np.ones(length)
        if which == "bursts":
            every, phase = rng.uniform(9, 16), rng.uniform(0, 2 * np.pi)
            shape = (np.sin(2 * np.pi * t / every + phase) > rng.uniform(0.0, 0.4)).astype(float)
        rough = shape * rng.uniform(2.5, 5.0) * np.abs(1 + 0.5 * rng.standard_normal(length))
        return zero, rough, -shape * np.abs(rng.standard_normal(length))
    if name == "leak":
        begin = rng.uniform(0.15, 0.5) * t[-1]
        whole = rng.uniform(0.35, 0.8)
        if which == "seal":
            gone = whole * np.clip((t - begin) / (t[-1] - begin), 0, 1)
        else:
            gone = whole * (1 - np.exp(-np.maximum(t - begin, 0) / rng.uniform(1.0, 3.0)))
        return gone, 0.4 * gone, zero
    return zero, zero, zero


def _smooth(values: Array, width: int) -> Array:
    """A running mean; the ends are held."""
    held = np.pad(values, (width // 2, width - 1 - width // 2), mode="edge")
    return np.convolve(held, np.full(width, 1 / width), mode="valid")
