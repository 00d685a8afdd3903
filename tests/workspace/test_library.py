"""Adapters that a person keeps: what their files tell, notes, the bin, bundles, what jobs make."""

import json
import sqlite3
import zipfile
from contextlib import AbstractContextManager, closing
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from lorastyle import Area, BadFile, BadInput, Job, Workspace, files
from lorastyle.jobs.leases import Leases
from tests.workspace.pictures import adapter, drawing, save

OURS = {
    "lorastyle.family": "sd1",
    "lorastyle.trigger": "sumi",
    "lorastyle.base": "pocket",
    "lorastyle.recipe": json.dumps({"rank": 4, "kind": "lora"}),
}


def finish(workspace: Workspace, job: Job, result: dict[str, Any]) -> None:
    """End a job as a worker does that has done it."""
    leases = Leases(workspace.jobs._database, workspace.root)
    lease = leases.claim("training" if job.task == "train" else "quick")
    assert lease is not None
    assert lease.job.id == job.id
    assert leases.finish(lease, result)


@pytest.fixture
def training(area: Area, tmp_path: Path) -> Job:
    """A training in the queue, with the files that it leaves: two checkpoints, previews, the adapter."""
    draft = area.new_dataset("Ink")
    draft.add([save(tmp_path / "a.png")])
    job = area.train(draft, "pocket", {"trigger": "sumi"}, "Ink <b>style</b>")
    for step in (10, 20):
        adapter(job.run / "checkpoints" / f"step-{step:06}" / "adapter.safetensors", rank=step)
        save(job.run / "samples" / f"step-{step:06}-0.png", step)
        save(job.run / "samples" / f"step-{step:06}-1.png", step + 1)
    adapter(job.run / "style.safetensors", 20, {name: OURS[name] for name in OURS if not name.endswith("recipe")})
    return job


def trained(workspace: Workspace, training: Job) -> None:
    finish(workspace, training, {"adapter": str(training.run / "style.safetensors")})


FILES: list[tuple[tuple[str, ...], str]] = [
    (("unet.a.lora_A.weight",), "lora"),
    (("lora_unet_a.lora_down.weight", "lora_unet_a.dora_scale"), "dora"),
    (("unet.a.lora_A.weight", "unet.a.lora_magnitude_vector"), "dora"),
    (("unet.a.lokr_w1", "unet.a.lokr_w2_b"), "lokr"),
    (("unet.a.hada_w1_b",), "loha"),
]


@pytest.mark.parametrize(("names", "kind"), FILES)
def test_what_a_file_tells(area: Area, tmp_path: Path, names: tuple[str, ...], kind: str) -> None:
    card = area.library().add(adapter(tmp_path / "foreign.safetensors", 7, None, names))
    assert (card.kind, card.rank, card.title, card.trigger, card.base) == (kind, 7, "foreign", "", "")
    ours = area.library().add(adapter(tmp_path / "ours.safetensors", 4, OURS), "My style")
    assert (ours.title, ours.trigger, ours.base, ours.family, ours.rank) == ("My style", "sumi", "pocket", "sd1", 4)
    assert ours.path.name == "My-style.safetensors"
    assert ours.bytes == ours.path.stat().st_size


def test_the_library_loads_no_torch() -> None:
    import subprocess
    import sys

    code = "import sys, lorastyle; lorastyle.Workspace, lorastyle.Library; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "diffusers", "transformers"} & set(done.stdout.split())


@pytest.mark.parametrize("damage", ["short", "text", "pickle", "huge", "other"])
def test_what_is_no_adapter(area: Area, tmp_path: Path, damage: str) -> None:
    path = adapter(tmp_path / "bad.safetensors", names=("model.weight",) if damage == "other" else ())
    whole = path.read_bytes()
    bad = {
        "short": whole[:-4],
        "text": b"hello",
        "pickle": b"\x80\x04" + bytes(30),
        "huge": b"\xff" * 16,
        "other": whole,
    }
    path.write_bytes(bad[damage])
    with pytest.raises(BadFile, match="this is no") as refused:
        area.library().add(path)
    assert str(tmp_path) not in str(refused.value)
    assert area.library().cards() == []


