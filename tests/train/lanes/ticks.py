"""Counters of a module that another one imports."""

from dataclasses import dataclass

calls = 0


def tick() -> int:
    global calls
    calls += 1
    return calls


@dataclass(slots=True)
class Slotted:
    calls: int = 0
