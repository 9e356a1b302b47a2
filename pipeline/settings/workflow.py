"""The workflow's configuration: `config/<name>.yaml`."""

import re
from typing import Self

from pydantic import field_validator, model_validator

from pipeline.settings.base import execution
from pipeline.settings.corpus import CorpusSettings, Domain, Validation, embedded_bytes
from pipeline.settings.export import ExportSettings
from pipeline.settings.tokenizer import TokenizerSettings

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


class WorkflowSettings(CorpusSettings):
    """The corpus, the domains and their weights, the tokenizer, the stages, and where results go."""

    domains: dict[str, Domain]
    """The sources of text, by name, with their shares of the training tokens."""
    validation: Validation = Validation()
    """Which documents are kept out of training."""
    tokenizer: TokenizerSettings = TokenizerSettings()
    """The tokenizer."""
    stages: tuple[str, ...]
    """The training stages in order, each described by `<stages_folder>/<stage>.json`."""
    export: ExportSettings = ExportSettings()
    """How the exported folder is written."""
    stages_folder: str = execution("config/stages")
    """Where the stages' files lie."""
    results: str = execution("results")
    """Where everything that is made goes."""
    rebuild: str = execution("")
    """An expensive finished artifact that may be made again, for instance `train/large`."""

    @field_validator("stages")
    @classmethod
    def _stages_are_names(cls, stages: tuple[str, ...]) -> tuple[str, ...]:
        if not stages:
            raise ValueError("there is no stage to train; write at least one, for instance [demo]")
        for stage in stages:
            if not NAME.fullmatch(stage):
                raise ValueError(f"{stage!r} is not a stage's name; use letters, digits, '-' and '_'")
            if stages.count(stage) > 1:
                raise ValueError(f"{stage!r} stands there twice; name each stage once")
        return stages

    @model_validator(mode="after")
    def _domains_fit_the_corpus(self) -> Self:
        for name in self.domains:
            if not NAME.fullmatch(name):
                raise ValueError(f"domains: {name!r} is not a domain's name; use letters, digits, '-' and '_'")
            if self.corpus == "embedded":
                embedded_bytes(name, self.corpus_bytes)
        return self