def test_notes_search_and_order(area: Area, tmp_path: Path) -> None:
    library = area.library()
    small = library.add(adapter(tmp_path / "b.safetensors", 2), "Bees")
    large = library.add(adapter(tmp_path / "a.safetensors", 64, OURS), "ants")
    assert [card.title for card in library.cards()] == ["ants", "Bees"]
    assert [card.title for card in library.cards(sort="oldest")] == ["Bees", "ants"]
    assert [card.title for card in library.cards(sort="title")] == ["ants", "Bees"]
    assert [card.title for card in library.cards(sort="size")] == ["ants", "Bees"]
    library.rename(small.id, "  Bumble\nbees ")
    library.note(small.id, "for the <cover>")
    library.tag(small.id, ["book", "yellow ", "book", ""])
    card = library.card(small.id)
    assert (card.title, card.notes, card.tags) == ("Bumble bees", "for the <cover>", ("book", "yellow"))
    assert [card.id for card in library.cards("COVER bumble")] == [small.id]
    assert [card.id for card in library.cards("sumi")] == [large.id]
    assert library.cards("bees ants") == []
    for act in (
        lambda: library.rename(small.id, " \n"),
        lambda: library.rename(small.id, "x" * 200),
        lambda: library.tag(small.id, ["x" * 50]),
        lambda: library.note(small.id, "x" * 20_000),
        lambda: library.prefer(small.id, float("nan")),
        lambda: library.cards(sort="colour"),  # type: ignore[arg-type]
        lambda: library.rename("nothing", "x"),
    ):
        with pytest.raises(BadInput):
            act()


def test_what_is_said_of_an_adapter_at_once_is_all_kept_or_not_at_all(area: Area, tmp_path: Path) -> None:
    library = area.library()
    card = library.add(adapter(tmp_path / "kept.safetensors"), "Kept")
    with pytest.raises(BadInput, match="tags"):
        library.describe(card.id, "Other", [str(tag) for tag in range(25)], 0.5, "")
    assert library.card(card.id) == card
    told = library.describe(card.id, "Other", ["a"], 0.5, "soft")
    assert (told.title, told.tags, told.strength, told.notes) == ("Other", ("a",), 0.5, "soft")


def test_the_bin(area: Area, tmp_path: Path) -> None:
    library = area.library()
    kept, gone = (library.add(adapter(tmp_path / f"{name}.safetensors")) for name in ("kept", "gone"))
    library.delete(gone.id)
    assert [card.id for card in library.cards()] == [kept.id]
    assert [card.id for card in library.cards(binned=True)] == [gone.id]
    with pytest.raises(BadInput, match="lies in the bin"):
        area.generate("pocket", ["a cat"], {gone.id: 1.0})
    assert not library.restore(gone.id).binned
    assert len(library.cards()) == 2
    library.delete(gone.id)
    assert library.empty_bin() == 1
    assert not gone.path.exists()
    with pytest.raises(BadInput, match="no such adapter"):
        library.restore(gone.id)


def test_what_was_trained_comes_in_once(workspace: Workspace, area: Area, training: Job) -> None:
    assert area.library().cards() == []
    trained(workspace, training)
    (card,) = area.library().cards()
    assert (card.title, card.trigger, card.base, card.job) == ("Ink <b>style</b>", "sumi", "pocket", training.id)
    assert card.thumbnail is not None
    assert len(card.previews) == 2
    area.library().delete(card.id)
    assert area.library().cards() == []  # and does not come back
    assert Workspace(workspace.root).area().library().cards() == []


def test_a_training_that_is_deleted_leaves_its_adapter(workspace: Workspace, area: Area, training: Job) -> None:
    trained(workspace, training)
    area.remove_job(training.id)
    assert workspace.jobs.list() == []
    assert not training.folder.exists()
    (card,) = area.library().cards()
    assert card.path.is_file()


def test_a_training_without_previews_is_shown_by_its_comparison(
    workspace: Workspace, area: Area, training: Job
) -> None:
    for picture in (training.run / "samples").iterdir():
        picture.unlink()
    comparison = save(training.run / "comparison.png", 9)
    finish(workspace, training, {"adapter": str(training.run / "style.safetensors"), "comparison": str(comparison)})
    (card,) = area.library().cards()
    assert [path.read_bytes() for path in card.previews] == [comparison.read_bytes()]
    assert card.thumbnail is None  # of a sheet with many pictures and words
    again = area.library().keep(training.id)
    assert (again.previews, again.thumbnail) == (card.previews, None)


