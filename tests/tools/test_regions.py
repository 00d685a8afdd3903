"""Regions of a picture and the tokens that tell of them."""

import torch

from tools.pocket_flux import regions

END = 1


def test_regions_lie_row_by_row() -> None:
    row, column = torch.meshgrid(torch.arange(16) // 4, torch.arange(16) // 4, indexing="ij")
    numbers = (4 * row + column).expand(2, 12, 16, 16).float()
    found = regions.regions(numbers)
    assert found.shape == (2, 16, 12 * 4 * 4)
    assert torch.equal(found, torch.arange(16.0)[None, :, None].expand_as(found))


def test_regions_are_told_from_the_end_of_the_text_on() -> None:
    ids = torch.zeros(2, 20, dtype=torch.long)
    ids[0, 3] = ids[1, 9] = END
    numbers, room = regions.places(ids, END)
    assert numbers[0].tolist() == list(range(3, 19))
    assert room[0].all()
    assert numbers[1].tolist() == [*range(9, 20), *[19] * 5]
    assert room[1].tolist() == [True] * 11 + [False] * 5


def test_the_states_of_numbered_tokens() -> None:
    states = torch.arange(2 * 5 * 3).reshape(2, 5, 3)
    taken = regions.taken(states, torch.tensor([[4, 0], [1, 1]]))
    assert torch.equal(taken, torch.stack([states[0, [4, 0]], states[1, [1, 1]]]))
