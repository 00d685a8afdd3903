"""The settings of each task, and the limits that they have to keep.

A path that is relative lies in the job's own folder. Settings are checked when a job is added, written to its
settings.json, and checked again by the process that reads them there. What they leave to the base, that process alone
knows: it checks the limits once more when it has the base.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import PydanticCustomError

from lorastyle.errors import BadInput
from lorastyle.recipe import Recipe

Text = Annotated[str, Field(min_length=1)]
Strength = Annotated[float, Field(ge=-10, le=10)]
Strengths = Annotated[dict[Text, Strength], Field(min_length=1)]
Seed = Annotated[int, Field(ge=0, le=2**63 - 1)]
Steps = Annotated[int, Field(ge=1, le=1000)]  # of denoising
Guidance = Annotated[float, Field(ge=0, le=100)]
Rank = Annotated[int, Field(ge=1, le=512)]
UPLOAD = "upload"  # the folder, in the job's own, of a file that is called as its owner calls it
FILE_NAMES = "file names"  # the captioner that needs no model
_REPO = re.compile(r"[A-Za-z0-9](?:[\w.-]*\w)?/[A-Za-z0-9](?:[\w.-]{0,94}\w)?(?<!\.git)")
_COUNTED = {
    "steps": "steps",
    "rank": "dimensions of rank",
    "resolution": "pixels of resolution",
    "prompt_characters": "characters in a prompt",
    "pictures": "pictures at once",
}


@dataclass(frozen=True)
class Limits:
    """What one job may ask for at most, and how many jobs of one owner may wait."""

    steps: int = 100_000
    rank: int = 512
    resolution: int = 2048
    prompt_characters: int = 2000
    pictures: int = 256
    queued: int = 100

    def check(self, name: str, value: int, where: str) -> None:
        """Raise BadInput where `value` is above the limit `name`."""
        most = getattr(self, name)
        if value > most:
            raise BadInput(
                where, f"{value} is more than the {most} {_COUNTED[name]} allowed here", f"choose at most {most}"
            )

    def check_prompts(self, prompts: list[str] | tuple[str, ...], where: str) -> None:
        self.check("prompt_characters", max(map(len, prompts), default=0), where)
        self.check("pictures", len(prompts), where)

    def check_recipe(self, recipe: Recipe) -> None:
        """Raise BadInput where what the recipe says is above a limit; it says everything once it is resolved."""
        for name in ("rank", "resolution", "steps"):
            if name in recipe.model_fields_set:
                self.check(name, getattr(recipe, name) or 0, f"recipe.{name}")
        self.check("rank", max(recipe.ranks.values(), default=0), "recipe.ranks")
        self.check_prompts(recipe.preview_prompts, "recipe.preview_prompts")


class Task(BaseModel):
    """What all tasks share."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, validate_default=True, allow_inf_nan=False)

    def within(self, limits: Limits) -> None:
        """Raise BadInput where the job asks for more than `limits`."""

    def reads(self) -> list[tuple[str, str]]:
        """What must be there: the name of each setting that holds a path, and the path."""
        return []


class _OnData(Task):
    data: Text
    base: Text = "pocket"
    recipe: dict[str, Any] = {}
    start: str = ""

    def within(self, limits: Limits) -> None:
        limits.check_recipe(Recipe(**self.recipe))

    def reads(self) -> list[tuple[str, str]]:
        return [("data", self.data), *([("start", self.start)] if self.start else [])]


class Train(_OnData):
    """Train an adapter on the folder `data` into the folder `out`; `start` is an adapter to go on from, "" for none."""

    out: Text = "run"


class Probe(_OnData):
    """Measure a few steps and say what the whole training will take."""


class Describe(Task):
    """Say what a form must know of a base: its family, sizes and presets."""

    base: Text = "pocket"


class Caption(Task):
    """Describe images (name: file) in words.

    `called` is what a person calls them, by name. Where `dataset` names a dataset of the owner, in which the names are
    those of its images, captions are offered to it as they come; it takes them for those that have none.
    """

    images: Annotated[dict[Text, Text], Field(min_length=1)]
    called: dict[str, str] = {}
    captioner: Text = FILE_NAMES
    prompt: str = ""
    dataset: str = ""

    def within(self, limits: Limits) -> None:
        limits.check_prompts([self.prompt], "caption.prompt")

    def reads(self) -> list[tuple[str, str]]:
        return [("images", path) for path in self.images.values()]


class Generate(Task):
    """Draw one picture for each prompt, all with the same adapters (file: strength)."""

    base: Text = "pocket"
    prompts: Annotated[list[Text], Field(min_length=1)]
    adapters: dict[Text, Strength] = {}
    negative: str = ""
    seed: Seed = 0
    steps: Steps = 20
    guidance: Guidance | None = None
    width: Annotated[int, Field(ge=8)] | None = None
    height: Annotated[int, Field(ge=8)] | None = None

    def within(self, limits: Limits) -> None:
        limits.check_prompts(self.prompts, "generate.prompts")
        limits.check("prompt_characters", len(self.negative), "generate.negative")
        for name in ("width", "height"):
            limits.check("resolution", getattr(self, name) or 0, f"generate.{name}")

    def reads(self) -> list[tuple[str, str]]:
        return [("adapters", path) for path in self.adapters]


