"""What a study is, and the studies of the book."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from lth_utils import lottery, tasks
from lth_utils.errors import look_up
from lth_utils.store import Store
from lth_utils.tasks import Task


@dataclass(frozen=True)
class Study:
    """A task with treatments, levels and replicates, run once and recorded.

    Attributes:
        name: names the files in ``data/results``.
        title: one line for readers.
        task: the task at the paper's scale.
        changes: what was changed from the paper's settings, by attribute; recorded with the
            result, so that every figure can say it.
        options: passed on to :func:`lth_utils.imp`.
        minutes: what to expect on two CPU cores.
        scale: the scale that is recorded. ``"live"`` records what readers' own runs should give,
            on the embedded data.
    """

    name: str
    title: str
    task: Task
    changes: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    minutes: int = 10
    scale: str = "paper"

    def prepared(self, scale: str | None = None, as_published: bool = False) -> Task:
        """The task at the study's scale with its changes; at another scale, that scale's alone.

        With ``as_published`` nothing is changed from the paper's settings, which wants a GPU.
        """
        if scale not in (None, self.scale):
            return self.task.at(scale)
        if self.scale == "live":
            return replace(self.task.at("live"), dataset=self.task.embedded)
        changes = {} if as_published else dict(self.changes)
        recipe = replace(self.task.recipe, **changes.pop("recipe", {}))
        return replace(self.task, recipe=recipe, **changes)

    def predict(
        self, as_published: bool = False, levels: int | None = None, store: Store | None = None
    ) -> float:
        """Seconds that recording the study will take here; what is stored already takes none."""
        task = self.prepared(as_published=as_published)
        return lottery.predict(task, levels, store=store, **self.options)


STUDIES = {
    study.name: study
    for study in (
        Study(
            name="lenet-mnist",
            title="Winning tickets, fresh weights and random masks",
            task=tasks.LENET_MNIST,
            changes={"recipe": {"duration": "12000it"}, "levels": 18},
            options={"treatments": ("ticket", "reinit", "random mask")},
            minutes=100,
        ),
        Study(
            name="lenet-mnist-finetune",
            title="Pruning a trained network, and training on",
            task=tasks.LENET_MNIST,
            changes={"recipe": {"duration": "6000it"}, "levels": 12},
            options={"treatments": ("fine-tune",)},
            minutes=15,
        ),
        Study(
            name="lenet-mnist-longer",
            title="The control for it: the dense network, trained on without pruning",
            task=tasks.LENET_MNIST,
            changes={"recipe": {"duration": "6000it"}, "levels": 4},
            options={"treatments": ("fine-tune",), "fractions": 0.0},
            minutes=4,
        ),
        Study(
            name="lenet-mnist-live",
            title="What a reader's own run of Winning tickets should give",
            task=tasks.LENET_MNIST,
            # Other seeds than the readers': a band must not have seen what it is to contain.
            options={"treatments": ("ticket", "reinit", "random mask"), "seeds": range(100, 110)},
            minutes=2,
            scale="live",
        ),
    )
}


def by_name(name: str) -> Study:
    """The study called ``name``; an :class:`.InputError` lists those known."""
    return look_up("study", name, STUDIES)
