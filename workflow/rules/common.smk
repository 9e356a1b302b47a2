"""The settings, checked, and the functions that rules ask for what pipeline/graph.py knows."""

import json
import os
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

PROJECT_ROOT = Path(workflow.basedir).parent
if str(PROJECT_ROOT) not in sys.path:
    sys.path.insert(0, str(PROJECT_ROOT))

from pipeline.artifact.canonical import canonical_json
from pipeline.artifact.code import code_digest, code_files
from pipeline.artifact.manifest import MANIFEST
from pipeline.graph import Graph
from pipeline.settings.base import SettingsError
from pipeline.settings.project import load_project
from pipeline.steps import STEPS

try:
    GRAPH = Graph(load_project(config, roots=[Path(), PROJECT_ROOT]))
except SettingsError as error:
    raise WorkflowError(str(error)) from None

if workflow.deployment_settings.deployment_method:
    raise WorkflowError(
        "--software-deployment-method: every step runs in the environment that runs Snakemake; leave the option out and "
        "make that environment with environment.yml"
    )

# The steps run the code whose digests stand in the rules, also where another copy of the project is installed.
os.environ.update(
    PYTHONPATH=os.pathsep.join(
        filter(None, [str(PROJECT_ROOT), os.getenv("PYTHONPATH")])
    )
)

RESULTS = str(GRAPH.results)
REBUILD = GRAPH.project.workflow.rebuild
LOGS = f"{RESULTS}/logs"
BENCHMARKS = f"{RESULTS}/benchmarks"
NUMBER = r"\d{4}"

# A manifest that was lost while its artifact is whole is written again at once; nothing has to run for it.
if workflow.is_main_process:
    GRAPH.restore_manifests()


def manifest(name):
    """The file that declares an artifact."""
    return f"{RESULTS}/{name}/{MANIFEST}"


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
    """Input function: the manifests that the artifact of this name is made of.

    For an artifact that nothing can affect they are `ancient`: only content makes it run again, never a time stamp.
    """

    def manifests(wildcards):
        name = pattern.format(**wildcards)
        paths = [manifest(needed) for needed in node(name).inputs]
        return ancient(paths) if paths and GRAPH.unaffected(name) else paths

    return manifests


def gate(pattern):
    """Input function: the evaluation that must have passed first; it decides when to run, never whether."""

    def evaluation(wildcards):
        before = node(pattern.format(**wildcards)).gate
        return [ancient(manifest(before))] if before else []

    return evaluation


def settings(pattern):
    """Params function: what enters the identity of the artifact of this name, as canonical JSON."""
    return lambda wildcards: canonical_json(node(pattern.format(**wildcards)).settings)


def code(step):
    """The digest of a step's code: changes with its import closure, not with comments or formatting."""
    return code_digest(code_files(STEPS[step].module))


def repairs(pattern):
    """Params function: what was found missing in the artifact of this name, as a JSON list."""
    return lambda wildcards: json.dumps(GRAPH.repairs(pattern.format(**wildcards)))


def stamp(pattern):
    """Params function: changes with the content of the user's own files that the artifact of this name is made of."""
    return lambda wildcards: GRAPH.stamp(pattern.format(**wildcards))


def files(pattern):
    """Params function: the options that name those files. They are no inputs for Snakemake: moving them is no reason."""
    return lambda wildcards, threads: [
        f"--file={path}" for path in node(pattern.format(**wildcards)).files
    ]


def execution(pattern):
    """Params function: how the artifact of this name is computed, as JSON.

    It takes `threads`, so Snakemake does not track it: another layout leaves nothing stale.
    """
    return lambda wildcards, threads: json.dumps(
        GRAPH.execution(pattern.format(**wildcards), threads)
    )


def untracked(value):
    """Params function: a value that is not part of an identity, hidden from Snakemake's triggers in the same way."""
    return lambda wildcards, threads: value
