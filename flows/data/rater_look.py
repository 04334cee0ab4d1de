"""A look at the raters of some preferences, before anything is ingested."""

import json
from pathlib import Path

from flows.config.data import DataConfig, FileData, FileSource
from flows.config.errors import InputError
from flows.config.loading import load_ingest_config
from flows.config.raters import RatersConfig
from flows.data.audits.rater_report import NOTE, rater_remarks, rater_sheet
from flows.data.raters import Raters
from flows.data.sources import gold_questions, open_sources
from flows.report import Terminal, for_terminal

CONFIGURATIONS = (".yaml", ".yml")


def look_at_raters(path: Path, *, gold: Path | None, as_json: bool) -> None:
    """Print what is known of each who labelled.

    Args:
        path: a configuration, whose preferences are read by its settings; or a file, folder or glob of a known format.
        gold: pairs whose better answer is known, as such a file; of a configuration `data.gold` says so.
        as_json: whether the figures are printed as JSON.

    Raises:
        InputError: if a file cannot be read, or no label has a name.
    """
    data, settings, seed = _described(path, gold)
    raters = Raters(settings, lambda weigh: open_sources(data, seed=seed, spare=weigh), gold_questions(data))
    for _ in raters.open_tables().get("preferences", ()):
        pass
    figures = raters.figures()
    if not figures:
        raise InputError(
            f"{path}: no label says whose it is, so that nothing is known of raters; name a column as `annotator` in "
            "`format.columns` of a configuration, and give that one here"
        )
    if as_json:
        print(json.dumps({name: item.model_dump(mode="json") for name, item in figures.items()}, indent=2))
        return
    console = Terminal(highlight=False, markup=False)
    console.print(for_terminal(rater_sheet(figures)))
    console.print(f"\n{NOTE}", *rater_remarks(figures), *raters.remarks(), sep="\n")


def _described(path: Path, gold: Path | None) -> tuple[DataConfig, RatersConfig, int]:
    if path.suffix in CONFIGURATIONS:
        if gold is not None:
            raise InputError(f"--gold: {path} is a configuration, whose data.gold says which answers are known")
        config = load_ingest_config(path)
        return config.data, config.contract.raters, config.seed
    answers = (_source(gold),) if gold is not None else ()
    return FileData(preferences=(_source(path),), gold=answers), RatersConfig(), 0


def _source(path: Path) -> FileSource:
    return FileSource(path=str(path.absolute()))
