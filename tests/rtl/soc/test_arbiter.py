# amaranth: UnusedElaboratable=no

import random
from collections import deque

import pytest

from golden.common.config import CORES
from rtl.soc.arbiter import MemoryArbiter
from tests.benches.simulate import simulate
from tests.benches.streams import held

CONFIG = CORES["4x4"]


class Memory:
    """Memory behind an arbiter: answers in order, after a while, with what it was asked."""

    def __init__(self, port, *, latency, stall, seed=1):
        self.requests, self._port = [], port
        self._latency, self._stall, self._rng = latency, stall, random.Random(seed)
        self.most = 0

    async def run(self, ctx):
        port, rng, answers, cycle = self._port, self._rng, deque(), 0
        while True:
            ready = rng.random() >= self._stall
            given = bool(answers) and answers[0][0] <= cycle and rng.random() >= self._stall
            ctx.set(port.request.ready, ready)
            ctx.set(port.response.valid, given)
            if given:
                ctx.set(port.response.payload, answers[0][1])
            *_, valid, request, taken = await ctx.tick().sample(
                port.request.valid, port.request.payload, port.response.ready)
            assert taken, "a response must always be taken"
            if given:
                answers.popleft()
            if valid and ready:
                self.requests.append((request.address, request.write, request.data))
                answers.append((cycle + self._latency, {
                    "data": request.data ^ request.address, "error": request.address >> 4 & 1}))
                self.most = max(self.most, len(answers))
            cycle += 1


class User:
    """Asks for what nobody else does, and keeps the cycles that it waited."""

    def __init__(self, port, index, count, *, idle):
        rng = random.Random(10 + index)
        self._port, self._rng, self._idle = port, rng, idle
        self.requests = [(index << 28 | number << 4, rng.randrange(2), rng.getrandbits(32))
                         for number in range(count)]
        self.waited, self.responses = [], []

    async def ask(self, ctx):
        request = self._port.request
        for address, write, data in self.requests:
            while self._rng.random() < self._idle:
                await ctx.tick()
            ctx.set(request.valid, 1)
            ctx.set(request.payload, {"address": address, "write": write, "data": data})
            ready, waited = 0, 0
            while not ready:
                *_, ready = await ctx.tick().sample(request.ready)
                waited += 1
            ctx.set(request.valid, 0)
            self.waited.append(waited)

    async def listen(self, ctx):
        response = self._port.response
        ctx.set(response.ready, 1)
        while len(self.responses) < len(self.requests):
            *_, valid, payload = await ctx.tick().sample(response.valid, response.payload)
            if valid:
                self.responses.append((payload.data, payload.error))
        assert self.responses == [(data ^ address, address >> 4 & 1)
                                  for address, _, data in self.requests]


def run(*, idle, users=2, count=600, latency=8, stall=0.0, flight=16):
    """Return users and memory after all has been answered."""
    dut = MemoryArbiter(CONFIG, users=users, flight=flight)
    memory = Memory(dut.memory, latency=latency, stall=stall)
    each = [User(port, index, count, idle=part)
            for index, (port, part) in enumerate(zip(dut.users, idle, strict=True))]
    simulate(dut, *(one.ask for one in each), *(one.listen for one in each),
             monitors=[memory.run, held(dut.memory.request)], max_cycles=20_000)
    return each, memory


@pytest.mark.parametrize(("idle", "latency", "stall", "flight"), [
    ((0.0, 0.0), 8, 0.0, 16), ((0.5, 0.5), 8, 0.3, 16), ((0.0, 0.9), 3, 0.5, 4),
    ((0.9, 0.0), 20, 0.0, 1), ((0.0, 0.3, 0.6), 5, 0.2, 8)])
def test_each_user_gets_its_own_answers_in_order_and_nothing_is_lost(idle, latency, stall,
                                                                      flight):
    users, memory = run(idle=idle, users=len(idle), count=150 if flight == 1 else 400,
                        latency=latency, stall=stall, flight=flight)
    for index, user in enumerate(users):
        assert [one for one in memory.requests if one[0] >> 28 == index] == user.requests
    assert len(memory.requests) == sum(len(user.requests) for user in users)
    assert memory.most <= flight


def test_nobody_waits_for_more_than_a_beat_of_each_other():
    users, _ = run(idle=(0.0, 0.7, 0.0), users=3, flight=32)
    assert max(users[1].waited) <= 3
    users, _ = run(idle=(0.0, 0.95))
    assert max(users[1].waited) <= 2


def test_a_user_alone_has_a_beat_a_cycle():
    dut = MemoryArbiter(CONFIG)
    memory, user = Memory(dut.memory, latency=8, stall=0), User(dut.users[0], 0, 500, idle=0)
    simulate(dut, user.ask, user.listen, monitors=[memory.run], max_cycles=520)
    assert set(user.waited) == {1}


@pytest.mark.parametrize(("choices", "message"), [
    ({"users": 1}, "users must be 2 or more, not 1"),
    ({"flight": 0}, "flight must be 1 or more, not 0")])
def test_refuses_wrong_arguments(choices, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        MemoryArbiter(CONFIG, **choices)
