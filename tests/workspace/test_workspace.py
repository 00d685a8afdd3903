"""The studio's folder: settings, limits, people, bases, and that nobody sees what is another's."""

import json
from pathlib import Path

import pytest

from lorastyle import Area, BadFile, BadInput, Draft, Job, StudioSettings, Workspace, bases_table
from tests.workspace.pictures import adapter, save
from tests.workspace.test_library import finish


def test_settings_are_kept(workspace: Workspace) -> None:
    assert workspace.settings == StudioSettings()
    workspace.save_settings({"theme": "dark", "limits.rank": 64})
    again = Workspace(workspace.root)
    assert (again.settings.theme, again.settings.limits.rank, again.jobs.limits.rank) == ("dark", 64, 64)
    workspace.save_settings({"limits.steps": 10})
    assert (workspace.settings.limits.rank, workspace.settings.limits.steps) == (64, 10)
    assert set(StudioSettings.model_json_schema()["$defs"]["Limits"]["properties"]) >= {
        "upload_bytes", "archive_entries", "unpacked_bytes", "pixels", "dataset_files", "steps", "rank", "resolution",
        "prompt_characters", "queued", "disk_bytes",
    }  # fmt: skip


@pytest.mark.parametrize(
    "changes",
    [{"colour": "red"}, {"theme": "pink"}, {"limits.rank": 0}, {"limits.rank": "8"}, {"limits.nothing": 1},
     {"model_folders": ["no/such"]}, {"default_base": "/etc"}, {"limits.pixels": 10**10}],
)  # fmt: skip
def test_settings_that_cannot_be_used(workspace: Workspace, changes: dict[str, object]) -> None:
    with pytest.raises(BadInput):
        workspace.save_settings(changes)
    assert workspace.settings == StudioSettings()


def test_the_studios_own_folder_holds_no_models(workspace: Workspace) -> None:
    jobs = workspace.root / "jobs"
    jobs.mkdir(exist_ok=True)
    for folder in (workspace.root, workspace.root.parent, jobs):
        with pytest.raises(BadFile, match="the studio's own folder lies there"):
            workspace.save_settings({"model_folders": [str(folder)]})


@pytest.mark.parametrize(
    ("changes", "do"),
    [({"limits.rank": 0}, "Give at least 1"), ({"limits.pixels": 10**10}, "Give at most 100,000,000"),
     ({"limits.rank": "8"}, "Give a whole number"), ({"theme": "pink"}, "Choose 'system', 'light' or 'dark'")],
)  # fmt: skip
def test_settings_are_refused_in_plain_words(workspace: Workspace, changes: dict[str, object], do: str) -> None:
    with pytest.raises(BadInput, match=f"cannot be used. {do}"):
        workspace.save_settings(changes)


def test_a_damaged_settings_file_is_said(workspace: Workspace) -> None:
    (workspace.root / "settings.toml").write_text("theme = ")
    with pytest.raises(BadFile, match="not valid TOML"):
        _ = workspace.settings


@pytest.mark.parametrize("name", ["", "..", "a/b", "A", "-x", "x" * 40, "con", "é", "a b", "a.b"])
def test_names_that_nobody_can_have(workspace: Workspace, name: str) -> None:
    with pytest.raises(BadInput, match="user"):
        workspace.area(name)
    assert not (workspace.root / "users").exists()


def test_nobody_sees_what_is_anothers(workspace: Workspace, tmp_path: Path) -> None:
    anna, ben = workspace.area("anna"), workspace.area("ben")
    draft = anna.new_dataset("Secret")
    draft.add([save(tmp_path / "a.png")])
    card = anna.library().add(adapter(tmp_path / "a.safetensors"))
    job = anna.train(draft, "pocket", {})
    assert (ben.datasets(), ben.library().cards(), workspace.jobs.list("ben"), ben.usage() < anna.usage()) == (
        [], [], [], True,
    )  # fmt: skip
    theirs = (
        lambda: ben.dataset(draft.id),
        lambda: ben.library().card(card.id),
        lambda: ben.library().delete(card.id),
        lambda: ben.generate("pocket", ["x"], {card.id: 1}),
        lambda: ben.export(card.id, "kohya"),
        lambda: ben.library().keep(job.id),
        lambda: ben.grid(job.id, [1], [1.0], ["x"], 0),
        lambda: ben.train(ben.new_dataset("mine"), "pocket", {}, start=card.id),
    )
    for act in theirs:
        with pytest.raises(BadInput, match="there is no such|it has no images"):
            act()
    assert not anna.library().card(card.id).binned
    with pytest.raises(BadInput, match="no such image"):
        ben.new_dataset("mine").thumbnail(draft.rows()[0].id)


