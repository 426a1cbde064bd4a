"""The arithmetic of even load: what each worker gives to whom, whatever the figures."""

import random
from collections.abc import Iterator

import pytest

from trilithon.foundation.cells import clock_us
from trilithon.foundation.scoreboard import CREW, LOOP, Scoreboard, WorkerState
from trilithon.net.levelling import MAKE_UP, TOO_MUCH, Quota, choose, is_turn_over, plan
from trilithon.net.standing import HAS_ROOM, LIFELESS_US, MEASURED_AT, RESTS, STUCK_US, Standing, takes_connections

pytestmark = pytest.mark.real

# The cell of a slot that its own worker writes for the loop.
BEAT_AT = 4


@pytest.fixture
def board() -> Iterator[Scoreboard]:
    """A scoreboard on which four workers serve."""
    board = Scoreboard.create()
    for index in range(4):
        slot = board.slot(index)
        slot.occupy(1000 + index, 1)
        slot.state = WorkerState.READY
        slot.cells.write(HAS_ROOM, 1)
        slot.cells.write(RESTS, 1)
    yield board
    board.close()


def standings(board: Scoreboard, rates: list[float], connections: list[int]) -> list[Standing]:
    """Return how workers stand that have had these rates for long."""
    found = []
    for index, (rate, count) in enumerate(zip(rates, connections, strict=True)):
        standing = Standing(board.slot(index), clock_us())
        standing.rate = rate
        standing.work = 2 * rate
        standing.connections = count
        found.append(standing)
    return found


def quotas_of(members: list[Standing]) -> dict[int, list[Quota]]:
    """Return what each worker gives."""
    return {own.slot.index: plan(own, [other for other in members if other is not own]) for own in members}


def test_equal_workers_give_nothing(board) -> None:
    assert not any(quotas_of(standings(board, [500, 500, 500, 500], [16, 16, 16, 16])).values())


def test_workers_without_anything_to_do_give_nothing(board) -> None:
    assert not any(quotas_of(standings(board, [0, 0, 0, 0], [0, 0, 0, 0])).values())


def test_a_difference_that_chance_makes_is_left_alone(board) -> None:
    assert not any(quotas_of(standings(board, [24, 18, 19, 19], [16, 16, 16, 16])).values())


def test_the_busiest_fills_the_gaps_and_no_more(board) -> None:
    quotas = quotas_of(standings(board, [800, 400, 400, 400], [16, 16, 16, 16]))
    assert [quota.slot for quota in quotas[0]] == [1, 2, 3]
    # What was too much lately is made up for besides, within a bound.
    assert 300 <= sum(quota.rate for quota in quotas[0]) <= 300 + 2 * MAKE_UP * 500
    assert not quotas[1] and not quotas[2] and not quotas[3]


def test_several_givers_share_the_gaps(board) -> None:
    quotas = quotas_of(standings(board, [900, 700, 200, 200], [16, 16, 16, 16]))
    given = dict.fromkeys(range(4), 0.0)
    for parts in quotas.values():
        for quota in parts:
            given[quota.slot] += quota.rate
    assert given[0] == given[1] == 0
    assert 600 <= given[2] + given[3] <= 600 + 2 * MAKE_UP * 500


def test_a_worker_whose_processor_is_busier_gets_nothing(board) -> None:
    members = standings(board, [800, 100, 550, 550], [16, 16, 16, 16])
    members[0].cpu, members[1].cpu = 0.3, 0.9
    assert all(quota.slot != 1 for quota in quotas_of(members)[0])


def test_connections_are_evened_out_by_number(board) -> None:
    quotas = quotas_of(standings(board, [0, 0, 0, 0], [40, 8, 8, 8]))
    assert {quota.slot: quota.idle for quota in quotas[0]} == {1: 8, 2: 8, 3: 8}
    assert not quotas[1]


def test_one_connection_more_or_less_moves_nothing(board) -> None:
    assert not any(quotas_of(standings(board, [0, 0, 0, 0], [17, 16, 16, 15])).values())


def test_the_choice_fits_the_quota() -> None:
    rates = [400.0, 120.0, 80.0, 30.0, 10.0, 5.0, 1.0]
    chosen = choose(rates, Quota(1, 100.0, 200.0, 0, 0.0), set())
    assert 80.0 <= sum(rates[place] for place in chosen) <= 100.0
    assert 0 not in chosen and 1 not in chosen