class Grid(Task):
    """Draw every prompt with every checkpoint (an adapter file) at every strength, at one seed."""

    base: Text = "pocket"
    checkpoints: Annotated[list[Text], Field(min_length=1)]
    strengths: Annotated[list[Strength], Field(min_length=1)] = [1.0]
    prompts: Annotated[list[Text], Field(min_length=1)]
    seed: Seed = 0
    steps: Steps = 20
    guidance: Guidance | None = None

    def within(self, limits: Limits) -> None:
        limits.check_prompts(self.prompts, "grid.prompts")
        pictures = len(self.checkpoints) * len(self.strengths) * len(self.prompts)
        limits.check("pictures", pictures, "grid.prompts")

    def reads(self) -> list[tuple[str, str]]:
        return [("checkpoints", path) for path in self.checkpoints]


class Export(Task):
    """Write an adapter for another tool, with proof. "" and None leave a choice open, as the command line does."""

    adapter: Text
    to: Text
    out: str = ""
    dtype: Literal["fp32", "fp16", "bf16"] = "fp32"
    base: str = ""
    family: str = ""
    rank: Rank | None = None
    metadata: Literal["none", "minimal", "full"] = "minimal"
    strength: Strength = 1.0

    def within(self, limits: Limits) -> None:
        limits.check("rank", self.rank or 0, "export.rank")

    def reads(self) -> list[tuple[str, str]]:
        return [("adapter", self.adapter)]


class Import(Task):
    """Read an adapter of another tool and write it as ours into the file `out`."""

    file: Text
    out: Text = "imported.safetensors"
    family: str = ""

    def reads(self) -> list[tuple[str, str]]:
        return [("file", self.file)]


class Mix(Task):
    """Make one adapter of several; `base` is needed for kinds other than lora."""

    adapters: Strengths
    out: Text = "mixed.safetensors"
    rank: Rank | None = None
    base: str = ""

    def within(self, limits: Limits) -> None:
        limits.check("rank", self.rank or 0, "mix.rank")

    def reads(self) -> list[tuple[str, str]]:
        return [("adapters", path) for path in self.adapters]


class Merge(Task):
    """Write a base with adapters in its weights, as a folder or, where `out` ends so, a .safetensors file."""

    adapters: Strengths
    base: Text = "pocket"
    out: Text = "merged"

    def reads(self) -> list[tuple[str, str]]:
        return [("adapters", path) for path in self.adapters]


def _repo(name: str) -> str:
    """A name that the hub takes: it refuses some that look like others', such as those that end with `.git`."""
    if not _REPO.fullmatch(name) or "--" in name or ".." in name:
        raise PydanticCustomError("repo", "write your name on the hub, a slash, and a name for the adapter of letters, "
                                          "digits, and single '-', '_' or '.' between them")  # fmt: skip
    return name


class Publish(Task):
    """Upload the folder `bundle` (adapter, card, previews) to the hub as `repo`, with the token in the environment."""

    bundle: Text
    repo: Annotated[str, AfterValidator(_repo)]
    private: bool = True

    def reads(self) -> list[tuple[str, str]]:
        return [("bundle", self.bundle)]


TASKS: dict[str, type[Task]] = {
    task.__name__.lower(): task
    for task in (Train, Probe, Describe, Caption, Generate, Grid, Export, Import, Mix, Merge, Publish)
}
TRAINING, QUICK = LANES = ("training", "quick")


def lane_of(task: str) -> str:
    """Trainings have a process each, one at a time; everything else shares one that stays warm."""
    return TRAINING if task == "train" else QUICK


def checked(task: str, settings: Mapping[str, Any]) -> Task:
    """The settings of a task; raises BadInput naming the setting that cannot be used."""
    if task not in TASKS:
        raise BadInput("task", f"there is no task called {task!r}", f"choose from {', '.join(TASKS)}")
    try:
        model = TASKS[task](**settings)
    except ValidationError as error:
        raise _in_words(task, error) from None
    if isinstance(model, _OnData):
        Recipe(**model.recipe)
    return model


def require_files(task: Task, folder: Path) -> None:
    """Raise BadInput where something that the task reads is not there."""
    for name, path in task.reads():
        if not (folder / path).exists():
            raise BadInput(f"{type(task).__name__.lower()}.{name}", f"{Path(path).name} is not there",
                           "choose another, or add it again")  # fmt: skip


def _in_words(task: str, error: ValidationError) -> BadInput:
    first = error.errors(include_url=False)[0]
    where = ".".join([task, *map(str, first["loc"])])
    if first["type"] == "extra_forbidden":
        return BadInput(where, "there is no such setting", f"the settings are {', '.join(TASKS[task].model_fields)}")
    if first["type"] == "missing":
        return BadInput(where, "it is missing", "give it")
    return BadInput(where, f"{first['input']!r} cannot be used", first["msg"])
