"""How long does the rest take, at the pace so far?"""

from __future__ import annotations


class Pace:
    """The pace of work that tells how far it is; it begins anew where other work is told of, or the same from its start."""

    def __init__(self) -> None:
        self.first: tuple[str, int, int, float] | None = None
        self.before = 0

    def left(self, done: int, total: int, what: str, now: float) -> float | None:
        """Seconds that the rest takes; None of what has only begun, and of what is done."""
        if self.first is None or self.first[:2] != (what, total) or done < self.before:
            # Not from nought: a training may go on from a checkpoint, and another one follow it.
            self.first = (what, total, done, now)
        self.before = done
        first, since = self.first[2:]
        if done <= first or done >= total:
            return None
        return (total - done) * (now - since) / (done - first)
