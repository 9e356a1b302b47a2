"""The staleness matrix: single changes against the exact set of artifacts that are made again, each with its reason.

Every row is asked of `python -m pipeline plan` and of `snakemake -n`, on a finished project of two stages.
"""

import gzip
import os
import random
import re
import shutil
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from workspace import CONFIG, ROOT, STAGE, Workspace, planned_artifacts

from pipeline.artifact.manifest import MANIFEST, RECORD

DOMAINS = ("python_code", "docstrings", "language_reference")
STAGES = ("small", "next")
RAW = {f"raw/{domain}/0000" for domain in DOMAINS}
TOKENS = {f"tokens/{domain}/0000" for domain in DOMAINS}
EACH = {step: {f"{step}/{stage}" for stage in STAGES} for step in ("mixture", "train", "evaluate", "export", "report")}
SHARDS = {f"shards/{stage}/0000" for stage in STAGES}
VALIDATION = {f"shards/{stage}/validation" for stage in STAGES}
MODEL = EACH["train"] | EACH["evaluate"] | EACH["export"]
EVERYTHING = RAW | TOKENS | {"tokenizer", "ladder"} | SHARDS | VALIDATION | set().union(*EACH.values())


def made_of(name: str) -> set[str]:
    """What an artifact is made of, written down a second time, by hand."""
    kind, _, rest = name.partition("/")
    stage = rest.split("/")[0]
    if kind == "raw":
        return set()
    if kind == "tokenizer":
        return RAW
    if kind == "tokens":
        return {f"raw/{rest}", "tokenizer"}
    if kind == "mixture":
        return TOKENS
    if kind == "shards":
        return TOKENS | {"tokenizer"} | (set() if rest.endswith("validation") else {f"mixture/{stage}"})
    if kind == "ladder":
        return EACH["train"] | EACH["evaluate"]
    shards = {f"shards/{stage}/0000", f"shards/{stage}/validation", "tokenizer"}
    return {
        "train": shards,
        "evaluate": {f"train/{stage}", f"shards/{stage}/validation", f"mixture/{stage}", "tokenizer"},
        "export": {f"train/{stage}", f"evaluate/{stage}", "tokenizer"},
        "report": {f"{step}/{stage}" for step in ("mixture", "train", "evaluate", "export")} | {"ladder", "tokenizer"},
    }[kind]


def with_all_below(stale: set[str]) -> set[str]:
    """These artifacts and all that is made of them."""
    found = set(stale)
    while more := {name for name in EVERYTHING - found if made_of(name) & found}:
        found |= more
    return found


Edit = Callable[["Project"], None]


@dataclass
class Project:
    """A copy of the finished project, code and all, to be changed."""

    workspace: Workspace
    config: dict[str, Any] = field(default_factory=dict)
    stages: dict[str, dict[str, Any]] = field(default_factory=dict)
    arguments: list[str] = field(default_factory=list)

    def write(self) -> None:
        self.workspace.write(self.config, self.stages["small"], next=self.stages["next"])

    @property
    def code(self) -> Path:
        return self.workspace.root / "pipeline"


