"""Checkpoints: whole or absent, checked before use, and enough to go on exactly."""

import json
import resource
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.artifact.files import ArtifactError, sha256_of
from pipeline.train.checkpoint import (
    Position,
    load_checkpoint,
    newest_whole,
    prune_checkpoints,
    read_checkpoint,
    save_checkpoint,
)
from pipeline.train.checkpoints import COMPLETE, checkpoint_folder, checkpoints

SETTINGS = {"training": {"lr": 0.1, "seed": 0}}
TENSORS = "model-00001-of-00001.safetensors"


def _state(value: float = 1.0) -> dict[str, Any]:
    return {"model": {"a.weight": torch.full((64, 64), value), "b": torch.zeros(3)}, "random": {"cpu": torch.ones(2)}}


def _save(folder: Path, step: int, settings: dict[str, Any] = SETTINGS) -> Path:
    path = checkpoint_folder(folder, step)
    save_checkpoint(path, _state(step), Position(step, 4 * step, 256 * step, 1, 2), settings)
    return path


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    saved = read_checkpoint(_save(tmp_path, 7))
    state = _state(0)
    assert load_checkpoint(saved, state, SETTINGS) == Position(7, 28, 1792, 1, 2)
    assert torch.equal(state["model"]["a.weight"], torch.full((64, 64), 7.0))
    assert [path.name for path in tmp_path.iterdir()] == ["step-000000007"]


def test_tensors_that_are_no_longer_wanted_are_left_alone(tmp_path: Path) -> None:
    """Earlier versions saved the state of the random generators, which is not needed any more."""
    saved = read_checkpoint(_save(tmp_path, 7))
    state = _state(0)
    del state["random"]
    assert load_checkpoint(saved, state, SETTINGS).step == 7
    assert torch.equal(state["model"]["a.weight"], torch.full((64, 64), 7.0))


def test_equal_states_make_equal_files_without_pickles(tmp_path: Path) -> None:
    folders = [_save(tmp_path / str(number), 3) for number in range(8)]
    names = sorted(path.name for path in folders[0].iterdir())
    assert all(name.endswith((".safetensors", ".json")) for name in names), names
    assert len({tuple(sha256_of(folder / name) for name in names) for folder in folders}) == 1


def _flip_a_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


@pytest.mark.parametrize("damage", [_flip_a_byte, _cut, Path.unlink])
@pytest.mark.parametrize("name", [TENSORS, COMPLETE])
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_used(
    tmp_path: Path, damage: Callable[[Path], None], name: str
) -> None:
    for step in (3, 6):
        _save(tmp_path, step)
    broken = tmp_path / "step-000000006" / name
    if name == COMPLETE and damage is _flip_a_byte:
        broken.write_text(broken.read_text().replace('"position"', '"Position"'))
    else:
        damage(broken)
    said: list[str] = []
    saved = newest_whole(checkpoints(tmp_path), said.append)
    assert saved is not None
    assert saved.position.step == 3
    (sentence,) = said
    assert str(broken) in sentence
    assert "missing or damaged" in sentence


def test_no_whole_checkpoint_is_none(tmp_path: Path) -> None:
    (_save(tmp_path, 3) / TENSORS).unlink()
    said: list[str] = []
    assert newest_whole(checkpoints(tmp_path), said.append) is None
    assert len(said) == 1


def test_a_checkpoint_of_other_settings_is_refused_by_their_names(tmp_path: Path) -> None:
    saved = read_checkpoint(_save(tmp_path, 3, {"training": {"lr": 0.2, "seed": 0}}))
    with pytest.raises(ArtifactError, match=r"step-000000003 is a checkpoint of other settings \(training\.lr\)"):
        load_checkpoint(saved, _state(), SETTINGS)


@pytest.mark.parametrize("tensors", [{"c": torch.zeros(3)}, {"b": torch.zeros(4)}])
def test_a_checkpoint_with_other_tensors_is_refused(tmp_path: Path, tensors: dict[str, torch.Tensor]) -> None:
    saved = read_checkpoint(_save(tmp_path, 3))
    state = _state()
    state["model"].update(tensors)
    with pytest.raises(ArtifactError, match="holds other tensors than this version trains"):
        load_checkpoint(saved, state, SETTINGS)


@contextmanager
def _largest_file(size: int) -> Iterator[None]:
    """A disk that takes no more than this of a file."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_checkpoint_that_does_not_fit_leaves_nothing_and_says_where(tmp_path: Path) -> None:
    _save(tmp_path, 3)
    with pytest.raises(ArtifactError, match=r"step-000000006 cannot be written \(.*make room"), _largest_file(4096):
        _save(tmp_path, 6)
    assert [path.name for path in tmp_path.iterdir()] == ["step-000000003"]
    assert read_checkpoint(checkpoint_folder(tmp_path, 3)).position.step == 3


def test_what_a_kill_left_half_written_is_no_checkpoint_and_goes_away(tmp_path: Path) -> None:
    whole = _save(tmp_path, 3)
    shutil.copytree(whole, tmp_path / ".step-000000006.partial")
    assert checkpoints(tmp_path) == [whole]
    prune_checkpoints(whole, keep_last=1)
    assert [path.name for path in tmp_path.iterdir()] == ["step-000000003"]


@pytest.mark.parametrize(("keep_last", "left"), [(1, [9, 12]), (2, [6, 9, 12]), (5, [3, 6, 9, 12])])
def test_the_newest_are_kept_and_a_damaged_later_one_never_pushes_them_out(
    tmp_path: Path, keep_last: int, left: list[int]
) -> None:
    for step in (3, 6, 9, 12):
        _save(tmp_path, step)
    prune_checkpoints(checkpoint_folder(tmp_path, 9), keep_last)
    assert [read_checkpoint(path).position.step for path in checkpoints(tmp_path)] == left


def test_times_are_no_part_of_it(tmp_path: Path) -> None:
    complete = json.loads((_save(tmp_path, 3) / COMPLETE).read_text())
    assert sorted(complete) == ["files", "position", "settings"]
    assert sorted(complete["position"]) == ["samples", "skipped", "skipped_in_a_row", "step", "tokens"]
