"""What is new in the data since the last ingestion: rows by source and annotator, and files."""

from collections.abc import Iterator, Mapping

from data_contracts.records import Kind
from flows.data.sources import TABLES
from flows.registry.contributors import Contributors, read_contributors
from flows.registry.ingestions import LastIngestion
from flows.registry.references import DatasetRef

SHOWN = 5
"""Names of a kind of change that a line lists."""


def files_read(inputs: Mapping[str, str]) -> dict[str, str]:
    """The files among the inputs of an ingestion."""
    return {name: digest for name, digest in inputs.items() if name.partition(":")[0] in TABLES}


def growth(last: LastIngestion | None, tables: Mapping[Kind, DatasetRef], files: Mapping[str, str]) -> tuple[str, ...]:
    """The difference to the last ingestion, a sentence for each table and one for the files; none for the first.

    Args:
        last: the ingestion before.
        tables: what came of this one.
        files: what this one read, as `FILES`.
    """
    if last is None:
        return ()
    since = f"since the ingestion of {last.when:%Y-%m-%d %H:%M} UTC"
    lines = [line for kind, ref in tables.items() if (line := _table(kind, ref, last.contributors.get(kind)))]
    if changed := "; ".join(_files(last.files, files)):
        lines.append(changed)
    return tuple(f"{since}, {line}" for line in lines) or (f"{since}, nothing new",)


def _table(kind: Kind, ref: DatasetRef, then: Contributors | None) -> str:
    now = read_contributors(ref)
    if now is None or then is None:
        return ""
    rows = "; ".join(_differences(then.sources, now.sources, "rows"))
    votes = "; ".join(_differences(then.annotators, now.annotators, "votes"))
    return f"{kind}: {'; '.join(filter(None, (rows, votes)))}" if rows or votes else ""


def _differences(then: Mapping[str, int], now: Mapping[str, int], unit: str) -> Iterator[str]:
    """How many more there are in all, and of whom; how many fewer, the same."""
    changes = {name: now.get(name, 0) - then.get(name, 0) for name in sorted({*then, *now})}
    for word, sign in (("more", 1), ("fewer", -1)):
        counts = {name: sign * change for name, change in changes.items() if sign * change > 0}
        if counts:
            most = sorted(counts, key=lambda name: -counts[name])
            named = ", ".join(f"{name} {counts[name]:,}" for name in most[:SHOWN])
            yield f"{sum(counts.values()):,} {unit} {word} ({named}{_rest(len(most))})"


def _files(then: Mapping[str, str], now: Mapping[str, str]) -> Iterator[str]:
    kinds = {
        "new files": now.keys() - then.keys(),
        "changed files": {name for name in now.keys() & then.keys() if now[name] != then[name]},
        "files gone": then.keys() - now.keys(),
    }
    for what, places in kinds.items():
        if places:
            names = sorted({place.split(":", 2)[2] for place in places})
            yield f"{what}: {', '.join(names[:SHOWN])}{_rest(len(names))}"


def _rest(count: int) -> str:
    return f" and {count - SHOWN} more" if count > SHOWN else ""
