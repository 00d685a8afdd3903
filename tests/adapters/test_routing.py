"""Routings, and what they ask of a stack."""

import pytest
import torch

from lorastyle.adapters.routing import Router, Routing

CPU = torch.device("cpu")


def parts_of(rows: list[dict[int, float]], slots: tuple[int, ...], scales: tuple[float, ...] | None = None) -> list:
    return Routing.rows(rows).parts(slots, scales or (1.0,) * len(slots), CPU)


def test_the_base_has_no_places() -> None:
    routing = Routing.base(3)
    assert routing.batch == 3
    assert routing.index.shape == routing.weight.shape == (3, 0)
    assert routing.parts((0, 1), (1.0, 1.0), CPU) == []


def test_unused_places_are_marked() -> None:
    routing = Routing.rows([{4: 0.5, 7: 2.0}, {7: 1.0}, {}])
    assert routing.index.tolist() == [[4, 7], [7, -1], [-1, -1]]
    assert routing.weight.tolist() == [[0.5, 2.0], [1.0, 0.0], [0.0, 0.0]]


def test_strength_0_is_the_same_as_not_being_named() -> None:
    assert Routing.rows([{3: 0.0}, {}]).index.shape == (2, 0)


def test_repeat_puts_the_rows_one_after_the_other() -> None:
    assert Routing.rows([{1: 1.0}, {2: 0.5}]).repeat(2).index.tolist() == [[1], [2], [1], [2]]


def test_a_solo_run_is_one_block_without_a_gather() -> None:
    (part,) = parts_of([{5: 1.0}] * 4, (5,))
    assert (part.rows, part.blocks, part.members, part.gain) == (None, 1, None, None)


def test_a_cohort_is_one_block_for_each_member() -> None:
    (part,) = parts_of([{5: 1.0}] * 2 + [{6: 1.0}] * 2, (5, 6))
    assert (part.rows, part.blocks, part.members) == (None, 2, None)


def test_blocks_are_as_long_as_all_runs_allow() -> None:
    (part,) = parts_of([{0: 1.0}] * 2 + [{1: 1.0}] * 4, (0, 1))
    assert part.blocks == 3
    assert part.members.tolist() == [0, 1, 1]


def test_rows_of_other_stacks_are_left_out() -> None:
    rows = [{0: 1.0}, {1: 1.0}, {1: 1.0}, {0: 1.0}]
    (neighbours,) = parts_of(rows, (1,))
    (apart,) = parts_of(rows, (0,))
    assert neighbours.rows == slice(1, 3)
    assert apart.rows.tolist() == [0, 3]
    assert parts_of(rows, (8,)) == []


def test_a_row_with_several_members_is_in_several_parts() -> None:
    first, second = parts_of([{0: 0.5, 1: 2.0}, {1: 1.0}], (0, 1), (2.0, 3.0))
    assert first.members is None
    assert first.gain.tolist() == [1.0, 3.0]
    assert second.rows == slice(0, 1)
    assert second.gain.tolist() == [6.0]


def test_parts_are_worked_out_once() -> None:
    routing = Routing.rows([{0: 1.0}])
    assert routing.parts((0,), (1.0,), CPU) is routing.parts((0,), (1.0,), CPU)
    assert routing.parts((0,), (1.0,), CPU) is not routing.parts((0,), (2.0,), CPU)


def test_the_router_goes_back_to_what_it_followed_before() -> None:
    router, outer, inner = Router(), Routing.base(1), Routing.base(2)
    with router.use(outer):
        with pytest.raises(KeyError), router.use(inner):
            assert router.routing is inner
            raise KeyError
        assert router.routing is outer
    assert router.routing is None
