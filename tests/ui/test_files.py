"""Files that pages show and people take home, and files that come in."""

import io
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from tests.ui import seeding
from tests.ui.conftest import Running
from ui import files
from ui.hiding import Hiding, hidden, hide

SVG = '<svg xmlns="http://www.w3.org/2000/svg"><script>1</script></svg>'


def test_an_image_is_shown_as_a_thumbnail_drawn_anew(studio: Running, tmp_path: Path) -> None:
    draft = studio.workspace.area().new_dataset("thumbnails")
    draft.add([seeding.picture(tmp_path / "cat.png", 10)])
    row = draft.rows()[0]
    with studio.client() as client:
        answer = client.get(files.url("thumbnail", draft.id, row.id, version=row.version)[1:])
    assert Image.open(io.BytesIO(answer.content)).format == "WEBP"
    assert answer.headers["content-type"] == "image/webp"
    assert "immutable" in answer.headers["cache-control"]
    assert "private" in answer.headers["cache-control"]


def test_previews_and_pictures_are_shown_and_can_be_taken_home(studio: Running, tmp_path: Path) -> None:
    jobs = studio.workspace.jobs
    trained, drawn = seeding.training(jobs, tmp_path, "previews", (10,)), seeding.drawing(jobs, "a cat", 20)
    with studio.client() as client:
        for address in (files.url("preview", trained.id, 10, 0), files.picture(drawn)):
            answer = client.get(address[1:])
            assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
            assert "content-disposition" not in answer.headers
            again = client.get(address[1:], headers={"If-None-Match": answer.headers["etag"]})
            assert again.status_code in (200, 304)
        taken = client.get(files.download(drawn)[1:])
    assert taken.headers["content-disposition"] == 'attachment; filename="a-cat.png"'


@pytest.mark.parametrize("name", ["made.safetensors", "made.html", "made.svg"])
def test_what_a_job_made_is_a_download_whatever_it_is(studio: Running, name: str) -> None:
    jobs = studio.workspace.jobs
    job = seeding.drawing(jobs, "a cat", 20)
    (job.folder / name).write_text(SVG)
    (job.folder / "secret.txt").write_text("not named by the result")
    seeding.stand(jobs, job, "done", result={"file": str(job.folder / name)})
    with studio.client() as client:
        answer = client.get(files.result(job, name)[1:])
        assert client.get(files.result(job, "secret.txt")[1:]).status_code == 404
    assert answer.text == SVG
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"].startswith("attachment")


def test_a_result_outside_the_studio_is_not_served(studio: Running, tmp_path: Path) -> None:
    outside = tmp_path / "outside.safetensors"
    outside.write_text("outside")
    jobs = studio.workspace.jobs
    job = seeding.stand(jobs, seeding.drawing(jobs, "a cat", 20), "done", result={"file": str(outside)})
    (job.folder / "link.safetensors").symlink_to(outside)
    linked = seeding.stand(jobs, job, "done", result={"file": str(outside), "beside": ["link.safetensors"]})
    with studio.client() as client:
        for name in ("outside.safetensors", "link.safetensors"):
            assert client.get(files.result(linked, name)[1:]).status_code == 404


def test_an_adapter_is_taken_home_as_a_zip(studio: Running, tmp_path: Path) -> None:
    library = studio.workspace.area().library()
    card = library.rename(library.add(seeding.adapter(tmp_path / "mine.safetensors"), "mine").id, "Inky")
    with studio.client() as client:
        answer = client.get(files.bundle(card)[1:])
    assert answer.headers["content-disposition"] == 'attachment; filename="Inky.zip"'
    assert any(name.endswith(".safetensors") for name in zipfile.ZipFile(io.BytesIO(answer.content)).namelist())


def test_the_same_file_sent_twice_is_there_twice(studio: Running) -> None:
    """Whoever takes the first in removes it; the second belongs to another page."""
    with studio.client() as client:
        first, second = (client.post("/gradio_api/upload", files={"files": ("a.png", b"a")}).json()[0] for _ in "ab")
    assert first != second
    assert Path(first).read_bytes() == Path(second).read_bytes() == b"a"


def test_several_files_come_in_at_once(studio: Running) -> None:
    sent = [("files", (f"{number}.png", bytes([number]))) for number in range(3)]
    with studio.client() as client:
        paths = client.post("/gradio_api/upload", files=sent).json()
    assert [Path(path).read_bytes() for path in paths] == [bytes([number]) for number in range(3)]


def test_where_things_lie_is_hidden(tmp_path: Path) -> None:
    hide(tmp_path)
    stream = io.StringIO()
    Hiding(stream).write(f'File "{tmp_path}/jobs/a.txt" and {Path.home()}/b.txt')
    assert stream.getvalue() == hidden(f'File "{tmp_path}/jobs/a.txt" and {Path.home()}/b.txt')
    assert str(tmp_path) not in stream.getvalue()
    assert f"{Path.home()}/" not in stream.getvalue()
    assert "jobs/a.txt" in stream.getvalue()
