"""Prompts that are nearly the same as a held-out one: how similar two texts are, and an exact search that scales."""

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from scipy import sparse

from flows.storage.text_hashes import text_hashes

Pairs = NDArray[np.uint64]

NOMINATING = 100
"""Held-out prompts at most with a pair of words that names them as candidates; of more it is a common phrase."""

BATCH_PROMPTS = 10_000

CANDIDATES_AT_ONCE = 50_000

_NUMBER = np.uint64(2**14 - 1)
"""The bits of a key that number the prompts of a batch; the others are of a pair's hash."""

_UNSPACED = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff]")
"""Signs of Thai, Lao, Burmese, Khmer, Japanese and Chinese, where no space parts words."""

_SIGNS = ".,;:!?'\"`"

_PUNCTUATION = str.maketrans(
    dict.fromkeys(f"{_SIGNS}\u2018\u2019\u201c\u201d\u201e\u00ab\u00bb\u00bf\u00a1\u3001\u3002\u2013\u2014", " ")
)
"""What parts words and is none; other signs are kept: `2+2` is not `2-2`."""

_ASCII_PUNCTUATION = bytes.maketrans(_SIGNS.encode(), b" " * len(_SIGNS))


class Nearest(NamedTuple):
    """The most similar held-out prompt of each of N texts.

    Attributes:
        similarities: in [0, 1], 0 where none is similar enough; shape ``[N]``.
        prompts: its place among the held-out ones, the first of several that are as similar; -1 where there is none;
            shape ``[N]``.
    """

    similarities: NDArray[np.float64]
    prompts: NDArray[np.int64]


class HeldOutPrompts:
    """Held-out prompts by their pairs of neighbouring words, of which start and end are two.

    The similarity of two prompts is the Jaccard similarity of their sets of pairs, each of which weighs
    `log((H + 1) / h)`: H prompts are held out, and h of them, or one, have the pair. What a template repeats in every
    prompt thus weighs next to nothing, and prompts that share no more than it are not alike.

    Memory grows by about 30 bytes for each word that is held out, and twice that while they are indexed.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        """Index distinct texts, as `flows.storage.text_hashes.loose_text` writes them, in any order."""
        pairs, prompts, self._size = _all_pairs(texts)
        order = np.argsort(pairs, kind="stable")
        starts = np.flatnonzero(np.diff(pairs[order], prepend=~pairs[order[:1]]))
        self._pairs, counts = pairs[order[starts]], np.diff(starts, append=len(pairs))
        self._by_pair = sparse.csr_array(
            (np.ones(len(pairs), dtype=np.float32), prompts[order], np.append(starts, len(pairs))),
            shape=(len(self._pairs), self._size),
        )
        self._by_prompt = self._by_pair.T.tocsr()
        self._weights = np.log((self._size + 1) / counts)
        self._nominates = counts <= NOMINATING
        self._totals = self._by_prompt @ self._weights

    def nearest(self, texts: Sequence[str], least: float) -> Nearest:
        """The held-out prompt that is most similar to each text, of those that reach `least`.

        It is exact for all that share a pair of words that no more than 100 held-out prompts have.

        Args:
            texts: N loose texts.
            least: similarity in (0, 1].
        """
        starts = range(0, len(texts) if len(self._pairs) else 0, BATCH_PROMPTS)
        parts = [self._nearest(texts[start : start + BATCH_PROMPTS], least) for start in starts]
        without = len(texts) if not parts else 0
        parts.append(Nearest(np.zeros(without), np.full(without, -1)))
        return Nearest(*map(np.concatenate, zip(*parts, strict=True)))

    def _nearest(self, texts: Sequence[str], least: float) -> Nearest:
        pairs, rows = _word_pairs(texts)
        places = np.searchsorted(self._pairs, pairs).clip(max=len(self._pairs) - 1)
        known = self._pairs[places] == pairs
        weights = np.where(known, self._weights[places], np.log(self._size + 1))
        totals = np.bincount(rows, weights, len(texts)).astype(np.float64)
        shareable = np.bincount(rows, weights * known, len(texts))
        kept = known & (shareable >= least * totals)[rows]
        names = self._nominates[places]
        shape = (len(texts), len(self._pairs))
        held, naming, common = (
            sparse.csr_array((weights[part], (rows[part], places[part])), shape=shape)
            for part in (kept, kept & names, kept & ~names)
        )
        found, candidates = self._candidates(naming, common.sum(axis=1), totals, least)
        similarities, prompts = np.zeros(len(texts)), np.full(len(texts), -1)
        for start in range(0, len(found), CANDIDATES_AT_ONCE):
            row, candidate = (some[start : start + CANDIDATES_AT_ONCE] for some in (found, candidates))
            shared = held[row].multiply(self._by_prompt[candidate]).sum(axis=1)
            similar = shared / (totals[row] + self._totals[candidate] - shared)
            enough = (similar >= least - 1e-9) & (similar >= similarities[row])
            row, candidate, similar = row[enough], candidate[enough], similar[enough]
            best_last = np.lexsort((-candidate, similar))
            similarities[row[best_last]], prompts[row[best_last]] = similar[best_last], candidate[best_last]
        return Nearest(similarities, prompts)

    def _candidates(
        self, naming: sparse.csr_array, common: NDArray[np.float64], totals: NDArray[np.float64], least: float
    ) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Rows, and held-out prompts that share a naming pair and reach `least` if they share all common ones."""
        found = [(np.empty(0, dtype=np.int32), np.empty(0, dtype=np.int32))]
        for start in range(0, naming.shape[0], 1000):
            shared = (naming[start : start + 1000] @ self._by_pair).tocoo()
            row, candidate = shared.row + start, shared.col
            most = np.minimum(shared.data + common[row], self._totals[candidate])
            possible = most >= least * (totals[row] + self._totals[candidate] - most) - 1e-9
            found.append((row[possible], candidate[possible]))
        rows, candidates = zip(*found, strict=True)
        return np.concatenate(rows), np.concatenate(candidates)


