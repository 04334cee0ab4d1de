"""Demonstrations: how sentences of whole reviews go on, written as the snippets are written."""

import hashlib
import re
import zipfile
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.quality.movies.task import ask

ARCHIVE = "movie_reviews.zip"
"""Pang and Lee (2004): 2,000 reviews in lower case, a sentence a line, marks apart from words."""

SOURCE = "packages/corpora in the repository nltk/nltk_data (CC-BY-4.0)"

WORDS = (8, 30)
"""Of a sentence, fewest and most."""

OPENING_WORDS = (1, 2)
"""Of a prompt; the sentence decides by its hash."""

_PLAIN = re.compile(r"[a-z0-9',;: ]+[.!?]")
_MARKS = ".,;:!?"
_AROUND = ".,;:!?\"'()[]"


def read_reviews(data: Path) -> dict[str, list[str]]:
    """The lines of each review, by its name."""
    with zipfile.ZipFile(find(data)) as archive:
        names = sorted(name for name in archive.namelist() if name.endswith(".txt"))
        return {name: archive.read(name).decode("latin-1").splitlines() for name in names}


def find(data: Path) -> Path:
    """Where the archive is in a folder, or would be."""
    return next((path for path in (data / ARCHIVE, data / "movie-reviews" / ARCHIVE) if path.is_file()), data / ARCHIVE)


def demonstrations(reviews: Mapping[str, Sequence[str]], forms: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """Rows of the format `trl`: the first words of a sentence, and how it goes on.

    A review gives one sentence at most, so it is on one side of every split whole; each opening occurs once.

    Args:
        reviews: lines of each review.
        forms: how a word is written, of all that may occur.
    """
    taken: set[str] = set()
    for lines in reviews.values():
        for sentence in sorted(filter(None, (rewrite(line, forms) for line in lines)), key=_hash):
            opening, continuation = divide(sentence)
            if opening.lower() not in taken:
                taken.add(opening.lower())
                yield {"prompt": ask(opening), "completion": continuation}
                break


def written_forms(texts: Sequence[str]) -> dict[str, str]:
    """How each word is usually written inside a sentence, by its lower case (truecasing, Lita et al., 2003)."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for text in texts:
        for word in (word.strip(_AROUND) for word in text.split()[1:]):
            counts[word.lower()][word] += 1
    return {word: written.most_common(1)[0][0] for word, written in counts.items() if word}


def rewrite(line: str, forms: Mapping[str, str]) -> str | None:
    """A line of a review as a snippet would be written; None for one with brackets, quotes or unknown words.

    Names that the snippets do not have would stay in lower case, so their sentences are left out.
    """
    tokens = line.split()
    words = [token for token in tokens if token not in _MARKS]
    if not (WORDS[0] <= len(words) <= WORDS[1]) or not _PLAIN.fullmatch(line.strip()):
        return None
    if any(word not in forms for word in words):
        return None
    text = " ".join(forms.get(token, token) for token in tokens)
    text = re.sub(r" ([,;:.!?])", r"\1", text)
    return text[0].upper() + text[1:]


def divide(sentence: str) -> tuple[str, str]:
    """The first words of a sentence, and the rest."""
    fewest, most = OPENING_WORDS
    count = fewest + _hash(sentence)[0] % (most - fewest + 1)
    words = sentence.split()
    return " ".join(words[:count]), " ".join(words[count:])


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
