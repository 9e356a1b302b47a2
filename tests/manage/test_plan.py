"""The plan names reasons, cost and reuse, for people and for programs."""

import json
import shutil

import pytest
from workplace import Workplace, has_checkpoint

from pipeline.allocation import Cluster
from pipeline.artifact.manifest import MANIFEST, RECORD
from pipeline.manage.cost import cost_of
from pipeline.manage.plan import as_data, as_text, plan
from pipeline.manage.words import bytes_in_words, seconds_in_words


def text_of(workplace: Workplace) -> str:
    graph = workplace.graph
    return "\n".join(as_text(graph, plan(graph)))


def test_a_finished_workflow_has_nothing_to_do(workplace: Workplace) -> None:
    assert plan(workplace.graph) == []
    assert text_of(workplace).startswith("Nothing to be done: all 15 artifacts")


def test_a_plan_for_programs_holds_old_and_new_values_and_totals(workplace: Workplace) -> None:
    workplace.change_training(lr=0.1)
    graph = workplace.graph
    plain = json.loads(json.dumps(as_data(graph, plan(graph))))
    names = [one["name"] for one in plain["artifacts"]]
    assert names == ["train/small", "evaluate/small", "export/small", "ladder", "report/small"]
    (change,) = plain["artifacts"][0]["changes"]
    assert change == {"kind": "settings", "what": "training.lr", "before": 0.004, "now": 0.1}
    assert plain["artifacts"][1]["because"] == ["train/small"]
    assert plain["jobs"] == dict.fromkeys(("train", "evaluate", "export", "ladder", "report"), 1)
    assert set(plain["unaffected"]) == set(graph.nodes) - set(names)
    assert plain["seconds"] == pytest.approx(sum(one["cost"]["seconds"] for one in plain["artifacts"]))


def test_cost_is_that_of_the_last_run_scaled_by_what_there_is_to_compute(workplace: Workplace) -> None:
    before = cost_of(workplace.graph, "train/small")
    assert before.ground == "as last time"
    assert before.gpu_hours == 0, "it took no GPU"
    workplace.change_training(total_tokens=2 * 20480)
    assert cost_of(workplace.graph, "train/small").seconds == pytest.approx(2 * before.seconds)


def test_cost_of_what_was_never_made_is_that_of_its_like_or_estimated(workplace: Workplace) -> None:
    workplace.lose("raw/docstrings/0000", "train/small")
    graph = workplace.graph
    assert cost_of(graph, "raw/docstrings/0000").ground.startswith("as raw/")
    found = cost_of(graph, "train/small")
    assert found.ground == "estimated"
    assert found.seconds > 0
    assert found.gpu_hours == pytest.approx(found.seconds / 3600), "device: auto takes a GPU"
    assert found.disk_bytes > 0


def test_an_unfinished_run_goes_on_from_its_checkpoint(workplace: Workplace) -> None:
    workplace.lose("train/small")
    workplace.kill_training(has_checkpoint(8))
    assert "an unfinished run goes on from its checkpoint step-00000" in text_of(workplace)


def test_a_copy_that_was_set_aside_is_put_back(workplace: Workplace) -> None:
    record = json.loads((workplace.results / "train/small" / RECORD).read_text())
    (workplace.results / "train/small").rename(workplace.results / f"train/small.aside-{record['fingerprint'][:12]}")
    assert "a whole copy is kept beside it and is put back" in text_of(workplace)


def test_an_expensive_run_is_refused_with_the_ways_on(workplace: Workplace) -> None:
    for name in (MANIFEST, RECORD):
        path = workplace.results / "train/small" / name
        plain = json.loads(path.read_text())
        plain["counts"]["seconds"] = 7200
        path.write_text(json.dumps(plain))
    assert workplace.graph.refusal("train/small") is None, "it is as it should be"
    workplace.change_training(lr=0.1)
    text = text_of(workplace)
    assert "REFUSED: train/small is finished and took 2.0 hours" in text
    assert "accept train/small --reason" in text
    assert "--config rebuild=train/small" in text
    shutil.rmtree(workplace.results / "train/small")
    assert workplace.graph.refusal("train/small") is None, "there is nothing to lose"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.2, "1 s"), (59.6, "1 min"), (195, "3 min 15 s"), (7260, "2 h 1 min"), (90000, "1 day 1 h"), (260000, "3 days")],
)
def test_durations_have_their_two_largest_units(seconds: float, words: str) -> None:
    assert seconds_in_words(seconds) == words


@pytest.mark.parametrize(
    ("size", "words"), [(999, "999 bytes"), (1500, "1.5 kB"), (4.5e12, "4.5 TB"), (9e15, "9,000.0 TB")]
)
def test_sizes_have_decimal_units(size: float, words: str) -> None:
    assert bytes_in_words(size) == words


def test_a_profile_without_a_cluster_names_none() -> None:
    assert Cluster.of({"mem_mb": 1000}) is None