@pytest.fixture(scope="module")
def base(finished: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A finished project of two stages on a local corpus, with a copy of the code."""
    folder = tmp_path_factory.mktemp("staleness") / "project"
    for name in ("pipeline", "workflow", "profiles", "config"):
        shutil.copytree(ROOT / name, folder / "code" / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "environment.yml", folder / "code")
    for domain in DOMAINS:
        shutil.copytree(finished.folder_of(f"raw/{domain}/0000/files"), folder / "corpus" / domain)
    (folder / "config" / "stages").mkdir(parents=True)
    workspace = Workspace(folder, folder / "code")
    workspace.write(config(), stage(), next=stage(lr=0.002))
    workspace.run()
    return workspace


def config() -> dict[str, Any]:
    domains = {name: {**CONFIG["domains"][name], "paths": [f"corpus/{name}/*.json.gz"]} for name in DOMAINS}
    return {**without(CONFIG, "corpus_bytes"), "corpus": "local", "domains": domains, "stages": list(STAGES)}


def stage(**training: Any) -> dict[str, Any]:
    return {**STAGE, "training": {**STAGE["training"], **training}}


def without(plain: Mapping[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in plain.items() if name != key}


def in_config(**changes: Any) -> Edit:
    """Lay keys over the YAML, sections merged."""
    return lambda project: lay_over(project.config, changes)


def in_stage(**changes: Any) -> Edit:
    """Lay keys over the JSON of the second stage, sections merged."""
    return lambda project: lay_over(project.stages["next"], changes)


def lay_over(plain: dict[str, Any], changes: Mapping[str, Any]) -> None:
    for key, value in changes.items():
        if isinstance(value, Mapping) and isinstance(plain.get(key), dict):
            lay_over(plain[key], value)
        else:
            plain[key] = value


def in_code(*files: str, text: str = "\n\nADDED = 1\n") -> Edit:
    """Add to files of the package something with a meaning, or what `text` says."""

    def edit(project: Project) -> None:
        for name in files:
            path = project.code / name
            path.write_text(path.read_text() + text)

    return edit


def reword(*files: str) -> Edit:
    """Change every comment, the first docstring and the formatting of files of the package."""

    def edit(project: Project) -> None:
        for name in files:
            reworded(project.code / name)

    return edit


def reworded(path: Path) -> None:
    text = path.read_text().replace('"""', '"""Reworded. ', 1)
    text = re.sub(r"  # .*$", "  # reworded", text, flags=re.MULTILINE)
    path.write_text(text.replace("\n\n\n", "\n\n\n\n# a comment\n\n") + "\n# the end\n")


def at(name: str, act: Callable[[Path], Any]) -> Edit:
    """Do something to a path of the project."""
    return lambda project: act(project.workspace.folder / name)


def shuffled(plain: Any) -> Any:
    """The same settings, their keys in another order."""
    if not isinstance(plain, dict):
        return plain
    items = [(key, shuffled(value)) for key, value in plain.items()]
    random.Random(7).shuffle(items)
    return dict(items)


def shuffle_keys(project: Project) -> None:
    project.stages = {name: shuffled(content) for name, content in project.stages.items()}
    project.config = {**shuffled(without(project.config, "domains")), "domains": project.config["domains"]}


def touch_everything(project: Project) -> None:
    for path in sorted(project.workspace.folder.rglob("*"), key=lambda _: random.random()):
        if path.is_file():
            path.touch()


def copy_the_project(project: Project) -> None:
    """As `cp -r` does to another disk: other times, no notes of Snakemake, no compiled code."""
    folder = project.workspace.folder
    moved = folder.rename(folder.with_name("original"))
    ignored = shutil.ignore_patterns(".snakemake", "__pycache__")
    shutil.copytree(moved, folder, copy_function=shutil.copyfile, ignore=ignored)


def move_the_results(project: Project) -> None:
    folder = project.workspace.folder
    (folder / "elsewhere").mkdir()
    (folder / "results").rename(folder / "elsewhere" / "kept")
    project.workspace.results = folder / "elsewhere" / "kept"
    project.config["results"] = "elsewhere/kept"


def change_text(path: Path) -> None:
    """Another text of the same size and times."""
    times, plain = path.stat(), gzip.decompress(path.read_bytes())
    at = plain.index(b"a", plain.index(b'"text"') + 10)
    path.unlink()  # the artifact holds a link to the same bytes
    path.write_bytes(gzip.compress(plain[:at] + b"b" + plain[at + 1 :], mtime=0))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def forget_training(project: Project) -> None:
    shutil.rmtree(project.workspace.folder_of("train/next"))


def move_the_corpus(project: Project) -> None:
    folder = project.workspace.folder
    (folder / "corpus").rename(folder / "texts")
    for name in DOMAINS:
        project.config["domains"][name]["paths"] = [f"texts/{name}/*.json.gz"]


def break_off(path: Path) -> None:
    """A broken record: nothing in the folder can be trusted."""
    path.write_text("{")


LR = "training.lr: 0.002 -> 0.003"
CODE = "code of pipeline/{} changed".format
WEIGHTS = {name: {"weight": weight} for name, weight in zip(DOMAINS, (0.4, 0.4, 0.2), strict=True)}
SCALED = {name: {"weight": weight} for name, weight in zip(DOMAINS, (35, 21, 14), strict=True)}
FIRST_CORPUS_FILE = "corpus/docstrings/docstrings-0000.json.gz"

Row = tuple[Edit, dict[str, str]]
ROWS: dict[str, Row] = {
    # The YAML: what decides an artifact, and what does not.
    "nothing": (lambda project: None, {}),
    "weights": (
        in_config(domains=WEIGHTS),
        {"tokenizer": "training.weights.docstrings: 0.3 -> 0.4"}
        | dict.fromkeys(EACH["mixture"], "weights.docstrings: 0.3 -> 0.4"),
    ),
    "weights scaled": (in_config(domains=SCALED), {}),
    "description": (in_config(domains={"docstrings": {"description": "other words", "subset": "label"}}), {}),
    "validation.fraction": (
        in_config(validation={"fraction": 0.2}),
        {"tokenizer": "validation.fraction: 0.15 -> 0.2"} | dict.fromkeys(TOKENS, "validation.fraction: 0.15 -> 0.2"),
    ),
    "tokenizer.vocab_size": (in_config(tokenizer={"vocab_size": 500}), {"tokenizer": "vocab_size: 512 -> 500"}),
    "tokenizer.sample_bytes": (in_config(tokenizer={"sample_bytes": 90_000}), {"tokenizer": "100000 -> 90000"}),
    "tokenizer.seed": (in_config(tokenizer={"seed": 1}), {"tokenizer": "seed: 0 -> 1"}),
    "max_line_bytes": (
        in_config(max_line_bytes=1_000_000),
        dict.fromkeys(RAW | TOKENS | {"tokenizer"}, "max_line_bytes: 83886080 -> 1000000"),
    ),
    "max_bad_fraction": (in_config(max_bad_fraction=0.5), {}),
    "export.dtype": (in_config(export={"dtype": "bfloat16"}), dict.fromkeys(EACH["export"], '"bfloat16"')),
    "export.data_licence": (in_config(export={"data_licence": "CC0"}), dict.fromkeys(EACH["export"], '"CC0"')),
    "rebuild": (in_config(rebuild="train/next"), {}),
    "key order": (shuffle_keys, {}),
    # The stage's JSON, section by section.
    "description of the stage": (in_stage(description="other words"), {}),
    "model.mla": (in_stage(model={"mla": {"kv_lora_rank": 24}}), {"train/next": "model.mla.kv_lora_rank: 16 -> 24"}),
    "model.moe": (in_stage(model={"moe": {"top_k": 1}}), {"train/next": "model.moe.top_k: 2 -> 1"}),
    "model.mtp_depth": (
        in_stage(model={"mtp_depth": 2}),
        {
            "train/next": "model.mtp_depth: 1 -> 2",
            "shards/next/0000": "mtp_depth: 1 -> 2",
            "shards/next/validation": "mtp_depth: 1 -> 2",
        },
    ),
    "data.seed": (in_stage(data={"seed": 1}), {"mixture/next": "seed: 0 -> 1", "shards/next/0000": "seed: 0 -> 1"}),
    "data.packing": (
        in_stage(data={"packing": "best_fit"}),
        {"mixture/next": '"concat" -> "best_fit"', "shards/next/0000": '"concat" -> "best_fit"'},
    ),
    "data.sources": (
        in_stage(data={"sources": [{"name": name, "weight": 1} for name in DOMAINS]}),
        {"mixture/next": "weights.docstrings: 0.3 -> 0.33"},
    ),
    "data.validation_rows": (in_stage(data={"validation_rows": 6}), {"shards/next/validation": "rows: 8 -> 6"}),
    "data.max_epochs": (in_stage(data={"max_epochs": 3}), {"mixture/next": "max_epochs: 4.0 -> 3.0"}),
    "training.lr": (in_stage(training={"lr": 0.003}), {"train/next": LR}),
    "training.schedule": (
        in_stage(training={"schedule": {"warmup_tokens": 512}}),
        {"train/next": "training.schedule.warmup_tokens: 1024 -> 512"},
    ),
    "training.total_tokens": (
        in_stage(training={"total_tokens": 12288}),
        {
            "mixture/next": "rows: 512 -> 384",
            "shards/next/0000": "rows: 512 -> 384",
            "train/next": "training.total_tokens: 16384 -> 12288",
        },
    ),
    "training.seed": (in_stage(training={"seed": 5}), {"train/next": "training.seed: 0 -> 5"}),
    "training.micro_batch_size": (in_stage(training={"micro_batch_size": 2}), {}),
    "training.micro_batch_size with the Switch loss": (
        lambda project: in_stage(model={"moe": {"router_aux_loss_weight": 0.01}}, training={"micro_batch_size": 2})(
            project
        ),
        {"train/next": "switch_rows: null -> 2"},
    ),
    "training.gradient_checkpointing": (in_stage(training={"gradient_checkpointing": True}), {}),
    "training.checkpoints": (
        in_stage(training={"checkpoints": {"interval_steps": 9, "keep_last": 1, "margin_seconds": 9}}),
        {},
    ),
    "training.max_skipped_steps": (in_stage(training={"max_skipped_steps": 3}), {}),
    "distributed.data_parallel": (in_stage(distributed={"data_parallel": 2, "processes_per_node": 1}), {}),
    "distributed.device and threads": (in_stage(distributed={"device": "cpu", "threads": 2}), {}),
    "evaluation.rows": (in_stage(evaluation={"rows": 5}), {"evaluate/next": "rows: null -> 5"}),
    "evaluation.gate": (
        in_stage(evaluation={"gate": {"max_bits_per_byte": 99}}),
        {"evaluate/next": "gate.max_bits_per_byte: null -> 99"},
    ),
    "evaluation.interval_steps": (
        in_stage(evaluation={"interval_steps": 5, "interval_rows": 3, "batch_rows": 2}),
        {},
    ),
    # How and where it runs.
    "another number of cores": (lambda project: project.arguments.extend(["--cores", "1"]), {}),
    "a moved corpus": (move_the_corpus, {}),
    "moved results": (move_the_results, {}),
    "a moved folder of stages": (
        lambda project: (
            (project.workspace.folder / "config/stages").rename(project.workspace.folder / "ladder"),
            (project.workspace.folder / "config/stages").mkdir(),
            project.config.update(stages_folder="ladder"),
        ),
        {},
    ),
    # Code with and without meaning, of each package.
    "code of a download": (in_code("corpus/local.py"), dict.fromkeys(RAW, CODE("corpus/local.py"))),
    "code of the tokenizer": (in_code("tokenizer/train.py"), {"tokenizer": CODE("tokenizer/train.py")}),
    "code of tokenizing": (in_code("shards/tokenize_file.py"), dict.fromkeys(TOKENS, CODE("shards/tokenize_file.py"))),
    "code of packing": (in_code("shards/gather.py"), dict.fromkeys(SHARDS, CODE("shards/gather.py"))),
    "code of validation rows": (in_code("shards/validation.py"), dict.fromkeys(VALIDATION, "shards/validation.py")),
    "code of the model": (in_code("model/rope.py"), dict.fromkeys(MODEL, CODE("model/rope.py"))),
    "code of training": (in_code("train/schedule.py"), dict.fromkeys(EACH["train"], CODE("train/schedule.py"))),
    "code of evaluation": (in_code("evaluate/gate.py"), dict.fromkeys(EACH["evaluate"], CODE("evaluate/gate.py"))),
    "code of export": (in_code("export/card.py"), dict.fromkeys(EACH["export"], CODE("export/card.py"))),
    "code of the ladder": (in_code("report/ladder.py"), {"ladder": CODE("report/ladder.py")}),
    "code of a figure": (in_code("report/figures/loss.py"), dict.fromkeys(EACH["report"], "figures/loss.py")),
    "code that all share": (in_code("artifact/files.py"), dict.fromkeys(EVERYTHING, CODE("artifact/files.py"))),
    "code of settings": (
        in_code("settings/report.py"),
        dict.fromkeys(EACH["report"] | {"ladder"}, "settings/report.py"),
    ),
    "code of the tools": (
        in_code("manage/plan.py", "manage/accept.py", "graph.py", "allocation.py", "__main__.py"),
        {},
    ),
    "a file that nothing imports": (
        lambda project: (project.code / "model" / "unused.py").write_text("ADDED = 1\n"),
        {},
    ),
    "words in training": (reword("train/trainer.py"), {}),
    "words in the model": (reword("model/attention.py"), {}),
    "words in settings and artifacts": (
        reword("settings/training.py", "artifact/fingerprint.py", "artifact/manifest.py"),
        {},
    ),
    "words in corpus, shards and tokenizer": (
        reword("corpus/records.py", "shards/pack.py", "tokenizer/train.py"),
        {},
    ),
    "words in what comes after": (reword("evaluate/evaluate.py", "export/card.py", "report/summary.py"), {}),
    # Files: content decides, never the clock.
    "every file touched": (touch_everything, {}),
    "a copied project": (copy_the_project, {}),
    "a raw file's content": (at(FIRST_CORPUS_FILE, change_text), {"raw/docstrings/0000": "docstrings-0000.json.gz"}),
    "a new raw file": (
        lambda project: shutil.copy(
            project.workspace.folder / FIRST_CORPUS_FILE, project.workspace.folder / "corpus/docstrings/more.json.gz"
        ),
        {"raw/docstrings/0000": "files: "},
    ),
    "a lost manifest": (at(f"results/train/next/{MANIFEST}", Path.unlink), {}),
}

LOST: dict[str, Row] = {
    # What is lost is made again as it was, so what is made of it stays.
    "a lost shard": (at("results/shards/next/0000/000000.zarr", shutil.rmtree), {"shards/next/0000": "is missing"}),
    "lost weights": (at("results/train/small/model.safetensors", Path.unlink), {"train/small": "is missing"}),
    "a shortened raw file": (
        at("results/raw/docstrings/0000/files", lambda folder: shorten(next(folder.iterdir()))),
        {"raw/docstrings/0000": "bytes, not"},
    ),
    "a deleted mixture": (at("results/mixture/next", shutil.rmtree), {"mixture/next": "it is not there"}),
    "deleted raw files": (
        lambda project: shutil.rmtree(project.workspace.folder_of("raw")),
        dict.fromkeys(RAW, "it is not there"),
    ),
    "a broken record": (
        at(f"results/shards/small/validation/{RECORD}", break_off),
        {"shards/small/validation": "not there"},
    ),
}
DELETED_RUN: Row = (forget_training, {"train/next": "it is not there"})


def shorten(path: Path) -> None:
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content[:-1])


@pytest.fixture
def project(base: Workspace, tmp_path: Path) -> Project:
    copy = base.copy(tmp_path / "project")
    workspace = Workspace(copy.folder, copy.folder / "code")
    return Project(workspace, deepcopy(config()), {"small": deepcopy(stage()), "next": deepcopy(stage(lr=0.002))})


def printed_reasons(project: Project) -> dict[str, str]:
    """What `plan` prints below each artifact's name; nothing for one that only follows."""
    told: dict[str, str] = {}
    for line in project.workspace.tool("plan").partition("\n\n")[0].splitlines():
        if line in EVERYTHING:
            name, told[line] = line, ""
        elif not line.startswith(("    follows", "    about", "Nothing")):
            told[name] += line
    return told


def check(project: Project, row: Row, runs: Callable[[set[str]], set[str]]) -> None:
    edit, reasons = row
    edit(project)
    project.write()
    told = printed_reasons(project)
    assert set(told) == runs(set(reasons)), "no step too many, none too few"
    for name, words in told.items():
        if name in reasons:
            assert reasons[name] in words
        else:
            assert words == "    ends at once where what it is made of comes out as it was"
    dry_run = project.workspace.run("-n", "--printshellcmds", *project.arguments)
    results = project.config.get("results", "results")
    assert planned_artifacts(dry_run.replace(f"--output {results}/", "--output results/")) == set(told)
    assert ("Nothing to be done" in dry_run) == (not told)


@pytest.mark.parametrize("name", ROWS)
def test_a_change_makes_again_what_it_decides_and_what_is_made_of_that(project: Project, name: str) -> None:
    check(project, ROWS[name], with_all_below)


@pytest.mark.parametrize("name", LOST)
def test_what_is_lost_is_made_again_and_nothing_else(project: Project, name: str) -> None:
    check(project, LOST[name], set)


def test_a_deleted_run_is_trained_again_and_all_below_it_looked_at(project: Project) -> None:
    """On a GPU the same settings can give other weights."""
    check(project, DELETED_RUN, with_all_below)


def test_the_matrix_has_at_least_forty_rows() -> None:
    assert len(ROWS) + len(LOST) >= 40
