"""What lineage events tell of an ingestion: the raw files and data sets that went in, as other tools name them."""

from collections.abc import Iterator

from openlineage.client.naming.dataset import LocalFileSystem

from data_contracts.records import COLUMNS
from flows.config.data import DataConfig, EmbeddedData, FileSource
from flows.data.sources import source_files
from flows.lineage_events import LineageNode

HUB = "https://huggingface.co"


def raw_nodes(data: DataConfig) -> list[LineageNode]:
    """What tables are read from, each once."""
    return list({(node.namespace, node.name): node for node in _named(data)}.values())


def _named(data: DataConfig) -> Iterator[LineageNode]:
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
