from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.artifact.build import Build
from pipeline.artifact.manifest import MANIFEST, Manifest
from pipeline.artifact.step import Request, run


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Manifest]:
    """Run a step for real; its builder writes the given texts and counts how often it ran in `make.runs`."""

    def make(name: str, texts: dict[str, str], inputs: tuple[str, ...] = (), **fields: Any) -> Manifest:
        def builder(build: Build) -> dict[str, Any]:
            make.runs.append((name, build.kept))  # type: ignore[attr-defined]
            for path, text in texts.items():
                if path not in build.kept:
                    (build.folder / path).parent.mkdir(parents=True, exist_ok=True)
                    (build.folder / path).write_text(text)
            return {"files": len(texts)}

        request = {
            "step": "example",
            "module": "pipeline.artifact.canonical",
            "settings": {"texts": texts},
            "inputs": [("input", tmp_path / one / MANIFEST) for one in inputs],
            "output": tmp_path / name / MANIFEST,
            "results": tmp_path,
        }
        return run(Request(**{**request, **fields}), builder)

    make.runs = []  # type: ignore[attr-defined]
    return make
