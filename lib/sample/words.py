"""Text that reads like text: real words, frequencies after Zipf, topics, sentences."""

from collections.abc import Iterator
from importlib.resources import files

import numpy as np

TOPICS = 32
_ZIPF = 1.05
_SENTENCE = 12


class Prose:
    """A deterministic source of texts; the same seed writes the same texts."""

    def __init__(self, seed: int) -> None:
        words = (files("lib.sample") / "words.txt").read_text(encoding="utf-8").split()
        self._words = list(dict.fromkeys(words))
        self._random = np.random.default_rng(seed)
        weights = 1.0 / np.arange(1, len(self._words) + 1) ** _ZIPF
        self._cumulative = np.cumsum(weights / weights.sum())
        common = len(self._words) // 10
        topics = np.random.default_rng(seed + 1)
        rest = np.arange(common, len(self._words))
        self._ranks = [
            np.concatenate([np.arange(common), topics.permutation(rest)]) for _ in range(TOPICS)
        ]

    def texts(
        self, topics: "np.ndarray[tuple[int], np.dtype[np.int64]]", mean: int
    ) -> Iterator[str]:
        """One text for each topic, of about ``mean`` words (from 4 upwards)."""
        lengths = np.maximum(4, self._random.poisson(mean, len(topics)))
        for topic, length in zip(topics.tolist(), lengths.tolist(), strict=True):
            yield self._text(topic, length)

    def title(self, topic: int) -> str:
        """A few words with capitals."""
        return self._text(topic, 4).rstrip(".").title()

    def _text(self, topic: int, length: int) -> str:
        drawn = np.searchsorted(self._cumulative, self._random.random(length))
        ranks = self._ranks[topic % TOPICS]
        chosen = ranks[np.minimum(drawn, len(ranks) - 1)].tolist()
        words = [self._words[index] for index in chosen]
        sentences = (words[at : at + _SENTENCE] for at in range(0, length, _SENTENCE))
        return " ".join(_sentence(part) for part in sentences)


def _sentence(words: list[str]) -> str:
    text = " ".join(words)
    return f"{text[0].upper()}{text[1:]}."
