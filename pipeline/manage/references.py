"""What a workflow's artifacts refer to: the ancestors that their records name, by content."""

from collections.abc import Mapping

from pipeline.artifact.manifest import FILE_ROLE, Manifest
from pipeline.graph import Graph

Content = tuple[str, str]
"""An artifact's name and the digest of its files."""


def content_of(record: Manifest) -> Content:
    """What a record describes, as others name it."""
    return record.name, record.content


def referred(graph: Graph, records: Mapping[Content, Manifest]) -> set[Content]:
    """What the workflow's artifacts were made of, and what that was made of, as far as `records` tell."""
    found: set[Content] = set()
    waiting = [record for name in graph.nodes if (record := graph.record(name)) is not None]
    while waiting:
        for source in waiting.pop().inputs:
            content = source.artifact, source.content
            if source.role == FILE_ROLE or content in found:
                continue
            found.add(content)
            if content in records:
                waiting.append(records[content])
    return found
