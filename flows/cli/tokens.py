"""How `rlhf config check` tells what models read and write in tokens."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flows.data.audits.cut_texts import CutTexts
    from flows.pipeline.token_check import ModelTokens, Token, TokenReport

SHOWN_IDS = 48
"""Ids of a prompt that are shown; of a longer one the first and the last."""

SHOWN_CHARACTERS = 400
"""Characters of a prompt that are shown; of a longer one the first and the last."""


def token_lines(report: "TokenReport") -> Iterator[str]:
    """The lines of a report."""
    for model in report.models:
        yield f"{model.field} {model.name}"
        for name, line in _told(model).items():
            yield f"  {name:<10} {line}"
        for table, count in model.special.items():
            fate = "are read as such" if model.allows else "stay text"
            first = f"{count:,} of the first {report.rows[table]:,} rows of data.{table}"
            yield f"  {'special':<10} {first} write its special tokens, which {fate}"
        for line in _cuts(model.cuts):
            yield f"  {'cut':<10} {line}"
    yield from report.notes
    if any(model.cuts for model in report.models):
        counts = ", ".join(f"{count:,} of {table}" for table, count in report.rows.items())
        yield f"counted on the first rows as they are read: {counts}"


def _told(model: "ModelTokens") -> Mapping[str, str]:
    lengths = [
        f"{reading.section} {reading.lengths.max_prompt_tokens} + {reading.lengths.max_response_tokens}"
        for reading in model.readings
        if (reading.section, reading.table) != ("policy.sampling", "preferences")
    ]
    asked = "the first prompt of the data" if model.is_of_data else "for example"
    return {
        "template": "its own" if model.has_template else "none of its own: <|user|>...<|assistant|> is used",
        "stops": _stops(model),
        "padding": _padding(model),
        "beginning": _beginning(model),
        "vocabulary": _vocabulary(model),
        "lengths": f"{_lengths(lengths)}; {_positions(model)}",
        "prompt": f"{len(model.ids)} tokens, {asked}: {_shortened(repr(model.prompt))}",
        "ids": _ids(model.ids),
    }


def _lengths(stages: Sequence[str]) -> str:
    if not stages:
        return "a prompt and a response may each take half of the positions"
    return f"{', '.join(stages)} tokens of prompt + response"


def _stops(model: "ModelTokens") -> str:
    taught, *others = map(_token, model.stops)
    own = model.stops[0].text == model.own_end
    why = "" if own else f", as the template ends turns (the tokenizer's own end is {model.own_end})"
    return "; ".join([f"{taught}, which is taught{why}", *others])


def _padding(model: "ModelTokens") -> str:
    if model.padding.text == model.own_padding:
        return _token(model.padding)
    reason = f"pads with {model.own_padding}, which ends responses" if model.own_padding else "has none"
    return f"{_token(model.padding)}, new, as the tokenizer {reason}"


def _beginning(model: "ModelTokens") -> str:
    if model.beginning is None:
        return "no token marks it"
    written = model.ids.count(model.beginning.id) if model.ids[0] == model.beginning.id else 0
    return f"{_token(model.beginning)}, {'which begins the prompt' if written else 'which is not written'}"


def _vocabulary(model: "ModelTokens") -> str:
    more, tied = model.tokens - model.rows, ", embeddings and head tied" if model.is_tied else ""
    change = f", {more} more than the model's {model.rows:,} rows, which grow" if more > 0 else ""
    if more < 0:
        change = f"; {-more} of the model's {model.rows:,} rows are never sampled"
    return f"{model.tokens:,} tokens{change}{tied}"


def _positions(model: "ModelTokens") -> str:
    return "the model names no most" if model.positions is None else f"the model has {model.positions:,} positions"


def _cuts(cuts: "Sequence[CutTexts]") -> Iterator[str]:
    """A line for each count, with all fields that come to it."""
    fields: dict[CutTexts, list[str]] = {}
    for cut in cuts:
        fields.setdefault(cut._replace(field=""), []).append(cut.field)
    for cut, names in fields.items():
        effect = f"are the same within {cut.limit} tokens and teach nothing"
        if cut.longest is not None:
            effect = f"exceed {cut.limit} tokens (the longest has {cut.longest:,})"
        yield f"{cut.cut:,} of {cut.total:,} {cut.texts} {effect}: {', '.join(names)}"


def _token(token: "Token") -> str:
    return f"{token.text} {token.id}"


def _ids(ids: list[int]) -> str:
    half = SHOWN_IDS // 2
    shown = [*map(str, ids)] if len(ids) <= SHOWN_IDS else [*map(str, ids[:half]), "...", *map(str, ids[-half:])]
    return " ".join(shown)


def _shortened(text: str) -> str:
    half = SHOWN_CHARACTERS // 2
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:half]} ... {text[-half:]}"
