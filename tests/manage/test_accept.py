"""A person's word stamps what is there with the present identity, and nothing is made again on its account."""

import pytest
from workplace import Workplace

from pipeline.artifact.files import ArtifactError
from pipeline.artifact.lock import exclusive
from pipeline.artifact.manifest import MANIFEST, read_manifest
from pipeline.manage.accept import accept


def test_an_accepted_run_is_as_good_as_new_and_what_follows_stays(workplace: Workplace) -> None:
    before = read_manifest(workplace.results / "train/small" / MANIFEST)
    workplace.change_training(lr=0.1)
    assert len(workplace.graph.running()) == 5
    (stamped,) = accept(workplace.graph, "train/small", "only the name of the rate changed")
    assert workplace.graph.running() == []
    assert stamped == read_manifest(workplace.results / "train/small" / MANIFEST)
    assert stamped.files == before.files
    assert stamped.settings["training"]["lr"] == 0.1
    (accepted,) = stamped.accepted
    assert (accepted.why, accepted.before) == ("only the name of the rate changed", before.fingerprint)
    assert "@" in accepted.who
    workplace.change_training(lr=0.2)
    (again,) = accept(workplace.graph, "train", "and again")
    assert [one.why for one in again.accepted] == ["only the name of the rate changed", "and again"]


@pytest.mark.parametrize(
    ("target", "why", "words"),
    [
        ("train/small", " ", "--reason is empty"),
        ("train/large", "good", "'train/large' is neither an artifact of this workflow nor a step"),
        ("tokenizer", "good", "there is nothing to accept: tokenizer is not stale"),
        ("evaluate/small", "good", "evaluate/small is made of train/small, which is stale or missing itself"),
    ],
)
def test_what_cannot_be_accepted_is_told(workplace: Workplace, target: str, why: str, words: str) -> None:
    workplace.change_training(lr=0.1)
    with pytest.raises(ArtifactError) as refused:
        list(accept(workplace.graph, target, why))
    assert str(refused.value).startswith(words)


def test_what_was_never_made_or_is_damaged_cannot_be_accepted(workplace: Workplace) -> None:
    workplace.change_training(lr=0.1)
    (workplace.results / "train/small/model.safetensors").unlink()
    with pytest.raises(ArtifactError, match=r"train/small: model\.safetensors is missing"):
        list(accept(workplace.graph, "train/small", "good"))
    workplace.lose("train/small")
    with pytest.raises(ArtifactError, match="train/small was never made"):
        list(accept(workplace.graph, "train/small", "good"))


def test_what_is_being_made_cannot_be_accepted(workplace: Workplace) -> None:
    workplace.change_training(lr=0.1)
    with (
        exclusive(workplace.results, "train/small"),
        pytest.raises(ArtifactError, match="is being made at this moment"),
    ):
        list(accept(workplace.graph, "train/small", "good"))
