"""What a worker with more than its share gives to whom: the arithmetic of even load, without sockets."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from trilithon.net.standing import WORK_S, Standing

# A worker this far above the mean gives, and none is filled further than this.
TOO_MUCH = 1.1
ENOUGH = 1.07
# One that is busy with few connections gives sooner, to have room for a fair number of quiet ones.
TOO_MUCH_FOR_FEW = 1.05
# What a worker had too much of in the last seconds is made up for once it is more than this, by at most so much of the
# mean rate.
FORGIVEN = 0.08
MAKE_UP = 0.25
# So many requests make a rate that can be trusted; fewer are gathered for longer, up to two seconds.
TRUSTED_REQUESTS = 100
MIN_WINDOW_S = 0.375
MAX_WINDOW_S = 2.0
# A worker whose process uses this much more of a processor than another has more to do, however few its requests are.
CPU_MARGIN = 0.1
MAX_MOVES = 32
# Differences of up to so many standard deviations are taken for chance.
CHANCE = 1.5
# So much above the mean may be a worker's number of connections.
UNEVEN = 0.1


@dataclass(slots=True)
class Quota:
    """What one worker is to get: requests a second at best and at most, and a number of idle connections besides."""

    slot: int
    rate: float
    most: float
    idle: int
    idle_rate: float


def window_s(rate: float) -> float:
    """Return how long requests that come at a rate are gathered for its estimate."""
    return max(MIN_WINDOW_S, min(MAX_WINDOW_S, TRUSTED_REQUESTS / rate if rate else MAX_WINDOW_S))


def plan(own: Standing, others: Sequence[Standing]) -> list[Quota]:
    """Return what this worker is to give to others, nothing where it has no more than its share.

    All workers see the same figures, so each finds its own part of one plan and no two fill the same gap.
    """
    members = [own, *others]
    mean_rate = sum(member.rate for member in members) / len(members)
    mean_work = sum(member.work for member in members) / len(members)
    burdens = {member.slot.index: burden(member, mean_rate, mean_work) for member in members}
    mean = sum(burdens.values()) / len(members)
    quotas: dict[int, Quota] = {}
    spread = math.sqrt(mean_rate / window_s(mean_rate))
    mean_count = sum(member.connections for member in members) / len(members)
    too_much = TOO_MUCH if own.connections > (1 - 2 * UNEVEN) * mean_count else TOO_MUCH_FOR_FEW
    if burdens[own.slot.index] - mean > max((too_much - 1) * mean, CHANCE * spread):
        counts = {member.slot.index: member.connections for member in members}
        for slot, rate in share_out(own, members, burdens, mean):
            most = burdens[own.slot.index] - burdens[slot]
            quotas[slot] = Quota(slot, rate, most, max(0, (own.connections - counts[slot]) // 2), rate)
    for slot, count in spare_connections(own, members):
        room = max(0.0, ENOUGH * mean - burdens[slot])
        if room or not mean:
            quota = quotas.setdefault(slot, Quota(slot, 0.0, 0.0, 0, 0.0))
            quota.idle = max(quota.idle, count)
            quota.idle_rate = max(quota.idle_rate, room)
    return list(quotas.values())


def burden(member: Standing, mean_rate: float, mean_work: float) -> float:
    """Return a worker's rate, with what it had too much or too little of lately."""
    surplus = member.work - mean_work
    forgiven = max(FORGIVEN * mean_work, CHANCE * math.sqrt(mean_work))
    surplus = math.copysign(max(0.0, abs(surplus) - forgiven), surplus) / WORK_S
    return member.rate + max(-MAKE_UP * mean_rate, min(MAKE_UP * mean_rate, surplus))


def share_out(
    own: Standing, members: Sequence[Standing], burdens: dict[int, float], mean: float
) -> list[tuple[int, float]]:
    """Return which gaps this worker fills and by how much, those with more to give before it having filled theirs."""
    givers = sorted((m for m in members if burdens[m.slot.index] > mean), key=lambda m: -burdens[m.slot.index])
    takers = sorted((m for m in members if burdens[m.slot.index] < mean), key=lambda m: burdens[m.slot.index])
    gaps = [(m, mean - burdens[m.slot.index]) for m in takers if m.cpu <= own.cpu + CPU_MARGIN]
    parts: list[tuple[int, float]] = []
    for giver in givers:
        left = burdens[giver.slot.index] - mean
        while left > 0 and gaps:
            taker, gap = gaps[0]
            part = min(left, gap)
            left -= part
            if giver is own:
                parts.append((taker.slot.index, part))
            if part < gap:
                gaps[0] = (taker, gap - part)
            else:
                gaps.pop(0)
        if giver is own:
            break
    return parts


def spare_connections(own: Standing, members: Sequence[Standing]) -> list[tuple[int, int]]:
    """Return to whom this worker gives how many connections for the sake of their number."""
    mean = sum(member.connections for member in members) / len(members)
    spare = int(own.connections - mean)
    if spare < max(1.0, mean * UNEVEN):
        return []
    parts = []
    for member in sorted(members, key=lambda member: member.connections):
        count = min(spare, int(mean - member.connections))
        if count < 1:
            break
        parts.append((member.slot.index, count))
        spare -= count
    return parts


def is_turn_over(own: Standing, others: Sequence[Standing]) -> bool:
    """Tell whether this worker has long enough had a connection that is too much for any one worker."""
    mean_work = (own.work + sum(other.work for other in others)) / (1 + len(others))
    return own.work > TOO_MUCH * mean_work


def choose(rates: Sequence[float], quota: Quota, taken: set[int]) -> list[int]:
    """Return the places of those rates, sorted from the highest down, that make a quota; none of those in `taken`.

    Quiet connections make up its number, then as few others as possible what is missing of its rate.
    """
    chosen: list[int] = []
    free = [place for place in range(len(rates)) if place not in taken]
    room = max(quota.idle_rate, quota.rate)
    while free and len(chosen) < min(quota.idle, MAX_MOVES) and rates[free[-1]] <= room:
        room -= rates[free[-1]]
        chosen.append(free.pop())
    missing = quota.rate - sum(rates[place] for place in chosen)
    for place in free:
        if missing <= 0 or rates[place] * MAX_MOVES < quota.rate or len(chosen) >= MAX_MOVES:
            break
        if rates[place] <= missing:
            chosen.append(place)
            missing -= rates[place]
    if not chosen and quota.rate:
        # None is small enough: one that is too large still helps while it leaves less of a difference than there was.
        chosen = [place for place in free if quota.rate < rates[place] < 0.95 * quota.most][-1:]
    return chosen
