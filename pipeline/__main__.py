"""The command line: every step, and the tools to look at what the steps made."""

import errno
import importlib
import json
import shlex
import sys
import typing
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline.artifact.artifact import Artifact
from pipeline.artifact.files import ArtifactError
from pipeline.artifact.lineage import trace as trace_lineage
from pipeline.artifact.manifest import MANIFEST
from pipeline.artifact.step import Request, run
from pipeline.artifact.verify import damage
from pipeline.graph import Graph
from pipeline.manage.workflow import read_graph
from pipeline.settings.base import SettingsError, compose
from pipeline.steps import STEPS, Step

SURROUNDINGS = {
    errno.EACCES, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EISDIR, errno.EMFILE, errno.ENAMETOOLONG, errno.ENOENT,
    errno.ENOLCK, errno.ENOSPC, errno.ENOTDIR, errno.EPERM, errno.EROFS, errno.ESTALE,
}  # fmt: skip
"""What the file system may refuse. Any other error of the operating system is a bug, and shows its traceback."""

app = typer.Typer(
    name="pipeline",
    help="Seekmake: from raw Dolma text to an exported DeepSeek-V3-style checkpoint. Steps are run by Snakemake.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


def _step_command(step: Step) -> Any:
    def command(
        manifests: Annotated[list[Path] | None, typer.Argument(help="The manifests of the input artifacts.")] = None,
        output: Annotated[Path, typer.Option(help="The manifest to write; data go beside it.")] = ...,  # type: ignore[assignment]
        results: Annotated[Path, typer.Option(help="The folder that artifacts' names begin below.")] = Path("results"),
        settings: Annotated[str, typer.Option(help="What enters the identity, as JSON.")] = "{}",
        execution: Annotated[str, typer.Option(help="How to compute, as JSON; never enters the identity.")] = "{}",
        file: Annotated[
            list[Path] | None, typer.Option(help="One of the user's own files that the step reads.")
        ] = None,
        rebuild: Annotated[str, typer.Option(help="An expensive artifact that may be made again.")] = "",
    ) -> None:
        request = Request(
            step=step.name,
            module=step.module,
            settings=_from_json("--settings", settings, dict),
            inputs=[(_role(path), path) for path in manifests or []],
            output=output,
            results=results,
            files=file or [],
            execution=_from_json("--execution", execution, dict),
            keeps=step.keeps,
            resumes=step.resumes,
            repeatable=step.repeatable,
            rebuild=bool(rebuild) and output.parent == results / rebuild,
        )
        _run(step, request)

    return command


def _run(step: Step, request: Request) -> None:
    try:
        run(request, lambda build: _builder(step)(_parse(step, request), build))
    except OSError as error:
        if error.filename is None:  # a full disk does not say where it is
            error.filename = request.folder
        raise


def _role(manifest: Path) -> str:
    name = Artifact.open(manifest).manifest.step
    if name not in STEPS:
        raise ArtifactError(f"{manifest} was made by the step {name!r}; known steps: {', '.join(STEPS)}")
    return STEPS[name].role


def _from_json(option: str, text: str, wanted: type) -> Any:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise SettingsError(f"{option} is not JSON: {error}; got {text!r:.80}") from None
    if not isinstance(value, wanted):
        raise SettingsError(f"{option} is {text!r:.80}, not a JSON {'object' if wanted is dict else 'list'}")
    return value


def _builder(step: Step) -> Any:
    """The step's function. Imported only now: a step that finds its work done never waits for torch."""
    return getattr(importlib.import_module(step.module), step.name)


def _parse(step: Step, request: Request) -> Any:
    section = typing.get_type_hints(_builder(step))["settings"]
    return section.parse(compose(request.settings, request.execution, section))


for _step in STEPS.values():
    app.command(_step.name, help=_step.help, rich_help_panel="Steps (Snakemake runs them)")(_step_command(_step))


Configfiles = Annotated[
    list[Path] | None, typer.Option("--configfile", help="As for snakemake; without it config/demo.yaml.")
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--config", metavar="KEY=VALUE", help="A key to lay over the file, as for snakemake."),
]
AsJson = Annotated[bool, typer.Option("--json", help="For programs.")]


def _graph(configfiles: list[Path] | None, overrides: list[str] | None) -> Graph:
    return read_graph(configfiles or [], overrides or [])


@app.command(rich_help_panel="Tools")
def plan(configfile: Configfiles = None, config: Overrides = None, as_json: AsJson = False) -> None:
    """Say what snakemake would make again, why, what that costs and what is reused."""
    from pipeline.manage.plan import as_data, as_text
    from pipeline.manage.plan import plan as plan_graph

    graph = _graph(configfile, config)
    planned = plan_graph(graph)
    if as_json:
        typer.echo(json.dumps(as_data(graph, planned), indent=1))
        return
    for line in as_text(graph, planned):
        typer.echo(line)


@app.command(rich_help_panel="Tools")
def accept(
    target: Annotated[str, typer.Argument(help="An artifact such as train/demo, or a step such as tokenize.")],
    reason: Annotated[str, typer.Option(help="Why it is as good as new; recorded with your name and the time.")],
    configfile: Configfiles = None,
    config: Overrides = None,
) -> None:
    """Declare a stale artifact good as it is: nothing is made again on its account."""
    from pipeline.manage.accept import accept as accept_artifacts

    for stamped in accept_artifacts(_graph(configfile, config), target, reason):
        typer.echo(f"{stamped.name} is accepted as {stamped.fingerprint[:12]}")


@app.command(rich_help_panel="Tools")
def adopt(
    path: Annotated[Path, typer.Argument(help="A tokenizer.json, an artifact's folder, or a checkpoint's folder.")],
    name: Annotated[
        str, typer.Option("--as", metavar="NAME", help="What it becomes, such as tokenizer or train/demo.")
    ],
    reason: Annotated[str, typer.Option(help="Where it is from and why it is good; recorded with your name and time.")],
    move: Annotated[bool, typer.Option("--move", help="Delete the original once it is taken.")] = False,
    configfile: Configfiles = None,
    config: Overrides = None,
) -> None:
    """Register what was made elsewhere, so that its step does not run, or training goes on from a checkpoint."""
    from pipeline.manage.adopt import adopt as adopt_path

    typer.echo(adopt_path(_graph(configfile, config), path, name, reason, move))


@app.command(rich_help_panel="Tools")
def status(
    configfile: Configfiles = None,
    config: Overrides = None,
    as_json: AsJson = False,
    watch: Annotated[
        float | None, typer.Option(min=0.1, metavar="SECONDS", help="Show it again so often, until interrupted.")
    ] = None,
) -> None:
    """Show how far everything is: what is made, what runs, and each training run's progress."""
    from rich.console import Console

    from pipeline.manage import board
    from pipeline.manage.status import as_data, look

    if as_json and watch is not None:
        raise SettingsError("--watch draws for people; leave out --json, or ask again by yourself")
    console = Console()
    if watch is not None:
        with suppress(KeyboardInterrupt):
            board.watch(console, lambda: look(_graph(configfile, config)), watch)
    elif as_json:
        typer.echo(json.dumps(as_data(look(_graph(configfile, config))), indent=1))
    else:
        board.show(console, look(_graph(configfile, config)))


@app.command(rich_help_panel="Tools")
def prune(
    configfile: Configfiles = None,
    config: Overrides = None,
    delete: Annotated[bool, typer.Option("--delete", help="Delete what is listed without it.")] = False,
    runs_too: Annotated[
        bool, typer.Option("--runs-too", help="With --delete: also runs that took over an hour of training.")
    ] = False,
    older_than: Annotated[
        float, typer.Option(min=0.0, metavar="DAYS", help="Only what has not changed for so long.")
    ] = 0.0,
    as_json: AsJson = False,
) -> None:
    """List what nothing refers to: old and unfinished runs, leftovers of kills, artifacts that are no longer made."""
    from rich.console import Console

    from pipeline.manage import prune_text
    from pipeline.manage.leftovers import find_leftovers
    from pipeline.manage.prune import as_data
    from pipeline.manage.prune import delete as delete_leftovers

    graph = _graph(configfile, config)
    found = find_leftovers(graph, older_than * 86400)
    fates = list(delete_leftovers(graph.results, found.leftovers, runs_too)) if delete else []
    if as_json:
        typer.echo(json.dumps(as_data(found, fates), indent=1))
        return
    if delete:
        words = prune_text.outcome(found, fates, graph.results)
    else:
        words = prune_text.listing(
            found, graph.results, shlex.join(["python", "-m", "pipeline", *sys.argv[1:], "--delete"])
        )
    for part in words:
        if isinstance(part, str):
            typer.echo(part)  # as it is: a command is there to be copied
        else:
            Console().print(part)


@app.command(rich_help_panel="Tools")
def trace(artifact: Annotated[Path, typer.Argument(help="An artifact's folder, such as results/train/demo.")]) -> None:
    """Print what an artifact was made of, back to the raw files."""
    manifest = Artifact.open(artifact / MANIFEST).manifest
    typer.echo(f"{manifest.name}  {manifest.step}  {manifest.fingerprint[:12]}  {manifest.cost.get('started', '')}")
    for one in manifest.accepted:
        typer.echo(f"  accepted by {one.who} at {one.when}: {one.why} (was {one.before[:12] or 'made elsewhere'})")
    for ancestor in trace_lineage(artifact):
        source = ancestor.source
        state = "no longer there" if ancestor.missing else "changed since" if ancestor.changed else ""
        typer.echo(f"{'  ' * ancestor.depth}{source.role}  {source.artifact}  {source.content[:12]}  {state}".rstrip())
        if source.role == "raw" and ancestor.manifest is not None:
            for entry in ancestor.manifest.files:
                typer.echo(
                    f"{'  ' * (ancestor.depth + 1)}{entry.path}  {entry.size:,} bytes  sha256 {entry.sha256[:12]}"
                )


@app.command(rich_help_panel="Tools")
def verify(
    folders: Annotated[list[Path], typer.Argument(help="Artifacts, or folders that hold some, such as results.")],
) -> None:
    """Compare every file of all artifacts below some folders with its recorded size and SHA-256."""
    broken = 0
    for path in dict.fromkeys(path for folder in folders for path in _manifests_below(folder)):
        try:
            manifest = Artifact.open(path).manifest
        except ArtifactError as error:
            broken += 1
            typer.echo(error)
            continue
        found = list(damage(path.parent, manifest, hashed_bytes=sys.maxsize))
        broken += len(found)
        typer.echo(f"{manifest.name}: {len(manifest.files)} files, {len(found)} damaged")
        for name, what in found:
            typer.echo(f"  {name} {what}")
    if broken:
        raise typer.Exit(1)


def _manifests_below(folder: Path) -> list[Path]:
    """The manifests in a folder; where there is none, the one that should be there."""
    return sorted(folder.rglob(MANIFEST)) or [folder / MANIFEST]


@app.command(rich_help_panel="Tools")
def schema(folder: Annotated[Path, typer.Argument(help="Where to write them.")] = Path("config/schema")) -> None:
    """Write the JSON Schemas of the configuration files, for editors."""
    from pipeline.settings.schema import write_schemas

    for path in write_schemas(folder):
        typer.echo(path)


@app.command(rich_help_panel="Tools")
def generate(
    folder: Annotated[Path, typer.Argument(help="An exported model, such as results/export/demo.")],
    prompt: Annotated[str, typer.Argument(help="The text to continue.")],
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Tokens to add at most.")] = 100,
    temperature: Annotated[float, typer.Option(min=0.0, help="0 takes the likeliest token each time.")] = 0.8,
    top_p: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Sample from the likeliest tokens of this share.")
    ] = 0.95,
    seed: Annotated[int, typer.Option(help="Another seed gives another text.")] = 0,
) -> None:
    """Continue a text with an exported model."""
    from pipeline.export.generate import generate as generate_text

    for piece in generate_text(folder, prompt, max_new_tokens, temperature, top_p, seed):
        typer.echo(piece, nl=False)
    typer.echo()


def main() -> None:
    """Run a command; what a user can mend is told in a sentence, not by a traceback."""
    try:
        app()
    except (SettingsError, ArtifactError) as error:
        _fail(str(error))
    except OSError as error:
        if error.errno not in SURROUNDINGS:
            raise
        _fail(f"{error.filename or 'a file'}: {error.strerror}; see to it and run the same command again")


def _fail(message: str) -> None:
    typer.secho(f"Error: {message}", fg="red", err=True)
    sys.exit(1)


if __name__ == "__main__":
    main()
