"""What lineage events tell of an ingestion: the raw files and data sets that went in, as other tools name them."""

from collections.abc import Iterator
from contextlib import contextmanager

from openlineage.client.naming.dataset import LocalFileSystem

from data_contracts.records import COLUMNS
from flows.config.data import DataConfig, EmbeddedData, FileSource
from flows.data.sources import source_files
from flows.registry.context import RunContext
from flows.registry.lineage_events import LineageEvents, LineageNode, LineageRun, new_run_id
from flows.registry.references import DatasetRef

HUB = "https://huggingface.co"


ALONE = "ingest"
"""Stands for the run of the pipeline, where there is none around an ingestion."""


@contextmanager
def told_ingestion(data: DataConfig, key: str, context: RunContext) -> Iterator[list[DatasetRef]]:
    """Tell of an ingestion that takes place inside, and of the tables that are put into the list."""
    events, tables = LineageEvents(context.project, context.lineage.openlineage), list[DatasetRef]()
    run = LineageRun("ingest", new_run_id(), "" if context.run_id == ALONE else context.run_id, {"key": key})
    raw = {(node.namespace, node.name): node for node in _raw(data)}
    with events.of(run, list(raw.values())) as outputs:
        yield tables
        outputs += map(events.snapshot, tables)


def _raw(data: DataConfig) -> Iterator[LineageNode]:
    """What tables are read from."""
    if isinstance(data, EmbeddedData):
        yield LineageNode("embedded_world", "TABLE")
        return
    for table in COLUMNS:
        for source in getattr(data, table):
            if isinstance(source, FileSource):
                files = (LocalFileSystem(str(path.absolute())) for path in source_files(source).values())
                yield from (LineageNode(file.get_name(), "FILE", namespace=file.get_namespace()) for file in files)
            else:
                yield LineageNode(f"datasets/{source.dataset}", "TABLE", source.revision, namespace=HUB)