def test_keeping_a_checkpoint(workspace: Workspace, area: Area, training: Job) -> None:
    trained(workspace, training)
    (before,) = area.library().cards()
    card = area.library().keep(training.id, 10, 0.7)
    assert (card.id, card.title, card.strength, card.rank, card.step) == (before.id, before.title, 0.7, 10, 10)
    assert (card.trigger, card.base, card.family) == ("sumi", "pocket", "sd1")  # which its checkpoint does not say
    assert card.previews[0].read_bytes() == (training.run / "samples" / "step-000010-0.png").read_bytes()
    assert len(area.library().cards()) == 1
    assert area.library().keep(training.id).rank == 20
    with pytest.raises(BadInput, match="none of that step"):
        area.library().keep(training.id, 15)


def test_a_checkpoint_that_is_kept_under_another_name_comes_beside(
    workspace: Workspace, area: Area, training: Job
) -> None:
    trained(workspace, training)
    library = area.library()
    (published,) = library.cards()
    softer = library.keep(training.id, 10, 0.7, "Softer")
    assert (softer.title, softer.strength, softer.rank, softer.job) == ("Softer", 0.7, 10, training.id)
    assert library.card(published.id) == published
    assert published.path.is_file()
    assert library.of_job(training.id) == softer
    assert library.keep(training.id, 20, 0.5, " Softer ").id == softer.id  # a name that is there is that adapter's
    assert library.keep(training.id, 10).id == published.id
    assert {card.id for card in Workspace(workspace.root).area().library().cards()} == {published.id, softer.id}


