"""The settings, checked, and the functions that rules ask for what pipeline/graph.py knows."""

import json
import os
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.settings.enums import RerunTrigger

PROJECT_ROOT = Path(workflow.basedir).parent
# Before another copy, which may be installed, or stand where snakemake was started.
if sys.path[0] != str(PROJECT_ROOT):
    sys.path.insert(0, str(PROJECT_ROOT))

from pipeline.allocation import Cluster, stage_resources, stage_threads
from pipeline.artifact.canonical import canonical_json
from pipeline.artifact.manifest import MANIFEST
from pipeline.graph import Graph
from pipeline.manage.diagnosis import explain, failures
from pipeline.manage.queue import Queue, comment_of
from pipeline.settings.base import SettingsError
from pipeline.settings.project import load_project

try:
    GRAPH = Graph(load_project(config, roots=[Path(), PROJECT_ROOT]))
except SettingsError as error:
    raise WorkflowError(str(error)) from None

if workflow.deployment_settings.deployment_method:
    raise WorkflowError(
        "--software-deployment-method: every step runs in the environment that runs Snakemake; leave the option out and "
        "make that environment with environment.yml"
    )

# The steps run the code that the graph compares, also where another copy of the project is installed.
os.environ.update(
    PYTHONPATH=os.pathsep.join(
        filter(None, [str(PROJECT_ROOT), os.getenv("PYTHONPATH")])
    )
)

RESULTS = str(GRAPH.results)
LOGS = f"{RESULTS}/logs"
BENCHMARKS = f"{RESULTS}/benchmarks"
NUMBER = r"\d{4}"
CLUSTER = Cluster.of(
    {
        name: resource.raw
        for name, resource in (
            workflow.resource_settings.default_resources or {}
        ).items()
    }
)

QUEUE = Queue(Path())

# A manifest that was lost while its artifact is whole is written again at once; nothing has to run for it.
if workflow.is_main_process:
    GRAPH.restore_manifests()


def manifest(name):
    """The file that declares an artifact."""
    return str(GRAPH.manifest(name))


def everything():
    """The manifests of all artifacts: whichever is deleted comes back."""
    return [manifest(name) for name in GRAPH.nodes]


def node(name):
    """An artifact of the workflow. A target that is none stops with a sentence."""
    if name not in GRAPH.nodes:
        raise WorkflowError(
            f"{name} is no artifact of this workflow; it makes {', '.join(GRAPH.nodes)}"
        )
    return GRAPH.nodes[name]


def needs(pattern):
    """Input function: the manifests that the artifact of this name is made of."""
    return lambda wildcards: edges(
        pattern.format(**wildcards), node(pattern.format(**wildcards)).inputs
    )


def gate(pattern):
    """Input function: the evaluation that must have passed first; it decides when to run, never whether."""
    return lambda wildcards: edges(
        pattern.format(**wildcards),
        filter(None, [node(pattern.format(**wildcards)).gate]),
    )


def edges(name, needed):
    """The manifests that Snakemake is told an artifact needs, so that exactly the graph's steps run.

    A step that runs needs them all, and is forced where it has reasons of its own. One that does not run must not be run
    for those above it, nor hide from Snakemake what runs below it (it asks no job for reasons below one that runs): then
    it is told of none.
    """
    paths = [manifest(one) for one in needed]
    if not workflow.is_main_process:
        return paths
    rely_on_the_graph()
    state = GRAPH.state(name)
    if state.changes and GRAPH.manifest(name).exists():
        workflow.dag.forcefiles.add(manifest(name))
    if state.runs:
        return paths
    return ancient(paths) if paths and not GRAPH.runs_above(name) else []


def rely_on_the_graph():
    """Have Snakemake disregard its notes of earlier runs.

    The graph decides by the artifacts' own records what is stale or complete. Snakemake's notes, which a copy of the
    project lacks and an accepted artifact contradicts, decide nothing. It has no settings yet when this file is read.
    """
    workflow.dag_settings.rerun_triggers = frozenset([RerunTrigger.MTIME])
    workflow.dag.ignore_incomplete = True