def test_ids_cannot_be_guessed(area: Area) -> None:
    ids = {area.new_dataset("same").id for _ in range(50)}
    assert len(ids) == 50
    assert all(len(id) == 17 and id[0].isalpha() for id in ids)


def test_datasets(area: Area) -> None:
    first, second = area.new_dataset("One"), area.new_dataset("  Two\n\x07lines ")
    assert [draft.id for draft in area.datasets()] == [second.id, first.id]
    assert second.title == "Two lines"
    assert first
    assert len(first) == 0
    first.rename("Other")
    assert area.dataset(first.id).title == "Other"
    first.delete()
    with pytest.raises(BadInput, match="no such dataset"):
        area.dataset(first.id)
    with pytest.raises(BadInput, match="empty"):
        area.new_dataset(" ")


@pytest.mark.parametrize(
    "base", ["/etc/passwd", "../secret", "pocket/../..", "a/b/c", "", "owner/..", "models", "~/x", "http://x/y"]
)
def test_bases_that_may_not_be_used(area: Area, draft: Draft, base: str, tmp_path: Path) -> None:
    draft.add([save(tmp_path / "a.png")])
    with pytest.raises(BadInput, match="base"):
        area.train(draft, base, {})
    with pytest.raises(BadInput, match="base"):
        area.generate(base, ["x"], {})


def test_folders_that_may_not_be_used_are_no_captioners(area: Area, draft: Draft, tmp_path: Path) -> None:
    draft.add([save(tmp_path / "a.png")])
    with pytest.raises(BadInput, match=r"captioner: .*may be used here"):
        area.caption(draft, captioner=str(tmp_path))
    assert area.jobs.list() == []


def test_bases_that_may_be_used(workspace: Workspace, tmp_path: Path) -> None:
    models = tmp_path / "models"
    (models / "mine" / "vae").mkdir(parents=True)
    (models / "mine" / "unet").mkdir()
    (models / "mine" / "model_index.json").write_text("{}")
    (models / "mine" / "vae" / "config.json").write_text(json.dumps({"block_out_channels": [1, 2, 3, 4]}))
    (models / "mine" / "unet" / "config.json").write_text(
        json.dumps({"block_out_channels": [1, 2, 3, 4], "sample_size": 64})
    )
    (models / "single.safetensors").write_bytes(b"")
    (models / "notes").mkdir()
    workspace.save_settings({"model_folders": [str(models)]})
    assert workspace.bases() == ["pocket", "pocket-flux", "mine", "single"]
    area = workspace.area()
    assert area.base("mine") == area.base(str(models / "mine")) == str(models / "mine")
    assert area.base("someone/style-base") == "someone/style-base"
    assert workspace.geometry("mine") == (512, 64)
    assert workspace.geometry("pocket") == (128, 32)
    assert workspace.geometry("someone/style-base") == (1024, 64)
    outside = tmp_path / "outside"
    outside.mkdir()
    (models / "link").symlink_to(outside)
    with pytest.raises(BadInput, match="base"):
        area.base(str(models / "link"))
    with pytest.raises(BadInput, match="base"):
        area.base(str(models / ".." / "outside"))


def merged(workspace: Workspace, area: Area, title: str, tmp_path: Path) -> Job:
    """A merge that is done, of an adapter of this person into pocket."""
    card = area.library().add(adapter(tmp_path / "a.safetensors"))
    job = area.merge({card.id: 1.0}, "pocket", title)
    (job.folder / job.settings["out"]).mkdir()
    (job.folder / job.settings["out"] / "model_index.json").write_text("{}")
    finish(workspace, job, {"merged": str(job.folder / job.settings["out"])})
    return workspace.jobs.get(job.id)


