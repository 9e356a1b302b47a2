from pipeline.artifact.change import Change, changes, code_changes, input_changes, settings_changes, summary
from pipeline.artifact.manifest import Manifest, Source

RECORD = Manifest(
    step="train",
    name="train/one",
    fingerprint="f",
    settings={"training": {"lr": 0.1, "betas": [0.9, 0.95]}, "gone": None},
    code="c",
    code_files={"pipeline/a.py": "1", "pipeline/b.py": "1"},
    inputs=(
        Source(role="shards", artifact="shards/one/0000", content="c", fingerprint="f"),
        Source(role="file", artifact="0:web.json.gz", content="c", fingerprint="c"),
    ),
    files=(),
    counts={},
    cost={},
    versions={},
)


def test_equal_things_have_no_changes() -> None:
    assert changes(RECORD, RECORD.settings, RECORD.code_files, RECORD.inputs) == ()


def test_each_key_that_differs_is_named_by_its_path_with_both_values() -> None:
    now = {"training": {"lr": 0.2, "betas": [0.9, 0.95], "eps": 1}, "gone": None}
    found = list(settings_changes(RECORD.settings, now))
    assert found == [Change("settings", "training.eps", None, 1), Change("settings", "training.lr", 0.1, 0.2)]
    assert [str(change) for change in found] == ["training.eps: null -> 1", "training.lr: 0.1 -> 0.2"]


def test_files_of_code_that_changed_came_or_went_are_named() -> None:
    found = map(str, code_changes(RECORD.code_files, {"pipeline/a.py": "2", "pipeline/c.py": "1"}))
    assert list(found) == [
        "code of pipeline/a.py changed",
        "code of pipeline/b.py is no longer used",
        "code of pipeline/c.py is new",
    ]


def test_inputs_count_by_content_and_the_users_own_files_by_their_names() -> None:
    shard, own = RECORD.inputs
    assert list(input_changes(RECORD.inputs, [own, shard.model_copy(update={"fingerprint": "other"})])) == []
    found = input_changes(RECORD.inputs, [shard, own.model_copy(update={"content": "d"})])
    assert list(map(str, found)) == ["input web.json.gz changed"]
    assert list(map(str, input_changes(RECORD.inputs, [own]))) == ["input shards/one/0000 is no longer used"]


def test_unknown_inputs_are_no_change() -> None:
    assert changes(RECORD, RECORD.settings, RECORD.code_files, None) == ()


def test_a_long_value_is_shortened() -> None:
    (found,) = settings_changes({"files": []}, {"files": ["a" * 100]})
    assert str(found).endswith("...")
    assert len(str(found)) < 100


def test_a_summary_shows_the_first_few_of_each_kind() -> None:
    files = [Change("code", f"{number}.py", "1", "2") for number in range(5)]
    assert summary([Change("settings", "lr", 1, 2), *files]) == (
        "lr: 1 -> 2; code of 0.py changed; code of 1.py changed; code of 2.py changed and 2 more"
    )
    assert summary([]) == ""
