import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.artifact.artifact import Artifact
from pipeline.artifact.files import ArtifactError
from pipeline.artifact.fingerprint import Identity
from pipeline.artifact.manifest import MANIFEST, RECORD, Manifest, read_manifest
from pipeline.artifact.publish import aside_folder, building_folder
from pipeline.artifact.step import EXPENSIVE_SECONDS

Make = Callable[..., Manifest]


def test_a_step_that_ran_is_not_run_again(make: Make, tmp_path: Path) -> None:
    first = make("a", {"x": "1"})
    (tmp_path / "a" / MANIFEST).unlink()  # as Snakemake does before a job
    assert make("a", {"x": "1"}) == first
    assert len(make.runs) == 1
    assert read_manifest(tmp_path / "a" / MANIFEST) == first


def test_other_settings_build_again_and_replace_what_was_there(make: Make, tmp_path: Path) -> None:
    make("a", {"x": "1"})
    make("a", {"x": "2"})
    assert (tmp_path / "a" / "x").read_text() == "2"
    assert sorted(path.name for path in tmp_path.iterdir() if not path.name.startswith(".")) == ["a"]


def test_a_step_that_fails_leaves_the_old_artifact(make: Make, tmp_path: Path) -> None:
    make("a", {"x": "1"})
    with pytest.raises(TypeError):
        make("a", {"x": 2})
    assert (tmp_path / "a" / "x").read_text() == "1"
    assert make("a", {"x": "1"})
    assert len(make.runs) == 2


def test_an_input_of_equal_content_leaves_the_next_step_alone(make: Make, tmp_path: Path) -> None:
    make("a", {"x": "1"})
    make("b", {"y": "2"}, ("a",))
    make("a", {"x": "1"}, settings={"another": "way", "texts": {}})
    make("b", {"y": "2"}, ("a",))
    assert [name for name, _ in make.runs] == ["a", "b", "a"]


def test_an_input_of_other_content_runs_the_next_step(make: Make) -> None:
    make("a", {"x": "1"})
    make("b", {"y": "2"}, ("a",))
    make("a", {"x": "3"})
    make("b", {"y": "2"}, ("a",))
    assert [name for name, _ in make.runs] == ["a", "b", "a", "b"]


@pytest.mark.parametrize("harm", ["delete", "shorten", "flip"])
def test_only_the_damaged_file_is_made_again(make: Make, tmp_path: Path, harm: str) -> None:
    make("a", {"x": "one", "y": "two"}, keeps=True)
    kept = (tmp_path / "a" / "y").stat().st_ino
    if harm == "delete":
        (tmp_path / "a" / "x").unlink()
    else:
        (tmp_path / "a" / "x").write_text("o" if harm == "shorten" else "onE")
    make("a", {"x": "one", "y": "two"}, keeps=True)
    assert make.runs[-1] == ("a", frozenset({"y"}))
    assert (tmp_path / "a" / "x").read_text() == "one"
    assert (tmp_path / "a" / "y").stat().st_ino == kept


def test_a_run_that_resumes_finds_its_working_data_also_under_other_code(make: Make, tmp_path: Path) -> None:
    with pytest.raises(TypeError):
        make("a", {"run/log": "so far", "x": 2}, resumes=True)
    (building,) = tmp_path.glob("a.building-*")
    assert (building / "run/log").read_text() == "so far"
    again = make(
        "a",
        {"x": "1"},
        resumes=True,
        settings={"texts": {"run/log": "so far", "x": 2}},
        module="pipeline.artifact.files",
    )
    assert (tmp_path / "a" / "run/log").read_text() == "so far"
    assert [entry.path for entry in again.files] == ["x"]  # working data are no part of the artifact


def test_a_step_that_does_not_resume_begins_with_an_empty_folder(make: Make, tmp_path: Path) -> None:
    with pytest.raises(TypeError):
        make("a", {"half": "written", "x": 2})
    made = make("a", {"x": "1"}, settings={"texts": {"half": "written", "x": 2}})
    assert [entry.path for entry in made.files] == ["x"]