def test_the_choice_keeps_off_what_is_promised_elsewhere() -> None:
    chosen = choose([50.0, 50.0, 50.0], Quota(1, 60.0, 200.0, 0, 0.0), {0})
    assert chosen == [1]


def test_quiet_connections_make_up_the_number() -> None:
    chosen = choose([90.0, 5.0, 0.0, 0.0, 0.0], Quota(2, 0.0, 0.0, 2, 3.0), set())
    assert sorted(chosen) == [3, 4]


def test_too_large_a_connection_moves_only_where_it_helps() -> None:
    assert choose([100.0], Quota(1, 30.0, 200.0, 0, 0.0), set()) == [0]
    assert choose([100.0], Quota(1, 30.0, 100.0, 0, 0.0), set()) == []


def test_one_that_is_too_much_for_any_worker_takes_turns(board) -> None:
    members = standings(board, [700, 400, 400, 400], [1, 21, 21, 21])
    assert is_turn_over(members[0], members[1:])
    assert not is_turn_over(members[1], [members[0], *members[2:]])


def simulated(board: Scoreboard, rates: list[float], at: list[int]) -> list[int]:
    """Let all workers act on the figures one after the other, a few times; returns where each connection ends up."""
    for _ in range(12):
        for own_index in range(4):
            totals = [sum(rate for rate, place in zip(rates, at, strict=True) if place == index) for index in range(4)]
            members = standings(board, totals, [at.count(index) for index in range(4)])
            own = members[own_index]
            mine = sorted(
                (number for number, place in enumerate(at) if place == own_index),
                key=lambda number: -rates[number],
            )
            taken: set[int] = set()
            for quota in plan(own, [other for other in members if other is not own]):
                for place in choose([rates[number] for number in mine], quota, taken):
                    taken.add(place)
                    at[mine[place]] = quota.slot
    return at


@pytest.mark.parametrize("seed", range(8))
def test_unequal_traffic_becomes_even_from_any_beginning(board, seed) -> None:
    rates = [20000 / rank for rank in range(1, 65)]
    at = simulated(board, rates, random.Random(seed).choices(range(4), weights=[8, 4, 2, 1], k=64))
    totals = [sum(rate for rate, place in zip(rates, at, strict=True) if place == index) for index in range(4)]
    assert max(totals) <= TOO_MUCH * sum(totals) / 4
    settled = list(at)
    assert simulated(board, rates, at) == settled  # none goes to and fro


def test_who_is_held_up_gets_nothing(board) -> None:
    slot = board.slot(0)
    now_us = clock_us()
    assert takes_connections(slot, now_us)
    slot.wake(0, now_us / 1e6)
    assert takes_connections(slot, now_us + STUCK_US // 2)
    assert not takes_connections(slot, now_us + 2 * STUCK_US)
    slot.rest(0, 0, 0)
    assert takes_connections(slot, now_us + 2 * STUCK_US)


@pytest.mark.parametrize("state", [state for state in WorkerState if state is not WorkerState.READY])
def test_who_does_not_serve_gets_nothing(board, state) -> None:
    slot = board.slot(0)
    slot.state = state
    assert not takes_connections(slot, clock_us())


def test_who_has_no_room_gets_nothing(board) -> None:
    board.slot(0).cells.write(HAS_ROOM, 0)
    assert not takes_connections(board.slot(0), clock_us())


@pytest.mark.parametrize("engine", [LOOP, CREW])
def test_who_rests_but_shows_no_life_gets_nothing(board, engine) -> None:
    slot = board.slot(0)
    slot.beat(engine)
    assert takes_connections(slot, clock_us())
    assert takes_connections(slot, clock_us() + LIFELESS_US // 2)
    assert not takes_connections(slot, clock_us() + LIFELESS_US + 1)


def test_a_crew_that_lives_does_not_stand_for_a_loop_that_does_not(board) -> None:
    slot = board.slot(0)
    now_us = clock_us()
    slot.cells.write(BEAT_AT + LOOP, now_us - LIFELESS_US - 1)
    slot.beat(CREW)
    assert not takes_connections(slot, now_us)


def test_who_has_clients_but_shows_no_life_gets_nothing(board) -> None:
    cells = board.slot(0).cells
    cells.write(RESTS, 0)
    cells.write(MEASURED_AT, clock_us())
    assert takes_connections(board.slot(0), clock_us())
    assert not takes_connections(board.slot(0), clock_us() + 2_000_000)
