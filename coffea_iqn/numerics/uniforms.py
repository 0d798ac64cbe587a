"""Random quantile levels that depend only on the identity of a jet, not on where or how it is processed.

The levels come from Philox4x32-10 (J. K. Salmon, M. A. Moraes, R. O. Dror and D. E. Shaw, SC'11), a
counter-based generator: a bijection of a 128-bit counter under a 64-bit key. Two applications are chained,
so that no part of a jet's identity is hashed away:

    event key  = philox(counter = (event, luminosityBlock, run), key = hash of (seed, dataset, name of a stream))
    four words = philox(counter = (gen jet, replica, stream; half of the event key), key = the other half)

Four words give the four levels of one jet. Chunk, executor, worker, file order and event slicing play no role.
"""

from __future__ import annotations

import hashlib
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from coffea_iqn.numerics.arrays import Singles
from coffea_iqn.numerics.compiling import inlined_part, kernel

Words = npt.NDArray[np.uint32]

STREAM_JET = 0  # the levels of the four-momentum
STREAM_ACCEPTANCE = 1  # whether the jet is reconstructed
STREAM_SPLIT = 2  # which split of a training sample an event belongs to
STREAM_NEAR = 3  # unmatched jets near a gen jet
STREAM_FAR = 4  # the event's other unmatched jets, which have no gen jet
STREAM_APART = 5  # jets redrawn because two were drawn within a radius of each other
STREAM_CORRECT = 6  # gen jets drawn for reco jets
STREAM_BOOTSTRAP = 7  # bootstrap weights of events in an ensemble
STREAM_PARTICLE = 8  # the outcome of a prompt particle
STREAM_OBJECT_NEAR = 9  # fake objects near a gen jet
STREAM_OBJECT_FAR = 10  # the event's other fake objects
STREAM_PROMPT_JET = 11  # whether a jet with prompt particles is reconstructed, given their outcomes
STREAM_MISSING = 12  # missing momentum
STREAM_CONSTITUENT = 13  # the track of a charged particle in a jet
STREAM_CELL = 14  # energy in a calorimeter cell in excess of the tracks of a jet
STREAM_ENTERED = 15  # constituents that enter a jet from outside
STREAMS = 16  # number of streams; stream + 16 k gives the k-th further block of four levels
MOST_LEVELS = 64  # per stream: more would collide with those of the next replica

ROUNDS = 10
TOGETHER = 64  # rows whose levels are computed together
M0, M1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
W0, W1 = np.uint32(0x9E3779B9), np.uint32(0xBB67AE85)
LOW, HIGH = np.uint64(0xFFFFFFFF), np.uint64(32)
DROPPED, HALF, STEP = np.uint32(9), np.float32(0.5), np.float32(2.0**-23)  # 23 bits fit in float32
LEAST_LEVEL = 2.0**-24  # the least level; the greatest is 1 − 2^-24


@kernel
def philox(counter: Words, key: Words) -> Words:
    """Philox4x32-10 of each row.

    Parameters
    ----------
    counter: (N, 4) uint32.
    key: (N, 2) uint32.

    Returns
    -------
    (N, 4) uint32, equal to Random123's.
    """
    out = np.empty_like(counter)
    for i in range(len(counter)):
        c, k = counter[i], key[i]
        out[i, 0], out[i, 1], out[i, 2], out[i, 3] = _block(c[0], c[1], c[2], c[3], k[0], k[1])
    return out


@inlined_part
def _block(c0: Any, c1: Any, c2: Any, c3: Any, k0: Any, k1: Any) -> tuple[Any, Any, Any, Any]:
    """Encrypt a counter of four words with a key of two, all uint32."""
    for _ in range(ROUNDS):
        p0 = M0 * np.uint64(c0)
        p1 = M1 * np.uint64(c2)
        c0, c1, c2, c3 = (
            np.uint32(p1 >> HIGH) ^ c1 ^ k0,
            np.uint32(p1),
            np.uint32(p0 >> HIGH) ^ c3 ^ k1,
            np.uint32(p0),
        )
        k0 = np.uint32(k0 + W0)
        k1 = np.uint32(k1 + W1)
    return np.uint32(c0), np.uint32(c1), np.uint32(c2), np.uint32(c3)