def test_what_is_kept_is_copied_once(area: Area, training: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []
    write = files.new_file

    def noted(path: Path, mode: int = 0o644) -> AbstractContextManager[BinaryIO]:
        written.append(path.name)
        return write(path, mode)

    monkeypatch.setattr(files, "new_file", noted)
    card = area.library().keep(training.id, 10)
    assert [name for name in written if name.endswith(".safetensors")] == [card.path.name]
    assert list(card.path.parent.glob("*.safetensors")) == [card.path]


def test_keeping_while_it_trains(workspace: Workspace, area: Area, training: Job) -> None:
    card = area.library().keep(training.id, 10)
    assert (card.rank, card.trigger, card.base) == (10, "sumi", "pocket")
    trained(workspace, training)
    assert [one.id for one in area.library().cards()] == [card.id]


def test_what_is_kept_under_a_name_while_it_trains_is_not_its_adapter(
    workspace: Workspace, area: Area, training: Job
) -> None:
    early = area.library().keep(training.id, 10, title="Early")
    trained(workspace, training)
    assert {card.title for card in area.library().cards()} == {"Early", training.title}
    area.library().keep(training.id, 10, 0.7)
    assert area.library().card(early.id) == early


def test_in_place_of_an_adapter_in_the_bin_comes_another(workspace: Workspace, area: Area, training: Job) -> None:
    trained(workspace, training)
    (published,) = area.library().cards()
    softer = area.library().keep(training.id, 10, title="Softer")
    area.library().delete(published.id)
    again = area.library().keep(training.id, 20)
    assert {card.id for card in area.library().cards()} == {softer.id, again.id}
    assert area.library().keep(training.id, 10).id == again.id
    assert area.library().restore(published.id).path.is_file()


def test_a_library_of_before_knows_which_adapter_is_the_training_s_own(
    workspace: Workspace, area: Area, training: Job
) -> None:
    trained(workspace, training)
    (published,) = area.library().cards()
    area.library().keep(training.id, 10, title="Softer")
    with closing(sqlite3.connect(workspace.root / "users" / "me" / "area.sqlite")) as before, before:
        before.executescript("ALTER TABLE taken_over DROP COLUMN adapter; PRAGMA user_version = 1")
    assert Workspace(workspace.root).area().library().keep(training.id, 10).id == published.id


def test_each_checkpoint_that_is_kept_has_a_file_of_its_own(workspace: Workspace, area: Area, training: Job) -> None:
    trained(workspace, training)
    (last,) = area.library().cards()
    held = last.path.read_bytes()
    waiting = area.generate("pocket", ["x"], {last.id: 1.0})
    early = area.library().keep(training.id, 10)
    assert last.path.read_bytes() == held  # and so the job draws what it was asked to draw
    area.jobs.cancel(waiting.id)
    late = area.library().keep(training.id, 20)
    assert len({last.path, early.path, late.path}) == 3
    assert list(late.path.parent.glob("*.safetensors")) == [late.path]
    assert area.library().keep(training.id, 10).path == early.path  # what was drawn with it is known by its path


@pytest.mark.parametrize(
    ("source", "name"),
    [("someone/style-base", "someone/style-base"), ("sd.v1", "sd.v1"), ("sd.v2.safetensors", "sd.v2")],
)
def test_a_kept_checkpoint_calls_its_base_as_that_calls_itself(
    workspace: Workspace, area: Area, training: Job, tmp_path: Path, source: str, name: str
) -> None:
    models = tmp_path / "models"
    (models / "sd.v1").mkdir(parents=True)
    (models / "sd.v2.safetensors").touch()
    workspace.save_settings({"model_folders": [str(models)]})
    base = source if "someone" in source else str(models / source)
    of_it = area.train(area.datasets()[0], base, {})
    adapter(of_it.run / "checkpoints" / "step-000010" / "adapter.safetensors")
    assert area.library().keep(of_it.id, 10).base == name


def test_a_bundle(workspace: Workspace, area: Area, training: Job) -> None:
    trained(workspace, training)
    (card,) = area.library().cards()
    path = area.library().bundle(card.id)
    first = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == ["README.md", card.path.name, "previews/0.png", "previews/1.png"]
        assert archive.read(card.path.name) == card.path.read_bytes()
        readme = archive.read("README.md").decode()
    assert "<b>" not in readme
    assert "`sumi`" in readme
    assert str(workspace.root) not in readme
    assert area.library().bundle(card.id).read_bytes() == first
    job = area.publish(card.id, "someone/ink")
    assert {path.name for path in (job.folder / "bundle").iterdir()} == {"README.md", card.path.name, "previews"}


def test_what_is_taken_home_is_called_as_the_adapter_is_now(workspace: Workspace, area: Area, training: Job) -> None:
    trained(workspace, training)
    (card,) = area.library().cards()
    area.library().rename(card.id, "Inky: second")
    path = area.library().bundle(card.id)
    assert path.name == "Inky-second.zip"
    assert "Inky-second.safetensors" in zipfile.ZipFile(path).namelist()
    assert area.export(card.id, "comfyui").settings["out"] == "Inky-second-comfyui.safetensors"


def test_what_is_imported_and_mixed_comes_in(workspace: Workspace, area: Area, tmp_path: Path) -> None:
    job = area.import_adapter(adapter(tmp_path / "found on the web.safetensors"))
    assert (job.folder / "upload" / "found on the web.safetensors").is_file()
    finish(workspace, job, {"file": str(adapter(job.folder / "imported.safetensors", 4, OURS))})
    (imported,) = area.library().cards()
    assert (imported.title, imported.trigger) == ("found on the web", "sumi")
    other = area.library().add(adapter(tmp_path / "other.safetensors"))
    job = area.mix({imported.id: 0.5, other.id: 1.0})
    assert job.settings["adapters"] == {str(imported.path): 0.5, str(other.path): 1.0}
    finish(workspace, job, {"file": str(adapter(job.folder / "mixed.safetensors"))})
    assert area.library().cards()[0].title == "found on the web + other"
    with pytest.raises(BadFile, match="no .safetensors"):
        area.import_adapter(tmp_path / "model.ckpt")


def test_a_thumbnail_is_small(workspace: Workspace, area: Area, training: Job) -> None:
    drawing(5, (900, 500)).save(training.run / "samples" / "step-000020-0.png")
    trained(workspace, training)
    (card,) = area.library().cards()
    from PIL import Image

    with Image.open(str(card.thumbnail)) as image:
        assert (image.format, image.size) == ("WEBP", (320, 178))
