"""Embeddings that cluster as real ones do, in pgvector's binary form."""

from collections.abc import Iterator

import numpy as np

from lib.sample.words import TOPICS

_BATCH = 2048
_SPREAD = 0.75  # length of the noise against that of a centre


def embeddings(
    topics: "np.ndarray[tuple[int], np.dtype[np.int64]]", dimensions: int, seed: int
) -> Iterator[bytes]:
    """A unit vector near its topic's centre for each topic, as COPY BINARY wants ``vector``.

    The spread falls off over the dimensions, so that neighbourhoods have structure.
    """
    random = np.random.default_rng(seed)
    centres = random.standard_normal((TOPICS * 4, dimensions), dtype=np.float32)
    falloff = (1.0 / np.sqrt(1.0 + np.arange(dimensions) / 16.0)).astype(np.float32)
    centres *= falloff
    centres /= _lengths(centres)
    scale = np.float32(_SPREAD / np.sqrt((falloff**2).sum()))
    header = np.array([dimensions, 0], dtype=">i2").tobytes()
    for at in range(0, len(topics), _BATCH):
        chosen = topics[at : at + _BATCH] * 4 + random.integers(0, 4, len(topics[at : at + _BATCH]))
        noise = random.standard_normal((len(chosen), dimensions), dtype=np.float32)
        points = centres[chosen] + noise * falloff * scale
        points /= _lengths(points)
        for row in points.astype(">f4"):
            yield header + row.tobytes()


def _lengths(
    points: "np.ndarray[tuple[int, int], np.dtype[np.float32]]",
) -> "np.ndarray[tuple[int, int], np.dtype[np.float32]]":
    lengths: np.ndarray[tuple[int, int], np.dtype[np.float32]] = np.sqrt(
        (points * points).sum(axis=1, keepdims=True)
    )
    return lengths