def event_keys(
    seed: int,
    dataset: str,
    run: npt.ArrayLike,
    luminosity_block: npt.ArrayLike,
    event: npt.ArrayLike,
    *,
    stream: str = "",
) -> Words:
    """A 128-bit key for each event, (events, 4) uint32, unique within a dataset.

    Parameters
    ----------
    seed: any integer.
    dataset: name of the dataset, combined with the file's identity for files without run numbers.
    run, luminosity_block: (events,), taken modulo 2^32.
    event: (events,), 64 bits.
    stream: name of a use outside this package; its keys are independent of the keys without a name.
    """
    text, person = (repr((int(seed), str(dataset), str(stream))), b"stream") if stream else (f"{seed}\n{dataset}", b"")
    digest = hashlib.blake2b(text.encode(), digest_size=8, person=person).digest()
    number = np.asarray(event).astype(np.uint64)
    counter = np.empty((len(number), 4), dtype=np.uint32)
    counter[:, 0] = number & LOW
    counter[:, 1] = number >> HIGH
    counter[:, 2] = np.asarray(luminosity_block)
    counter[:, 3] = np.asarray(run)
    key = np.broadcast_to(np.frombuffer(digest, dtype="<u4"), (len(number), 2))
    words: Words = philox(counter, np.ascontiguousarray(key))
    return words


def levels(keys: Words, index: npt.ArrayLike, *, replica: int = 0, stream: int = STREAM_JET, n: int = 4) -> Singles:
    """Levels in (0, 1) for each jet.

    Parameters
    ----------
    keys: the `event_keys` of the event each jet belongs to, (N, 4).
    index: index of the gen jet in its event, before any cut, (N,), or one for all.
    replica: number of the independent draw, below 2^24.
    stream: what the levels are used for, one of the `STREAM_` constants.
    n: number of levels, at least 4; the first four do not depend on it.

    Returns
    -------
    (N, n) float32, multiples of 2^-23 plus 2^-24, so that neither 0 nor 1 occurs.
    """
    words = np.broadcast_to(np.asarray(index).astype(np.uint32), len(keys))
    blocks = uses(replica, stream, n)
    out = np.empty((len(keys), 4 * len(blocks)), dtype=np.float32)
    for block, use in enumerate(blocks):
        _levels(keys, words, np.uint32(use), 4 * block, out)
    return out[:, :n]


class Keys(NamedTuple):
    """Keys of rows, and the replica: with an index within each row and a stream they give quantile levels.

    Attributes
    ----------
    words: `event_keys` of the event that each row belongs to, (N, 4).
    replica: which of several independent draws, below 2^24.
    """

    words: Words
    replica: int = 0

    def take(self, rows: npt.NDArray[np.integer[Any]] | slice) -> Keys:
        """The keys of some rows, (M,); those of a slice are not copied."""
        words = self.words[rows] if isinstance(rows, slice) else self.words.take(rows, axis=0)
        return Keys(words, self.replica)

    def levels(self, index: npt.ArrayLike, stream: int = STREAM_JET, n: int = 4) -> Singles:
        """See `levels`, (N, n)."""
        return levels(self.words, index, replica=self.replica, stream=stream, n=n)


def uses(replica: int, stream: int, n: int) -> list[int]:
    """The second counter word of each block of four levels; every block after the first has its own stream number.

    Raises
    ------
    ValueError: for more than `MOST_LEVELS` levels.
    """
    if n > MOST_LEVELS:
        msg = f"levels: expected at most {MOST_LEVELS}, got {n}"
        raise ValueError(msg)
    return [(replica << 8) | (block * STREAMS + stream) for block in range(-(-n // 4))]


@kernel
def _levels(keys: Words, index: Words, use: np.uint32, first: int, out: Singles) -> None:
    columns, made = np.empty((4, TOGETHER), np.uint32), np.empty((4, TOGETHER), np.float32)
    for start in range(0, len(keys), TOGETHER):  # with copies of the keys by word, the compiler vectorises the rounds
        n = min(TOGETHER, len(keys) - start)
        for t in range(n):
            for k in range(4):
                columns[k, t] = keys[start + t, k]
        for t in range(n):
            a, b, c, d = _block(index[start + t], use, columns[2, t], columns[3, t], columns[0, t], columns[1, t])
            made[0, t], made[1, t], made[2, t], made[3, t] = _level(a), _level(b), _level(c), _level(d)
        for t in range(n):
            for k in range(4):
                out[start + t, first + k] = made[k, t]


@inlined_part
def _level(word: Any) -> Any:
    return (np.float32(np.uint32(word) >> DROPPED) + HALF) * STEP
