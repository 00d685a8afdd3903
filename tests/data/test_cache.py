"""The cache: what is made once, kept whole, verified when read."""

import os
import sys
import threading
import warnings
from pathlib import Path

import pytest
import torch
from torch import Tensor

from lorastyle.data.cache import Cache, cache_folder, content_key


class Encoder:
    """Makes for each place an entry that tells it, and remembers what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[list[int]] = []

    def __call__(self, places: list[int]) -> list[dict[str, Tensor]]:
        self.asked.append(places)
        return [
            {"latents": torch.full((2, 3), float(place)), "mask": torch.ones(4, dtype=torch.bool)} for place in places
        ]


def keys(count: int) -> list[str]:
    return [content_key(image=number) for number in range(count)]


def entry_files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.safetensors"))


def test_only_what_is_missing_is_made(tmp_path: Path) -> None:
    encoder = Encoder()
    Cache(tmp_path).fetch(keys(3), encoder)
    assert encoder.asked == [[0], [1], [2]]
    found = Cache(tmp_path).fetch(keys(5), encoder, chunk=8)
    assert encoder.asked[3:] == [[3, 4]]
    assert [entry["latents"][0, 0].item() for entry in found] == [0, 1, 2, 3, 4]
    assert found[0]["mask"].dtype == torch.bool


def test_chunks_have_at_most_the_size_asked_for(tmp_path: Path) -> None:
    encoder = Encoder()
    Cache(tmp_path).fetch(keys(7), encoder, chunk=3)
    assert encoder.asked == [[0, 1, 2], [3, 4, 5], [6]]


def test_a_key_that_is_there_twice_is_made_once(tmp_path: Path) -> None:
    encoder = Encoder()
    first, second = keys(2)
    found = Cache(tmp_path).fetch([first, second, first], encoder)
    assert encoder.asked == [[0], [1]]
    assert torch.equal(found[0]["latents"], found[2]["latents"])


def test_nothing_asked_nothing_made(tmp_path: Path) -> None:
    assert Cache(tmp_path / "new").fetch([], Encoder()) == []
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.int64])
def test_a_warm_cache_gives_the_same_bits(tmp_path: Path, dtype: torch.dtype) -> None:
    made = (torch.arange(24.0).reshape(2, 3, 4) / 7).to(dtype).transpose(0, 2).requires_grad_(dtype.is_floating_point)

    def encode(places: list[int]) -> list[dict[str, Tensor]]:
        return [{"x": made, "nothing": torch.zeros(0), "one": torch.tensor(3.0)} for _ in places]

    cold = Cache(tmp_path).fetch(keys(1), encode)[0]
    warm = Cache(tmp_path).fetch(keys(1), encode)[0]
    for entry in (cold, warm):
        assert entry["x"].dtype == dtype
        assert torch.equal(entry["x"], made.detach())
        assert not entry["x"].requires_grad
        assert entry["one"].shape == ()
    assert cold.keys() == warm.keys()


def test_every_damaged_byte_is_noticed(tmp_path: Path) -> None:
    Cache(tmp_path).fetch(keys(1), Encoder())
    path = entry_files(tmp_path)[0]
    whole = path.read_bytes()
    for place in range(0, len(whole), 7):
        damaged = bytearray(whole)
        damaged[place] ^= 0x01
        path.write_bytes(damaged)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            entry = Cache(tmp_path).fetch(keys(1), Encoder())[0]
        assert [str(warning.message).endswith("is made again.") for warning in caught] == [True]
        assert torch.equal(entry["latents"], torch.zeros(2, 3))
        assert path.read_bytes() == whole


@pytest.mark.parametrize("share", [0.0, 0.1, 0.9])
def test_a_truncated_entry_is_warned_of_and_made_again(tmp_path: Path, share: float) -> None:
    Cache(tmp_path).fetch(keys(1), Encoder())
    path = entry_files(tmp_path)[0]
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    encoder = Encoder()
    with pytest.warns(UserWarning, match="is damaged .* and is made again"):
        Cache(tmp_path).fetch(keys(1), encoder)
    assert encoder.asked == [[0]]
    assert path.read_bytes() == whole


def test_an_entry_under_another_key_is_not_believed(tmp_path: Path) -> None:
    first, second = keys(2)
    Cache(tmp_path).fetch([first, second], Encoder())
    by_key = {path.stem: path for path in entry_files(tmp_path)}
    by_key[first].write_bytes(by_key[second].read_bytes())
    with pytest.warns(UserWarning, match="does not match"):
        found = Cache(tmp_path).fetch([first], Encoder())
    assert found[0]["latents"][0, 0] == 0


def test_a_folder_that_cannot_be_written_costs_only_a_warning(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("a file where the folder should be")
    with pytest.warns(UserWarning, match="Nothing is kept") as caught:
        found = Cache(blocked).fetch(keys(3), Encoder())
    assert len(found) == 3
    assert len({str(warning.message) for warning in caught}) == 1  # said once by default


def test_leftovers_of_killed_writers_are_swept(tmp_path: Path) -> None:
    leftover = tmp_path / "ab" / ".x.safetensors.lorastyle-99999999-0123abcd.new"
    leftover.parent.mkdir()
    leftover.write_bytes(b"half")
    Cache(tmp_path).fetch(keys(1), Encoder())
    assert not leftover.exists()


def test_an_encoder_that_returns_too_few_is_found_out(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="shorter"):
        Cache(tmp_path).fetch(keys(2), lambda places: [], chunk=2)


def test_two_runs_may_fill_it_at_once(tmp_path: Path) -> None:
    results: list[list[dict[str, Tensor]]] = []
    runs = [
        threading.Thread(target=lambda: results.append(Cache(tmp_path).fetch(keys(20), Encoder()))) for _ in range(3)
    ]
    for run in runs:
        run.start()
    for run in runs:
        run.join()
    assert len(results) == 3
    assert len(entry_files(tmp_path)) == 20
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".safetensors"]


def test_the_folder_is_the_users(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LORASTYLE_CACHE", str(tmp_path / "mine"))
    assert cache_folder() == Cache().folder == tmp_path / "mine"
    monkeypatch.delenv("LORASTYLE_CACHE")
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "lorastyle"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    assert cache_folder() == tmp_path / ".cache" / "lorastyle"
    monkeypatch.setattr(sys, "platform", "darwin")
    assert cache_folder() == tmp_path / "Library" / "Caches" / "lorastyle"
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", os.fspath(tmp_path))
    assert cache_folder() == tmp_path / "lorastyle" / "cache"


def test_keys_are_of_the_content_alone() -> None:
    assert content_key(a=1, b=[1, 2]) == content_key(b=(1, 2), a=1)
    different = [content_key(a=1), content_key(a=2), content_key(b=1), content_key(a="1"), content_key(a=1, b=None)]
    assert len(set(different)) == len(different)
    assert len(content_key(a=1)) == 40
    with pytest.raises(ValueError, match="JSON"):
        content_key(a=float("nan"))
    with pytest.raises(TypeError):
        content_key(a=object())
