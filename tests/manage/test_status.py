"""How far a workflow is, as it is told while it runs and after kills."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from workplace import end, has_checkpoint

from pipeline.artifact.code import ROOT
from pipeline.artifact.manifest import RECORD, read_manifest, write_manifest
from pipeline.evaluate.measures import MIXTURE
from pipeline.manage import board, run
from pipeline.manage.checkpoints import newest_checkpoint
from pipeline.manage.ending import ending
from pipeline.manage.queue import comment_of, jobs_here
from pipeline.manage.run import read_run
from pipeline.manage.status import Status, look
from pipeline.manage.tail import last_rows
from pipeline.train import checkpoints
from pipeline.train.outcome import OUTCOME
from pipeline.train.task import LAUNCH

STEPS = 40
"""Of the small project's stage."""


def states(workplace: Any) -> dict[str, str]:
    return {one.name: one.state for one in look(workplace.graph).artifacts}


def status_of(workplace: Any, name: str) -> Status:
    return next(one for one in look(workplace.graph).artifacts if one.name == name)


def shown(workplace: Any, width: int = 80) -> str:
    console = Console(width=width, color_system=None, record=True, file=open(os.devnull, "w"))  # noqa: SIM115, PTH123
    board.show(console, look(workplace.graph))
    return console.export_text()


def logged(count: int) -> Any:
    """Whether a run has logged so many steps."""
    return lambda folder: len(last_rows(folder / "run/metrics.jsonl")) >= count


def test_what_is_made_is_done_and_tells_what_came_out(workplace: Any) -> None:
    assert set(states(workplace).values()) == {"done"}
    assert status_of(workplace, "train/small").about.startswith("40 steps, ")
    assert status_of(workplace, "evaluate/small").about.endswith(" bits per byte; gate passed")
    text = shown(workplace)
    count = len(workplace.graph.nodes)
    assert f"{count} of {count} artifacts are done" in " ".join(text.split())
    assert [line.split() for line in text.splitlines() if line.startswith("tokens/*")] == [
        ["tokens/*", "done", "all", "3"]
    ]


def test_a_gate_that_did_not_pass_is_told(workplace: Any) -> None:
    folder = workplace.results / "evaluate/small"
    record = read_manifest(folder / RECORD)
    gate = {"passed": False, "reasons": ["2.9 bits per byte, more than 2.5"]}
    write_manifest(folder, RECORD, record.model_copy(update={"counts": {**record.counts, "gate": gate}}))
    assert "gate not passed: 2.9 bits per byte, more than 2.5" in status_of(workplace, "evaluate/small").about


def test_what_is_not_made_can_start_or_waits(workplace: Any) -> None:
    workplace.lose("mixture/small", "shards/small/0000", "train/small", "evaluate/small")
    found = states(workplace)
    assert found["mixture/small"] == "not made"
    assert found["train/small"] == "waits"
    assert status_of(workplace, "evaluate/small").about == "for train/small and 1 more"
    assert found["tokens/docstrings/0000"] == "done"


def test_nothing_made_at_all_is_told_too(workplace: Any) -> None:
    workplace.lose(*workplace.graph.nodes)
    assert set(states(workplace).values()) == {"not made", "waits"}
    assert "0 of 15" in shown(workplace)


def test_what_is_stale_says_why(workplace: Any) -> None:
    workplace.change_training(lr=0.002)
    train = status_of(workplace, "train/small")
    assert (train.state, train.about) == ("stale", "training.lr: 0.004 -> 0.002")
    assert status_of(workplace, "export/small").state == "stale"
    assert "training.lr: 0.004 -> 0.002" in shown(workplace)


def test_one_line_counts_the_states_of_many_blocks(workplace: Any) -> None:
    workplace.lose("tokens/docstrings/0000")
    (line,) = (line for line in shown(workplace).splitlines() if line.startswith("tokens/*"))
    assert line.split() == ["tokens/*", "not", "made", "1", "not", "made,", "2", "done;", "docstrings/0000"]


