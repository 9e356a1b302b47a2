"""The command line as a user meets it: what it prints, and that a mistake is told in a sentence."""

import json
import re
import resource
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pipeline.artifact.code import ROOT
from pipeline.artifact.manifest import MANIFEST
from pipeline.steps import STEPS

LICENCES = {
    "corpus": "embedded",
    "domain": "licences",
    "block": "0000",
    "files": ["licences-0000.json.gz"],
    "text_bytes": 100_000,
    "sizes": [],
    "max_line_bytes": 1 << 20,
}


def pipeline(*arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pipeline", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False, **options)


def sentence(*arguments: object, **options: Any) -> str:
    """What a command that must fail says: one sentence, no traceback."""
    done = pipeline(*arguments, **options)
    assert done.returncode == 1, done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith("Error: ")
    assert done.stderr.count("\n") == 1
    return done.stderr.removeprefix("Error: ").strip()


def download(results: Path, settings: str = json.dumps(LICENCES)) -> list[object]:
    """The arguments of a download into results."""
    output = results / "raw/licences/0000" / MANIFEST
    return ["download", "--output", output, "--results", results, "--settings", settings]


def test_help_lists_every_step_and_every_tool() -> None:
    text = pipeline("--help").stdout
    for name in (*STEPS, "plan", "status", "accept", "adopt", "trace", "verify", "prune", "schema", "generate"):
        assert re.search(rf"^\W*{name} ", text, re.MULTILINE), f"{name} is missing in the help"
    for step in STEPS.values():
        assert step.help.split(".")[0][:30] in text


def test_help_of_a_step_explains_its_options() -> None:
    done = pipeline("train", "--help")
    assert done.returncode == 0
    assert "Train a stage, or continue its run." in done.stdout
    for option in ("--output", "--results", "--settings", "--execution", "--rebuild"):
        assert option in done.stdout


def test_a_step_runs_once_and_is_found_done(tmp_path: Path) -> None:
    for _ in range(2):
        done = pipeline(*download(tmp_path))
        assert done.returncode == 0, done.stderr
    assert pipeline("verify", tmp_path / "raw/licences/0000").stdout == "raw/licences/0000: 1 files, 0 damaged\n"


def test_a_trace_leads_back_to_the_raw_files(small_project) -> None:
    folder = small_project.make("mixture/small").folder
    lines = pipeline("trace", folder).stdout.splitlines()
    manifest = small_project.make("mixture/small").manifest
    assert lines[0].startswith(f"mixture/small  mixture  {manifest.fingerprint[:12]}  20")
    names = {line.split()[1] for line in lines[1:] if "sha256" not in line}
    domains = small_project.graph.project.workflow.domains
    assert names == {"tokenizer", *(f"{kind}/{domain}/0000" for kind in ("raw", "tokens") for domain in domains)}
    raw = small_project.make("raw/python_code/0000").manifest.files[0]
    assert any(line.strip() == f"{raw.path}  {raw.size:,} bytes  sha256 {raw.sha256[:12]}" for line in lines)
    assert not any(line.endswith(("changed since", "no longer there")) for line in lines)


def test_a_trace_tells_what_has_changed_and_what_is_gone(small_project, tmp_path: Path) -> None:
    small_project.make("tokens/python_code/0000")
    for name in ("tokens/python_code/0000", "tokenizer"):
        small_project.copy(name, tmp_path)
    path = tmp_path / "tokenizer" / MANIFEST
    plain = json.loads(path.read_text())
    plain["files"][0]["sha256"] = "0" * 64
    path.write_text(json.dumps(plain))
    lines = [line.strip() for line in pipeline("trace", tmp_path / "tokens/python_code/0000").stdout.splitlines()]
    assert any(line.startswith("tokenizer  tokenizer") and line.endswith("changed since") for line in lines)
    assert any(line.startswith("raw  raw/python_code/0000") and line.endswith("no longer there") for line in lines)


def test_verify_finds_every_damaged_file_of_every_artifact(small_project, tmp_path: Path) -> None:
    whole = small_project.copy("tokenizer", tmp_path)
    broken = small_project.copy("raw/python_code/0000", tmp_path)
    data = bytearray(broken.path(broken.paths()[0]).read_bytes())
    data[100] ^= 1
    broken.path(broken.paths()[0]).write_bytes(data)
    done = pipeline("verify", whole.folder, broken.folder, tmp_path / "nowhere", tmp_path / "raw/python_code/0000")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == f"tokenizer: {len(whole.manifest.files)} files, 0 damaged"
    assert lines[1] == "raw/python_code/0000: 1 files, 1 damaged"
    assert lines[2] == f"  {broken.paths()[0]} has other bytes than when it was made (SHA-256)"
    assert lines[3] == f"{tmp_path / 'nowhere' / MANIFEST} does not exist; run the step that makes it"
    assert len(lines) == 4, "each artifact once"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ("{", "--settings is not JSON: Expecting property name enclosed in double quotes: line 1 column 2"),
        ("[]", "--settings is '[]', not a JSON object"),
        ("NaN", "--settings is 'NaN', not a JSON object"),
        (json.dumps({**LICENCES, "text_byte": 1}), "text_byte: unknown key; did you mean 'text_bytes'?"),
        (json.dumps({**LICENCES, "text_bytes": "1"}), "text_bytes: '1': input should be a valid integer"),
    ],
)
def test_wrong_settings_are_told_in_a_sentence(tmp_path: Path, settings: str, words: str) -> None:
    assert sentence(*download(tmp_path, settings)).startswith(words)
    assert not (tmp_path / "raw/licences/0000" / MANIFEST).exists()


