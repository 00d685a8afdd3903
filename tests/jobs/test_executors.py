"""What each task does, on the base that ships with lorastyle, without the processes around it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import lorastyle
from lorastyle import BadInput, Workspace
from lorastyle.jobs.tasks import checked
from lorastyle.jobs.worker.bases import WarmBase
from lorastyle.jobs.worker.executors import Work, execute
from lorastyle.jobs.worker.keeper import Lost

RECIPE = {
    "steps": 2, "batch": 1, "rank": 2, "trigger": "zorvex", "resolution": 64, "held_out": 0.0, "preservation": 0.0,
    "preview_steps": 1, "preview_prompts": ["zorvex cat"],
}  # fmt: skip


class Watcher:
    """Keeps what a task says; `lost` says that the job was cancelled."""

    def __init__(self) -> None:
        self.lost = False
        self.told: dict[str, Any] = {}
        self.messages: list[str] = []

    def say(self, **told: Any) -> None:
        if self.lost:
            raise Lost
        self.told |= told
        self.messages += [told["message"]] if "message" in told else []

    def count(self, done: int, total: int) -> None:
        self.say(step=done, steps=total)

    def wishes(self) -> lorastyle.Wishes:
        return lorastyle.Wishes()


@pytest.fixture(scope="module")
def warm() -> WarmBase:
    return WarmBase()


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory, warm: WarmBase, pictures: Path) -> Path:
    """An adapter that a job has trained."""
    folder = tmp_path_factory.mktemp("job")
    work = Work(folder, folder, "me", warm, Watcher())
    result = execute(checked("train", {"data": str(pictures), "recipe": RECIPE, "out": "ink"}), work)
    assert work.watcher.told["step"] == 2
    assert Path(result["adapter"]) == folder / "ink" / "ink.safetensors"
    return Path(result["adapter"])


@pytest.fixture
def work(tmp_path: Path, warm: WarmBase) -> Work:
    (tmp_path / "job").mkdir()
    return Work(tmp_path, tmp_path / "job", "me", warm, Watcher())


def do(work: Work, task: str, **settings: Any) -> Mapping[str, Any]:
    result = execute(checked(task, settings), work)
    assert json.loads(json.dumps(result)) == result
    return result


def test_training_goes_on_from_an_adapter(work: Work, adapter: Path, pictures: Path) -> None:
    result = do(work, "train", data=str(pictures), recipe=RECIPE, start=str(adapter))
    assert Path(result["adapter"]).read_bytes() != adapter.read_bytes()


def test_probe(work: Work, pictures: Path) -> None:
    result = do(work, "probe", data=str(pictures), recipe=RECIPE)
    assert result["steps"] == 2
    assert result["fits"]
    assert result["advice"]


@pytest.mark.parametrize("task", ["train", "probe"])
@pytest.mark.parametrize(
    ("limit", "open_settings", "where"),
    [
        ({"steps": 10}, {"steps": None}, "recipe.steps"),
        ({"steps": 10}, {"steps": None, "epochs": 4.0}, "recipe.steps"),
        ({"rank": 4}, {"rank": None}, "recipe.rank"),
        ({"resolution": 64}, {"resolution": None}, "recipe.resolution"),
    ],
)
def test_what_the_preset_gives_keeps_the_limits(
    work: Work, pictures: Path, task: str, limit: dict[str, int], open_settings: dict[str, Any], where: str
) -> None:
    Workspace(work.root).save_settings({f"limits.{name}": most for name, most in limit.items()})
    recipe = {name: value for name, value in (RECIPE | open_settings).items() if value is not None}
    with pytest.raises(BadInput, match="allowed here. Choose at most") as refused:
        do(work, task, data=str(pictures), recipe=recipe)
    assert refused.value.where == where
    assert not (work.folder / "run").exists()


def test_what_an_adapter_to_go_on_from_gives_keeps_the_limits(work: Work, adapter: Path, pictures: Path) -> None:
    recipe = {name: value for name, value in RECIPE.items() if name != "rank"}
    asked = {"data": str(pictures), "recipe": recipe, "start": str(adapter)}
    workspace = Workspace(work.root)
    workspace.save_settings({"limits.rank": 2})
    do(work, "train", **asked)  # the adapter's rank is 2, whatever the preset would give
    workspace.save_settings({"limits.rank": 1})
    with pytest.raises(BadInput, match="2 is more than the 1"):
        do(work, "train", **asked)


def test_a_base_larger_than_the_limit_draws_no_larger_than_it(work: Work, adapter: Path) -> None:
    Workspace(work.root).save_settings({"limits.resolution": 64})
    do(work, "generate", prompts=["a cat"], steps=1, width=64, height=64)
    with pytest.raises(BadInput, match="128 is more than the 64"):
        do(work, "generate", prompts=["a cat"], steps=1, width=64)
    with pytest.raises(BadInput, match="128 is more than the 64"):
        do(work, "grid", checkpoints=[str(adapter)], prompts=["a cat"], steps=1)


def test_describe_tells_what_the_forms_need(work: Work) -> None:
    facts = do(work, "describe", base="pocket")["facts"]
    assert lorastyle.BaseFacts.from_json(facts) == lorastyle.shipped_facts()["pocket"]


def test_generate_keeps_the_parameters(work: Work, adapter: Path) -> None:
    result = do(work, "generate", prompts=["a cat", "a dog"], adapters={str(adapter): 0.5}, steps=2, seed=7)
    assert [Path(path).parent for path in result["images"]] == [work.folder / "images"] * 2
    told = lorastyle.read_parameters(result["images"][1])
    assert (told["prompt"], told["seed"]) == ("a dog", 7)
    assert work.watcher.told["step"] == work.watcher.told["steps"]


def test_grid(work: Work, adapter: Path) -> None:
    result = do(work, "grid", checkpoints=[str(adapter)], strengths=[0.0, 1.0], prompts=["a cat"], steps=1)
    assert [cell["strength"] for cell in result["cells"]] == [0.0, 1.0]
    assert Path(result["sheet"]).is_file()


def test_export_and_import(work: Work, adapter: Path) -> None:
    written = do(work, "export", adapter=str(adapter), to="comfyui")
    assert Path(written["file"]).parent == work.folder
    assert written["worst_relative_error"] < 1e-6
    read = do(work, "import", file=written["file"])
    assert (read["kind"], Path(read["file"])) == ("lora", work.folder / "imported.safetensors")


def test_mix_and_merge(work: Work, adapter: Path) -> None:
    mixed = do(work, "mix", adapters={str(adapter): 0.5}, rank=1)
    assert Path(mixed["file"]).is_file()
    for _ in range(2):  # a job that was killed at its very end is done again
        merged = do(work, "merge", adapters={str(adapter): 1.0})
        assert Path(merged["merged"]).is_dir()
    assert do(work, "describe", base=merged["merged"])["facts"]["family"] == "pocket"
    assert Path(do(work, "generate", base=merged["merged"], prompts=["a cat"], steps=1)["images"][0]).is_file()


def test_a_torn_file_is_called_as_its_owner_calls_it(work: Work) -> None:
    (work.folder / "upload").mkdir(parents=True)
    (work.folder / "upload" / "found on the web.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0torn")
    with pytest.raises(BadInput) as refused:
        do(work, "import", file="upload/found on the web.safetensors")
    said = str(refused.value).replace(f"{work.folder}/upload/", "")
    assert said == ("found on the web.safetensors: this is no whole .safetensors file. Download or export it again.")


def test_captions_go_to_the_dataset_that_wants_them(work: Work, pictures: Path) -> None:
    area = Workspace(work.root).area("me")
    draft = area.new_dataset("Ink")
    draft.add([_copy(pictures / "0.png", work.root / "old_barn.png"), _copy(pictures / "1.png", work.root / "cat.png")])
    barn, cat = sorted(draft.rows(), key=lambda row: row.name, reverse=True)
    draft.set_caption(cat.id, "written by a person")
    area.caption(draft)
    (job,) = area.jobs.list(task="caption")
    do(Work(work.root, job.folder, "me", work.warm, work.watcher), "caption", **job.settings)
    captions = {row.id: row.caption for row in draft.rows()}
    assert captions == {barn.id: "old barn", cat.id: "written by a person"}


def _copy(source: Path, target: Path) -> Path:
    target.write_bytes(source.read_bytes())
    return target


def test_the_studio_draws_in_its_precision(work: Work, adapter: Path) -> None:
    Workspace(work.root).save_settings({"precision": "bf16"})
    drawn = do(work, "generate", prompts=["a cat"], adapters={str(adapter): 1.0}, steps=1)["images"]
    assert lorastyle.read_parameters(Path(drawn[0]))["precision"] == "bf16"


def test_a_cancelled_job_stops_and_leaves_the_base_as_it_was(work: Work, adapter: Path) -> None:
    assert isinstance(work.watcher, Watcher)
    work.watcher.lost = True
    with pytest.raises(Lost):
        do(work, "generate", prompts=["a cat"], adapters={str(adapter): 1.0}, steps=2)
    work.watcher.lost = False
    before = do(work, "generate", prompts=["a cat"], steps=1)["images"][0]
    again = lorastyle.generate(lorastyle.load_base("pocket"), ["a cat"], steps=1)[0]
    with Image.open(before) as picture:
        assert picture.tobytes() == again.tobytes()