def test_old_runs_are_kept_aside_and_found_again(make: Make, tmp_path: Path) -> None:
    first = make("a", {"x": "1"}, resumes=True)
    make("a", {"x": "2"}, resumes=True)
    assert (aside_folder(tmp_path / "a", first.fingerprint) / "x").read_text() == "1"
    assert make("a", {"x": "1"}, resumes=True) == first
    assert len(make.runs) == 2


def make_it_expensive(folder: Path, told_in: str = "cost") -> None:
    for name in (MANIFEST, RECORD):
        data = json.loads((folder / name).read_text())
        data[told_in]["seconds"] = EXPENSIVE_SECONDS + 1
        (folder / name).write_text(json.dumps(data))


def test_an_expensive_run_is_rebuilt_only_when_asked(make: Make, tmp_path: Path) -> None:
    make("a", {"x": "1"}, resumes=True)
    make_it_expensive(tmp_path / "a")
    with pytest.raises(ArtifactError, match=r"took 1\.0 hours.*texts\.x: \"1\" -> \"2\".*accept a.*rebuild=a"):
        make("a", {"x": "2"}, resumes=True)
    with pytest.raises(ArtifactError, match=r"code of pipeline/artifact/\w+\.py"):
        make("a", {"x": "1"}, resumes=True, module="pipeline.artifact.files")
    make("a", {"x": "2"}, resumes=True, rebuild=True)
    assert (tmp_path / "a" / "x").read_text() == "2"


def test_a_run_whose_last_attempt_was_short_is_as_expensive_as_all_of_them(make: Make, tmp_path: Path) -> None:
    make("a", {"x": "1"}, resumes=True)
    make_it_expensive(tmp_path / "a", "counts")
    with pytest.raises(ArtifactError, match=r"took 1\.0 hours"):
        make("a", {"x": "2"}, resumes=True)


def test_a_broken_record_of_a_run_is_an_error_and_no_reason_to_train_again(make: Make, tmp_path: Path) -> None:
    make("a", {"x": "1"}, resumes=True)
    (tmp_path / "a" / RECORD).write_text("{")
    with pytest.raises(ArtifactError, match=r"a/artifact\.json is no JSON .*; delete it and run its step again"):
        make("a", {"x": "1"}, resumes=True)
    (tmp_path / "a" / RECORD).unlink()
    make("a", {"x": "1"}, resumes=True)
    assert (tmp_path / "a.aside-unrecorded" / "x").read_text() == "1"


def test_a_manifest_outside_the_results_is_refused(make: Make, tmp_path: Path) -> None:
    for output in (tmp_path / "elsewhere" / MANIFEST, tmp_path / MANIFEST, tmp_path / "results/a/other.json"):
        with pytest.raises(
            ArtifactError, match=r"is no manifest below .*results; write .*results/<name>/manifest\.json"
        ):
            make("a", {"x": "1"}, results=tmp_path / "results", output=output)


def test_results_may_be_spread_over_disks_by_links(make: Make, tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "train").symlink_to(tmp_path / "disk")
    made = make("train/a", {"x": "1"})
    assert made.name == "train/a"
    assert (tmp_path / "disk" / "a" / "x").read_text() == "1"


def test_a_sealed_folder_that_was_not_swapped_in_is_swapped_in(make: Make, tmp_path: Path) -> None:
    made = make("a", {"x": "1"})
    run = Identity("example", {"texts": {"x": "1"}}, {}, ()).run
    (tmp_path / "a").rename(building_folder(tmp_path / "a", run))  # killed between sealing and swapping in
    assert make("a", {"x": "1"}) == made
    assert len(make.runs) == 1


def test_a_kill_while_a_damaged_run_is_reopened_loses_nothing(make: Make, tmp_path: Path) -> None:
    make("a", {"x": "1", "run/state": "kept"}, resumes=True)
    (tmp_path / "a" / "x").unlink()
    run = Identity("example", {"texts": {"x": "1", "run/state": "kept"}}, {}, ()).run
    (tmp_path / "a").rename(building_folder(tmp_path / "a", run))  # killed right after the first rename
    make("a", {"x": "1", "run/state": "kept"}, resumes=True)
    assert (tmp_path / "a" / "run/state").read_text() == "kept"
    assert sorted(path.name for path in tmp_path.iterdir() if not path.name.startswith(".")) == ["a"]