def _all_pairs(texts: Iterable[str]) -> tuple[Pairs, NDArray[np.int32], int]:
    """The pairs of any number of texts as of `_word_pairs`, the number of the text of each, and how many there are."""
    rest = list(texts)
    pairs, prompts = [np.empty(0, dtype=np.uint64)], [np.empty(0, dtype=np.int32)]
    for start in range(0, len(rest), BATCH_PROMPTS):
        some, numbers = _word_pairs(rest[start : start + BATCH_PROMPTS])
        pairs.append(some)
        prompts.append(numbers + start)
    return np.concatenate(pairs), np.concatenate(prompts), len(rest)


def _word_pairs(texts: Sequence[str]) -> tuple[Pairs, NDArray[np.int32]]:
    """Hashes of the distinct pairs of neighbouring words of each text, ascending, and the number of its text.

    A text without a word has none.
    """
    hashes, numbers = _hashed_words(texts)
    pairs = (hashes[:-1] * np.uint64(0x9E3779B97F4A7C15) + hashes[1:]) & ~_NUMBER
    keys = np.sort((pairs | numbers[:-1])[numbers[:-1] == numbers[1:]])
    keys = keys[np.append(True, keys[1:] != keys[:-1])[: len(keys)]]
    return keys & ~_NUMBER, (keys & _NUMBER).astype(np.int32)


def _hashed_words(texts: Sequence[str]) -> tuple[Pairs, Pairs]:
    """Hashes of the words of each text between those of its start and end, and the number of its text of each."""
    letters = pa.array([text if text.isascii() else _spaced(text) for text in texts], pa.large_string())
    apart = pa.LargeStringArray.from_buffers(
        len(letters),
        letters.buffers()[1],
        pa.py_buffer(bytes(letters.buffers()[2] or b"").translate(_ASCII_PUNCTUATION)),
    )
    words = pc.ascii_split_whitespace(apart)
    numbers = np.repeat(np.arange(len(texts)), np.diff(words.offsets.to_numpy()))
    is_word = pc.not_equal(words.values, "").to_numpy(zero_copy_only=False)
    coded, numbers = words.values.filter(pa.array(is_word)).dictionary_encode(), numbers[is_word]
    counts = np.bincount(numbers, minlength=len(texts))
    places = np.arange(len(numbers)) + 1 + 2 * np.cumsum(counts > 0)[numbers] - 2
    known = text_hashes(["", *coded.dictionary.to_pylist()])
    hashes = np.full(len(numbers) + 2 * int((counts > 0).sum()), known[0])
    hashes[places] = known[1:][coded.indices.to_numpy()]
    slots = np.where(counts > 0, counts + 2, 0)
    return hashes, np.repeat(np.arange(len(texts), dtype=np.uint64), slots)


def _spaced(text: str) -> str:
    """A text in which spaces part what does so in other scripts than Latin, or without any."""
    return _UNSPACED.sub(r" \g<0> ", text).translate(_PUNCTUATION)