def test_a_step_at_work_is_running_and_is_not_disturbed(workplace: Any) -> None:
    hold = (
        "import sys; from pathlib import Path; from pipeline.artifact.lock import exclusive\n"
        "with exclusive(Path(sys.argv[1]), 'tokens/docstrings/0000'):\n"
        "    print('held', flush=True); sys.stdin.readline()"
    )
    command = [sys.executable, "-c", hold, str(workplace.results)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    one = status_of(workplace, "tokens/docstrings/0000")
    assert (one.state, one.about) == ("running", f"process {process.pid} on {os.uname().nodename}")
    assert states(workplace)["tokens/python_code/0000"] == "done"
    process.communicate("\n")
    assert process.returncode == 0
    assert states(workplace)["tokens/docstrings/0000"] == "done"


def test_a_run_is_followed_while_it_trains_and_after_it_was_killed(workplace: Any) -> None:
    workplace.lose("train/small")
    process = workplace.freeze_training(lambda folder: has_checkpoint(8)(folder) and logged(10)(folder))
    try:
        one = status_of(workplace, "train/small")
        (trained,) = one.runs
        assert one.state == "running"
        assert one.about.startswith(f"process {process.pid} on {os.uname().nodename}")
        assert trained.trains
        assert trained.holder is not None
        assert trained.holder.pid == process.pid
        assert (trained.steps, trained.attempts, trained.ended) == (STEPS, 1, None)
        assert 10 <= trained.step < STEPS
        rows = last_rows(workplace.building() / "run/metrics.jsonl")
        assert trained.loss == rows[-1]["next_token"]
        assert trained.smoothed_loss == pytest.approx(sum(row["next_token"] for row in rows) / len(rows))
        assert trained.smoothed_over == len(rows)
        mean = sum(row["seconds"] for row in rows) / len(rows)
        assert trained.seconds_left == pytest.approx(mean * (STEPS - len(rows)))
        assert trained.tokens_per_second in [row["tokens_per_second"] for row in rows] or len(rows) % 2 == 0
        assert trained.checkpoint is not None
        assert trained.checkpoint.step in (8, 12, 16, 20, 24, 28, 32, 36)
        assert 0 <= trained.checkpoint.age_seconds < 60
        assert trained.validation is not None
        assert trained.validation.bits_per_byte > 0
        text = shown(workplace)
        assert f"step {trained.step} of {STEPS}" in text
        assert f"process {process.pid} on {os.uname().nodename} trains it" in text
    finally:
        end(process)
    one = status_of(workplace, "train/small")
    (left,) = one.runs
    assert (one.state, one.about) == ("unfinished", f"goes on after step {trained.checkpoint.step}")
    assert not left.trains
    assert left.ended == "it ended without a word: it was killed, or its log tells an error"
    assert f"process {process.pid} on {os.uname().nodename} held it and is gone" in shown(workplace)


def test_a_stopped_run_says_what_stopped_it(workplace: Any) -> None:
    workplace.lose("train/small")
    process = workplace.freeze_training(logged(6))
    process.send_signal(signal.SIGUSR1)
    process.send_signal(signal.SIGCONT)
    process.communicate(timeout=120)
    (stopped,) = status_of(workplace, "train/small").runs
    assert stopped.checkpoint is not None
    assert stopped.ended == f"stopped by SIGUSR1 after step {stopped.checkpoint.step}"
    assert "nobody trains it now" in shown(workplace)
    process = workplace.freeze_training(lambda folder: (folder / "run/history.jsonl").read_text().count('"start"') == 2)
    try:
        (again,) = status_of(workplace, "train/small").runs
        assert (again.attempts, again.ended) == (2, stopped.ended)
        assert again.trains
    finally:
        end(process)


def test_runs_of_other_settings_are_shown_only_while_they_train_or_while_it_is_not_known(workplace: Any) -> None:
    workplace.lose("train/small")
    process = workplace.freeze_training(logged(2))
    other = workplace.building().name
    workplace.change_training(lr=0.002)
    try:
        (trained,) = status_of(workplace, "train/small").runs
        assert (trained.is_current, trained.steps, trained.folder) == (False, None, other)
        assert states(workplace)["train/small"] == "running"
        assert f"train/small (in {other})" in shown(workplace)
    finally:
        end(process)
    assert status_of(workplace, "train/small").runs == ()
    workplace.drop_domain("language_reference")  # now nobody knows yet what training is of
    assert [one.folder for one in status_of(workplace, "train/small").runs] == [other]
    assert states(workplace)["train/small"] == "waits"


def test_damaged_run_folders_break_nothing(workplace: Any) -> None:
    workplace.lose("train/small")
    folder = workplace.results / f"train/small.building-{workplace.graph.planned('train/small').run[:12]}"
    folder.mkdir(parents=True)
    assert states(workplace)["train/small"] == "not made"
    (folder / "run").mkdir()
    (folder / "run/step-000000004").mkdir()
    (folder / "run/step-x").mkdir()
    (folder / "run/step-x/complete.json").write_text("{}")
    for name in ("lease.json", "history.jsonl", "metrics.jsonl", "validation.jsonl", f"{LAUNCH}abc/{OUTCOME}"):
        (folder / "run" / name).parent.mkdir(exist_ok=True)
        (folder / "run" / name).write_bytes(b'{"step": 3, "event": "start"}\n[1]\n{"step": "x"}\n\xff\x00\n{"st')
    (one,) = status_of(workplace, "train/small").runs
    assert (one.step, one.loss, one.checkpoint, one.attempts, one.holder) == (3, None, None, 1, None)
    assert "step 3 of 40" in shown(workplace)


def test_what_several_processes_told_as_they_ended_is_told(tmp_path: Path) -> None:
    history = [{"event": "start", "step": 4, "time": "2026-01-01T00:00:00+00:00"}]
    outcome = tmp_path / f"{LAUNCH}abc" / OUTCOME
    outcome.parent.mkdir()
    outcome.write_text(json.dumps({"kind": "died", "rank": 1, "size": 2, "host": "n1", "code": -9}))
    assert ending(tmp_path, history, goes_on=False) == "process 1 of 2 on n1 died (exit code -9)"
    assert ending(tmp_path, history, goes_on=True) is None
    outcome.write_text(json.dumps({"kind": "TrainingError", "message": "step 7: not finite"}))
    assert ending(tmp_path, history, goes_on=False) == "step 7: not finite"
    os.utime(outcome, (0, 0))  # of an attempt before
    assert (
        ending(tmp_path, history, goes_on=False) == "it ended without a word: it was killed, or its log tells an error"
    )
    history.append({"event": "requeue", "step": 9})
    assert ending(tmp_path, history, goes_on=False) == "queued again by Slurm after step 9"


def test_only_the_end_of_a_long_log_is_read(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(json.dumps({"step": step}) + "\n" for step in range(1000)))
    assert [row["step"] for row in last_rows(path, most_bytes=45)] == [997, 998, 999]
    assert len(last_rows(path)) == 1000
    assert last_rows(tmp_path / "missing") == []
    assert last_rows(tmp_path) == []


def test_names_are_those_that_training_writes() -> None:
    """The name of the mixture's row is written twice because what writes it needs torch."""
    assert run.MIXTURE == MIXTURE
    assert checkpoints.is_partial(checkpoints.partial_folder(checkpoints.checkpoint_folder(Path("run"), 4)))


def test_the_newest_checkpoint_is_the_last_that_is_complete(tmp_path: Path) -> None:
    assert newest_checkpoint(tmp_path) is None
    for step in (4, 8, 12):
        checkpoints.checkpoint_folder(tmp_path, step).mkdir()
    for step in (4, 8):
        (checkpoints.checkpoint_folder(tmp_path, step) / "complete.json").touch()
    newest = newest_checkpoint(tmp_path)
    assert newest is not None
    assert newest.step == 8
    assert read_run(tmp_path.parent, None, True).begun is False


def squeue(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Put a program called squeue before all others."""
    path = folder / "bin/squeue"
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{path.parent}{os.pathsep}{os.environ['PATH']}")


def test_jobs_of_this_folder_stand_beside_their_steps(
    workplace: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workplace.lose("shards/small/0000", "train/small")
    lines = [
        f"11|PENDING|rule_train_wildcards_small|(Priority)|2026-01-02T03:04:05|{Path.cwd()}",
        f"12|RUNNING|rule_pack_wildcards_small_0000|node7|2026-01-02T03:04:05|{Path.cwd()}",
        f"13|PENDING|rule_other|(Resources)|N/A|{Path.cwd()}",
        "14|PENDING|rule_train_wildcards_small|(Priority)|N/A|/elsewhere",
    ]
    squeue(tmp_path, monkeypatch, "\n".join(f"echo '{line}'" for line in lines))
    train = status_of(workplace, "train/small")
    assert train.state == "queued"
    assert train.about == "job 11 pending (Priority), starts about 2026-01-02T03:04:05"
    pack = status_of(workplace, "shards/small/0000")
    assert (pack.state, pack.about) == ("running", "job 12 running node7")
    assert [job.id for job in look(workplace.graph).other_jobs] == ["13"]
    text = shown(workplace)
    assert text.count("job 11 pending") == 1
    assert "(other job)" in text


@pytest.mark.parametrize("script", ["echo refused >&2; exit 1", "echo 'no bars at all'", ""])
def test_a_squeue_that_does_not_answer_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    squeue(tmp_path, monkeypatch, script)
    assert jobs_here(Path.cwd()) == []


def test_without_slurm_there_are_no_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert jobs_here(Path.cwd()) == []


def test_a_comment_names_the_rule_and_its_wildcards(workplace: Any) -> None:
    """As the executor of Snakemake writes it; in tests/workflow/slurm it does."""
    names = {name: comment_of(node) for name, node in workplace.graph.nodes.items()}
    assert names["tokenizer"] == "rule_tokenizer"
    assert names["raw/docstrings/0000"] == "rule_download_wildcards_docstrings_0000"
    assert names["shards/small/validation"] == "rule_validation_wildcards_small"
    assert names["shards/small/0000"] == "rule_pack_wildcards_small_0000"


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "pipeline", "status", *map(str, arguments)]


def test_the_command_prints_a_table_or_json_without_torch(workplace: Any) -> None:
    override = f"results={workplace.results}"
    done = subprocess.run(command("--config", override), capture_output=True, text=True, cwd=ROOT, check=True)
    assert max(map(len, done.stdout.splitlines()[1:])) <= 80
    assert "\x1b" not in done.stdout
    code = (
        "import sys; sys.argv[0] = 'pipeline'; import pipeline.__main__ as m\ntry: m.main()\nexcept SystemExit: pass\n"
    )
    code += "print('torch' in sys.modules, file=sys.stderr)"
    json_command = [sys.executable, "-c", code, "status", "--json", "--config", override]
    done = subprocess.run(json_command, capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stderr == "False\n"
    names = [one["name"] for one in json.loads(done.stdout)["artifacts"]]
    assert "train/demo" in names


def test_watching_goes_on_until_interrupted(workplace: Any) -> None:
    watching = command("--config", f"results={workplace.results}", "--watch", 0.2)
    process = subprocess.Popen(watching, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stdout is not None
    seen, deadline = 0, time.monotonic() + 60
    while seen < 2:
        assert time.monotonic() < deadline
        seen += "artifacts are done" in process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=30)
    assert (process.returncode, error) == (0, "")


def test_watching_for_a_program_is_refused(workplace: Any) -> None:
    done = subprocess.run(command("--watch", 1, "--json"), capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("Error: --watch draws for people")