def test_an_execution_that_is_no_json_is_told_too(tmp_path: Path) -> None:
    assert sentence(*download(tmp_path), "--execution", "x").startswith("--execution is not JSON")
    assert sentence(*download(tmp_path), "--execution", "1").startswith("--execution is '1', not a JSON")


def test_an_input_that_is_missing_broken_or_of_an_unknown_step_is_told(small_project, tmp_path: Path) -> None:
    output = ["--output", tmp_path / "tokens/x/0000" / MANIFEST, "--results", tmp_path]
    manifest = tmp_path / "tokenizer" / MANIFEST
    assert sentence("tokenize", manifest, *output) == f"{manifest} does not exist; run the step that makes it"
    small_project.copy("tokenizer", tmp_path)
    plain = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({**plain, "step": "tokeniser"}))
    assert sentence("tokenize", manifest, *output).startswith(
        f"{manifest} was made by the step 'tokeniser'; known steps: download, tokenizer, tokenize, "
    )
    manifest.write_text("{")
    assert sentence("tokenize", manifest, *output).startswith(f"{manifest} is no JSON")


def test_a_damaged_input_is_told_by_its_path(small_project, tmp_path: Path) -> None:
    raw = small_project.copy("raw/language_reference/0000", tmp_path)
    tokenizer = small_project.copy("tokenizer", tmp_path)
    small_project.make("tokens/language_reference/0000")
    settings = json.dumps(small_project.settings("tokens/language_reference/0000"))
    damaged = raw.path(raw.paths()[0])
    damaged.write_bytes(damaged.read_bytes()[:-9])
    output = tmp_path / "tokens/language_reference/0000" / MANIFEST
    found = sentence(
        "tokenize", raw.folder / MANIFEST, tokenizer.folder / MANIFEST,
        "--output", output, "--results", tmp_path, "--settings", settings,
    )  # fmt: skip
    assert found.startswith(f"{damaged} has ")
    assert not output.exists()


def test_an_output_outside_the_results_is_told(tmp_path: Path) -> None:
    arguments = download(tmp_path)
    arguments[arguments.index("--results") + 1] = tmp_path / "elsewhere"
    assert "is no manifest below" in sentence(*arguments)


def test_a_full_disk_is_told_with_the_folder(tmp_path: Path) -> None:
    """The limit of a file's size stands for the disk's: the same call fails, with an error that names no file."""
    limit = 20_000
    found = sentence(*download(tmp_path), preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)))
    assert found == f"{tmp_path / 'raw/licences/0000'}: File too large; see to it and run the same command again"
    assert not (tmp_path / "raw/licences/0000" / MANIFEST).exists()
    assert pipeline(*download(tmp_path)).returncode == 0


def test_results_that_cannot_be_written_are_told_with_the_path(tmp_path: Path) -> None:
    (tmp_path / "results").touch()
    found = sentence(*download(tmp_path / "results"))
    assert found.startswith(f"{tmp_path / 'results'}")
    assert found.endswith("; see to it and run the same command again")


def test_generating_from_a_folder_that_is_no_export_is_told(tmp_path: Path) -> None:
    found = sentence("generate", tmp_path, "text")
    assert found == f"{tmp_path} is no exported model: it has no config.json; name a folder of the step export"


def test_a_bug_shows_its_traceback(tmp_path: Path) -> None:
    """A copy of the package with a mistake in a step: nobody mends what is told in a sentence only."""
    shutil.copytree(ROOT / "pipeline", tmp_path / "pipeline", ignore=shutil.ignore_patterns("__pycache__"))
    path = tmp_path / "pipeline/corpus/embedded.py"
    bug = "\n\ndef write_domain(*arguments):\n    raise ConnectionResetError(104, 'a bug')\n"
    path.write_text(path.read_text() + bug)
    command = [sys.executable, "-m", "pipeline", *map(str, download(tmp_path / "results"))]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "ConnectionResetError" in done.stderr


def test_schemas_are_written_where_asked(tmp_path: Path) -> None:
    done = pipeline("schema", tmp_path)
    assert done.stdout.split() == [str(tmp_path / "workflow.schema.json"), str(tmp_path / "stage.schema.json")]
    for name in ("workflow.schema.json", "stage.schema.json"):
        assert (tmp_path / name).read_text() == (ROOT / "config/schema" / name).read_text()
