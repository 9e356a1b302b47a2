"""A failed job is told with its step, the end of its log and what to do."""

from pathlib import Path

import pytest
from workplace import Workplace, has_checkpoint

from pipeline.manage.diagnosis import Failure, explain, failures

LOG = """
[Tue Nov 24 08:59:48 2026]
Error in rule train:
    message: SLURM-job '40' failed, SLURM status is: 'TIMEOUT'. Detailed failure reason unavailable
    jobid: 13
    output: {results}/train/small/manifest.json
    log: {results}/logs/train/small.log, logs/slurm/rule_train/small/40.log (check log file(s) for error details)
    external_jobid: 40
Trying to restart job 13.
[Tue Nov 24 09:00:48 2026]
Error in rule report:
    jobid: 15
    output: {results}/report/small/manifest.json, {results}/report/small/loss.svg
    shell:
        python -m pipeline report
        (command exited with non-zero exit code)
Finished jobid: 4 (Rule: tokenizer)
    output: {results}/tokenizer/manifest.json
"""


def told(workplace: Workplace, failure: Failure, words: str = "") -> str:
    log = workplace.results / "logs" / f"{failure.name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text(words)
    return "\n".join(explain(workplace.graph, failure))


def test_failures_are_read_from_snakemakes_log(workplace: Workplace) -> None:
    found = failures(LOG.format(results=workplace.results), workplace.graph)
    assert found == [Failure("train/small", "40", "TIMEOUT"), Failure("report/small")]


@pytest.mark.parametrize(
    ("status", "words", "advice"),
    [
        ("OUT_OF_MEMORY", "", "Write a smaller training.micro_batch_size"),
        ("FAILED", "process 1 of 8 was ended by SIGKILL (probably out of memory)", "averages of 0.3 M parameters take"),
        ("TIMEOUT", "", "Its wall time was over."),
        ("NODE_FAIL", "", "Its node was lost."),
        ("CANCELLED", "", "Somebody cancelled it"),
        ("", "Error: training.lr: 'high'", "Mend what the last line says"),
        ("", "Traceback (most recent call last):", "That is an error of the program"),
        ("", "", "It ended without a word"),
    ],
)
def test_each_way_to_fail_has_its_way_on(workplace: Workplace, status: str, words: str, advice: str) -> None:
    text = told(workplace, Failure("train/small", "40" if status else "", status), words)
    assert text.startswith("train/small failed" + (f" (Slurm job 40: {status})" if status else ""))
    assert advice in text
    assert (words or "small.log is empty") in text


def test_the_end_of_a_long_log_is_shown(workplace: Workplace) -> None:
    text = told(workplace, Failure("tokenizer"), "\n".join(f"line {number}" for number in range(100_000)))
    assert "line 99999" in text
    assert "line 99980" not in text


def test_a_run_that_can_continue_says_from_where(workplace: Workplace) -> None:
    workplace.lose("train/small")
    assert "Training continues from its start." in told(workplace, Failure("train/small"))
    workplace.kill_training(has_checkpoint(8))
    text = told(workplace, Failure("train/small"))
    assert "Training continues after step" in text
    assert ", its last checkpoint." in text


def test_another_step_out_of_memory_asks_for_more(workplace: Workplace, tmp_path: Path) -> None:
    assert "--set-resources tokenizer:mem_mb=" in told(workplace, Failure("tokenizer", "1", "OUT_OF_MEMORY"))
