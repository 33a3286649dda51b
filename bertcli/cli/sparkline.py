"""A series of numbers as one line of block characters: how a loss or a metric has gone so far, in constant memory."""

from itertools import pairwise

MOST = 256  # stretches that are kept: more than a terminal is wide
BLOCKS = "▁▂▃▄▅▆▇█"
ASCII = "_.-=+*%#"


class Series:
    """Numbers as they come, kept as the means of at most MOST stretches of equal length."""

    def __init__(self) -> None:
        self.means: list[float] = []
        self.stretch = 1  # numbers in a mean
        self.rest: list[float] = []  # of the stretch that is not full

    def add(self, value: float) -> None:
        """Take the next number."""
        self.rest.append(value)
        if len(self.rest) == self.stretch:
            self.means.append(_mean(self.rest))
            self.rest = []
        if len(self.means) == MOST:
            self.means = [_mean(self.means[i : i + 2]) for i in range(0, MOST, 2)]
            self.stretch *= 2

    def draw(self, width: int, blocks: str = BLOCKS) -> str:
        """At most `width` characters, the last one the latest; the lowest is the least of what is shown."""
        values = [*self.means, *([_mean(self.rest)] if self.rest else [])]
        shown = min(width, len(values))
        if not shown:
            return ""
        edges = [len(values) * i // shown for i in range(shown + 1)]
        points = [_mean(values[a:b]) for a, b in pairwise(edges)]
        low, high = min(points), max(points)
        scale = (len(blocks) - 1) / (high - low) if high > low else 0.0
        return "".join(blocks[round((point - low) * scale)] for point in points)


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