def test_what_a_killed_write_left_is_no_file_of_the_artifact(make: Make, tmp_path: Path) -> None:
    made = make("a", {"x": "1", "y": "2"}, keeps=True)
    (tmp_path / "a" / f".{RECORD}.4711.tmp").write_text("half")
    (tmp_path / "a" / "x").unlink()
    assert make("a", {"x": "1", "y": "2"}, keeps=True).files == made.files


def test_an_artifact_on_another_disk_can_be_replaced(make: Make, tmp_path: Path) -> None:
    make("a", {"x": "1"})
    (tmp_path / "disk").mkdir()
    (tmp_path / "a").rename(tmp_path / "disk" / "a")
    (tmp_path / "a").symlink_to(tmp_path / "disk" / "a")
    for version in ("2", "3"):
        make("a", {"x": version})
        assert (tmp_path / "a" / "x").read_text() == version
    assert not (tmp_path / "disk" / "a").exists()


def test_a_repair_into_other_bytes_stops_so_that_what_follows_is_made_again(make: Make, tmp_path: Path) -> None:
    settings = {"same": "settings"}
    make("a", {"x": "1"}, settings=settings)
    (tmp_path / "a" / "x").unlink()
    with pytest.raises(ArtifactError, match=r"made again with other bytes.*Run the same command again"):
        make("a", {"x": "2"}, settings=settings)
    assert make("a", {"x": "2"}, settings=settings).files[0].size == 1
    (tmp_path / "a" / "x").unlink()
    make("a", {"x": "3"}, settings=settings, repeatable=False)


def test_a_missing_input_is_a_clear_error(make: Make) -> None:
    with pytest.raises(ArtifactError, match="does not exist; run the step"):
        make("b", {"y": "2"}, ("nowhere",))


KILLED = """
import sys, time
from pathlib import Path
from pipeline.artifact.step import Request, run
results, name, version = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
def builder(build):
    for number in range(40):
        (build.folder / f"{number}").write_text(version * 20_000)
    return {}
run(Request(step="example", module="pipeline.artifact.canonical", settings={"version": version}, inputs=[],
            output=results / name / "manifest.json", results=results), builder)
"""


def test_a_kill_at_any_moment_leaves_the_old_artifact_or_the_new(tmp_path: Path) -> None:
    """Kill a step that replaces an artifact at many moments: what later steps can open is whole, of one version."""

    def start(version: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path), "a", version])

    started = time.monotonic()
    assert start("0").wait() == 0
    whole_run = time.monotonic() - started
    seen = set()
    for attempt in range(1, 25):
        process = start(str(attempt % 10))
        time.sleep(whole_run * (0.4 + 0.7 * attempt / 25))
        process.send_signal(signal.SIGKILL)
        seen.add(process.wait())
        manifest = tmp_path / "a" / MANIFEST
        if not manifest.exists():
            continue
        artifact = Artifact.open(manifest)
        version = artifact.manifest.settings["version"]
        for number in range(40):
            assert artifact.path(f"{number}").read_text() == version * 20_000
    assert -signal.SIGKILL in seen, "at least one of the kills must have hit a running step"
    assert start("x").wait() == 0
    assert Artifact.open(tmp_path / "a" / MANIFEST).manifest.settings == {"version": "x"}
    leftovers = [path.name for path in tmp_path.iterdir() if path.name not in ("a", ".locks")]
    assert leftovers == []


def test_a_second_process_waits_and_then_finds_the_work_done(tmp_path: Path) -> None:
    slow = KILLED.replace("    return {}", "    time.sleep(1.5)\n    print('built', flush=True)\n    return {}")
    command = [sys.executable, "-c", slow, str(tmp_path), "a", "1"]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    outputs: list[Any] = [process.communicate() for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert sorted(out for out, _ in outputs) == ["", "built\n"]
    assert any("is making it; waiting" in err for _, err in outputs)