def why(pattern):
    """Params function: why an artifact is made again, in words; nothing where it is new."""

    def words(wildcards, threads):
        name = pattern.format(**wildcards)
        if not workflow.is_main_process or GRAPH.record(name) is None:
            return ""
        return f" ({GRAPH.state(name).why})"

    return words


def settings(pattern):
    """Params function: what enters the identity of the artifact of this name, as canonical JSON."""
    return lambda wildcards: canonical_json(node(pattern.format(**wildcards)).settings)


def files(pattern):
    """Params function: the options that name the user's own files that it is made of."""
    return lambda wildcards: [
        f"--file={path}" for path in node(pattern.format(**wildcards)).files
    ]


def execution(pattern):
    """Params function: how the artifact of this name is computed, as JSON."""

    def how(wildcards, threads):
        name = pattern.format(**wildcards)
        found = GRAPH.execution(name, threads)
        if CLUSTER and node(name).step == "train":
            stage = GRAPH.project.stages[wildcards.stage]
            found["gres"] = stage_resources(
                node(name), stage, CLUSTER, attempt=1, found=False
            ).get("gres")
        return json.dumps(found)

    return how


def results_folder(wildcards):
    """Params function: the folder that artifacts' names begin below."""
    return RESULTS


def growing(amount):
    """Resource function: so much at first, and as much again with each further attempt."""
    return lambda wildcards, attempt: amount * attempt


def cores(pattern):
    """Threads function: all of one machine, or what the stage's layout wants on a cluster's node."""
    return lambda wildcards: (
        stage_threads(node(pattern.format(**wildcards))) if CLUSTER else workflow.cores
    )


def share(resource, pattern):
    """Resource function: what the layout of this name's stage asks for. Asked again when all inputs are there."""

    def amount(wildcards, attempt):
        name = pattern.format(**wildcards)
        stage = GRAPH.project.stages[wildcards.stage]
        found = CLUSTER is not None and (GRAPH.is_made(name) or bool(job_of(name)))
        return stage_resources(node(name), stage, CLUSTER, attempt, found).get(resource)

    return amount


def after(pattern):
    """Resource function: more options for sbatch: the profile's, and to wait for a job that still makes this artifact.

    An orchestrator that was killed leaves its jobs in the queue. The new job starts when that one has ended, and most
    likely finds its work done.
    """

    def options(wildcards):
        left = job_of(pattern.format(**wildcards))
        wait = [f"--dependency=afterany:{left}"] if left else []
        return " ".join([CLUSTER.extra, *wait]).strip() if CLUSTER else None

    return options


def job_of(name):
    """The id of a Slurm job of this folder that makes an artifact, started by an earlier snakemake."""
    if CLUSTER is None or not workflow.is_main_process:
        return None
    comment = comment_of(node(name))
    return next((job.id for job in QUEUE.jobs() if job.comment == comment), None)


def refuse_unasked_rebuilds():
    """Stop before anything runs where an expensive finished run would be made again."""
    trained = [
        f"train/{job.wildcards.stage}"
        for job in workflow.dag.needrun_jobs()
        if job.rule.name == "train"
    ]
    if refusals := list(filter(None, map(GRAPH.refusal, trained))):
        raise WorkflowError("\n".join(refusals))


def explain_failures(logs):
    """Tell after a run what failed and what to do, from Snakemake's own logs."""
    text = "\n".join(
        Path(log).read_text(encoding="utf-8", errors="replace") for log in logs
    )
    for failure in failures(text, GRAPH):
        logger.error("\n" + "\n".join(explain(GRAPH, failure)))


def warn_of_what_came_out_differently():
    """Tell after a run where its results made something stale that was not to run: program versions may do that."""
    left = Graph(GRAPH.project).running()
    surprises = [name for name in left if not GRAPH.state(name).runs]
    if surprises:
        logger.warning(
            f"Made again, some artifacts came out with other bytes than before (another device, other program versions), "
            f"so {', '.join(surprises)} follow: run the same command again."
        )