def test_what_was_merged_is_a_base_of_its_owner(workspace: Workspace, tmp_path: Path) -> None:
    anna, ben = workspace.area("anna"), workspace.area("ben")
    job = merged(workspace, anna, "Pocket, inked", tmp_path)
    path = job.result["merged"]
    assert anna.bases() == ["pocket", "pocket-flux", "Pocket, inked"]
    assert anna.base("Pocket, inked") == anna.base(path) == anna.base("Pocket-inked") == path
    assert anna.generate("Pocket, inked", ["a cat"], {}).settings["base"] == path
    assert anna.geometry("Pocket, inked") == (1024, 64)
    assert ben.bases() == workspace.bases() == ["pocket", "pocket-flux"]
    for name in ("Pocket, inked", "Pocket-inked", path):
        with pytest.raises(BadInput, match="none called .* that may be used here"):
            ben.base(name)
    anna.remove_job(job.id)
    with pytest.raises(BadInput, match="none called 'Pocket, inked' that may be used here"):
        anna.generate("Pocket, inked", ["a cat"], {})


def test_what_is_merged_is_called_like_no_other_base(workspace: Workspace, area: Area, tmp_path: Path) -> None:
    titles = [merged(workspace, area, title, tmp_path).title for title in ("pocket", "Inked", "Inked", "owner/name")]
    assert titles == ["pocket 2", "Inked", "Inked 2", "owner/name"]
    assert area.base("pocket") == "pocket"
    assert len({area.base(title) for title in titles}) == 4


def test_a_single_file_is_merged_into_one(workspace: Workspace, area: Area, tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "single.safetensors").write_bytes(b"")
    workspace.save_settings({"model_folders": [str(tmp_path / "models")]})
    card = area.library().add(adapter(tmp_path / "a.safetensors"))
    assert area.merge({card.id: 1.0}, "single", "Mine").settings["out"] == "Mine.safetensors"


def test_the_families_are_those_that_can_be_loaded(workspace: Workspace) -> None:
    assert workspace.families() == {row["family"]: row["title"] for row in bases_table()}


@pytest.mark.slow
def test_pocket_is_shown_as_it_is_trained(workspace: Workspace) -> None:
    import lorastyle

    base = lorastyle.load_base("pocket")
    assert workspace.geometry("pocket") == (base.resolution, base.divisor)


def test_a_training_has_its_own_copy(area: Area, draft: Draft, tmp_path: Path) -> None:
    draft.add([save(tmp_path / "a.png")])
    job = area.train(draft, "pocket", {"rank": 4})
    assert (job.task, job.title, job.owner, job.settings["data"], job.settings["out"]) == (
        "train", "Ink", "me", "data", "Ink",
    )  # fmt: skip
    draft.delete()
    assert sorted(path.name for path in (job.folder / "data").iterdir()) == ["0001.png", "metadata.jsonl"]
    with pytest.raises(BadInput, match="no images"):
        area.train(area.new_dataset("empty"), "pocket", {})


def test_captioning_asks_for_what_is_missing(area: Area, draft: Draft, tmp_path: Path) -> None:
    (tmp_path / "b.txt").write_text("a bee")
    draft.add([save(tmp_path / "a.png", 1), save(tmp_path / "b.png", 2), tmp_path / "b.txt"])
    job = area.caption(draft)
    (id,) = job.settings["images"]
    assert job.settings["called"] == {id: "a.png"}
    assert (job.folder / job.settings["images"][id]).is_file()
    assert job.settings["dataset"] == draft.id
    draft.set_caption(id, "x")
    with pytest.raises(BadInput, match="all its images have captions"):
        area.caption(draft)


def test_limits_of_jobs(workspace: Workspace, tmp_path: Path) -> None:
    workspace.save_settings({"limits.queued": 1, "limits.prompt_characters": 10, "limits.steps": 50})
    area = workspace.area()
    draft = area.new_dataset("Ink")
    draft.add([save(tmp_path / "a.png")])
    with pytest.raises(BadInput, match="more than the 10 characters"):
        area.generate("pocket", ["x" * 11], {})
    with pytest.raises(BadInput, match="more than the 50 steps"):
        area.train(draft, "pocket", {"steps": 51})
    area.generate("pocket", ["x"], {})
    with pytest.raises(BadInput, match="waiting already"):
        area.generate("pocket", ["x"], {})
    workspace.area("anna").generate("pocket", ["x"], {})
