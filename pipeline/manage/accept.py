"""A person's word that an artifact is as good as the one that would be made now: it is stamped with that identity."""

import getpass
import os
import platform
from collections.abc import Iterator
from datetime import UTC, datetime

from pipeline.artifact.files import ArtifactError
from pipeline.artifact.fingerprint import Identity
from pipeline.artifact.lock import exclusive
from pipeline.artifact.manifest import Acceptance, Manifest
from pipeline.artifact.publish import declare, seal
from pipeline.artifact.verify import damage
from pipeline.graph import Graph


def accept(graph: Graph, target: str, why: str) -> Iterator[Manifest]:
    """Stamp an artifact, or all stale ones of a step, as good for the present settings, code and inputs.

    What follows is then no longer stale on their account: their content is what it was. Raises ArtifactError where
    there is nothing to accept: no such name, nothing stale, nothing whole there, or an input that is stale itself.
    """
    if not why.strip():
        raise ArtifactError("--reason is empty; say why the artifact is good, for those who find it later")
    names = _stale(graph, target)
    for name in names:
        fresh = Graph(graph.project)  # accepting one may settle the inputs of the next
        yield _stamp(fresh, name, why)


def acceptance(why: str, before: str) -> Acceptance:
    """Who says so, when and why."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container may have a user without a name
        user = str(os.getuid())
    who = f"{user}@{platform.node()}"
    return Acceptance(who=who, when=datetime.now(UTC).isoformat(timespec="seconds"), why=why, before=before)


def planned_now(graph: Graph, name: str) -> Identity:
    """What an artifact would be made of now. Raises ArtifactError if an input of it is still to come."""
    planned = graph.planned(name)
    if planned is None:
        unsettled = [one for one in graph.nodes[name].inputs if not graph.settled(one)]
        raise ArtifactError(
            f"{name} is made of {', '.join(unsettled)}, which is stale or missing itself; "
            "make, accept or adopt that first"
        )
    return planned


def _stale(graph: Graph, target: str) -> list[str]:
    names = [target] if target in graph.nodes else graph.named(target)
    if not names:
        raise ArtifactError(
            f"{target!r} is neither an artifact of this workflow nor a step; it makes {', '.join(graph.nodes)}"
        )
    stale = [name for name in names if graph.record(name) is not None and not graph.settled(name)]
    if not stale:
        missing = [name for name in names if graph.record(name) is None]
        what = f"{', '.join(missing)} was never made" if missing else f"{target} is not stale"
        raise ArtifactError(f"there is nothing to accept: {what}; `python -m pipeline plan` shows what is stale")
    return stale


def _stamp(graph: Graph, name: str, why: str) -> Manifest:
    planned = planned_now(graph, name)
    try:
        with exclusive(graph.results, name, wait=False):
            return _stamped(graph, name, planned, why)
    except BlockingIOError:
        raise ArtifactError(f"{name} is being made at this moment; wait for that, then look again") from None


def _stamped(graph: Graph, name: str, planned: Identity, why: str) -> Manifest:
    record = graph.record(name)
    assert record is not None
    for path, what in damage(graph.folder(name), record):
        raise ArtifactError(f"{name}: {path} {what}; run the workflow to make it again")
    stamped = record.model_copy(
        update={
            **planned.fields(),
            "accepted": (*record.accepted, acceptance(why, record.fingerprint)),
        }
    )
    seal(graph.folder(name), stamped)
    declare(graph.folder(name), stamped)
    return stamped
