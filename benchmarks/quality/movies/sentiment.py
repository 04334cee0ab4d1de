"""Outside measures of a climb on film reviews: two lexicons that no person of its data had a hand in."""

from collections.abc import Sequence
from functools import cache


def vader(prompts: Sequence[str], responses: Sequence[str]) -> list[float]:
    """VADER's compound score (Hutto and Gilbert, 2014) of each response, from -1, most negative, to 1."""
    analyzer = _analyzer()
    return [analyzer.polarity_scores(response)["compound"] for response in responses]


def textblob(prompts: Sequence[str], responses: Sequence[str]) -> list[float]:
    """TextBlob's polarity of each response, the mean over words of a lexicon of adjectives, from -1 to 1."""
    from textblob import TextBlob  # noqa: PLC0415 an extra

    return [TextBlob(response).sentiment.polarity for response in responses]


@cache
def _analyzer():
    from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer  # noqa: PLC0415 an extra

    return SentimentIntensityAnalyzer()
