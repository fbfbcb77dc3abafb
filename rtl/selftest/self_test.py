"""Self-testing design: the units, fed by a pattern generator, reporting over a serial port."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out, connect

from golden.common.checks import integer
from golden.common.config import AcceleratorConfig
from golden.common.formats import IntFormat
from golden.selftest import self_test, stations
from golden.selftest.pattern import WORD_BITS
from golden.selftest.self_test import FAIL, PASS, compress, signature
from golden.selftest.stations import Check

from ..common.checks import check_config
from ..common.shapes import rom
from ..soc.uart import UartTransmitter
from .pattern import PatternGenerator
from .stations import STATIONS

__all__ = ["SelfTest"]

_WORD = IntFormat(WORD_BITS, signed=False)

_run_signature = wiring.Signature({
    "request": Out(1),  # run the next unit; held until `done`
    "done": In(1),
    "correct": In(1),  # while `done`: the results were the expected ones
    "digest": In(WORD_BITS),  # signature, from `done` to the next request
})


class SelfTest(wiring.Component):
    """Test every unit, print :func:`golden.selftest.self_test.report`, wait, and start over.

    Parameters
    ----------
    config : :class:`AcceleratorConfig`
        Configuration of the units.
    divisor : int
        Clock cycles per bit of the serial line.
    pause : int
        Clock cycles between two rounds.

    Members
    -------
    tx : ``Out(1)``
        Serial line, 8N1.
    passed, failed : ``Out(1)``
        Outcome of the last round, both low during the first.
    """

    tx: Out(1, init=1)
    passed: Out(1)
    failed: Out(1)

    def __init__(self, config: AcceleratorConfig, *, divisor: int, pause: int):
        check_config(config)
        self._config = config
        self._divisor = integer("divisor", divisor, 1)
        self._pause = integer("pause", pause, 1)
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        checks = stations.checks(self._config)
        m.submodules.runner = runner = _Runner(self._config, checks)
        m.submodules.printer = printer = _Printer(self_test.script(self._config), self._pause)
        m.submodules.uart = uart = UartTransmitter(self._divisor)
        connect(m, printer.run, runner.run)
        connect(m, printer.text, uart.i)
        m.d.comb += [
            self.tx.eq(uart.tx),
            self.passed.eq(printer.passed),
            self.failed.eq(printer.failed),
        ]
        return m


class _Runner(wiring.Component):
    """Run one unit per request, in turn, and fold its results into a signature."""

    def __init__(self, config: AcceleratorConfig, checks: tuple[Check, ...]):
        self._config = config
        self._checks = checks
        super().__init__({"run": In(_run_signature)})

    def elaborate(self, platform):
        m = Module()
        checks = self._checks
        m.submodules.pattern = pattern = PatternGenerator(max(check.words for check in checks))
        unit = Signal(range(len(checks)))
        beats = Signal(range(max(check.beats for check in checks)))  # left to feed, less one
        results = Signal(range(max(len(check.results) for check in checks)))  # to come, less one
        # Registered bits per unit: the handshakes with the units begin with them.
        feeding, taking = Signal(len(checks)), Signal(len(checks))
        arrives, result = self._stations(m, pattern, feeding, taking)

        def choose(values):
            return rom(values, unit, _WORD)

        with m.FSM():
            with m.State("IDLE"), m.If(self.run.request):
                m.d.comb += pattern.restart.eq(1)
                m.d.sync += [
                    self.run.digest.eq(_WORD.max),
                    beats.eq(choose(check.beats - 1 for check in checks)),
                    results.eq(choose(len(check.results) - 1 for check in checks)),
                    feeding.eq(1 << unit),
                    taking.eq(1 << unit),
                ]
                m.next = "RUN"
            with m.State("RUN"):
                with m.If(pattern.o.ready):
                    m.d.sync += beats.eq(beats - 1)
                    with m.If(beats == 0):
                        m.d.sync += feeding.eq(0)
                with m.If(arrives):
                    m.d.sync += [
                        self.run.digest.eq(compress(self.run.digest, result)),
                        results.eq(results - 1),
                    ]
                    with m.If(results == 0):
                        m.d.sync += taking.eq(0)
                        m.next = "DONE"
            with m.State("DONE"):
                expected = choose(signature(check.results) for check in checks)
                m.d.comb += [
                    self.run.done.eq(1),
                    self.run.correct.eq(self.run.digest == expected),
                ]
                m.d.sync += unit.eq(Mux(unit == len(checks) - 1, 0, unit + 1))
                m.next = "IDLE"
        return m

    def _stations(self, m, pattern, feeding, taking):
        """Connect all units to the pattern; return whether a result arrives, and the result."""
        arrives, result = Signal(), Signal(WORD_BITS)
        for index, check in enumerate(self._checks):
            station = STATIONS[check.name](self._config, check.words)
            m.submodules[check.name] = station
            m.d.comb += [
                station.i.payload.eq(pattern.o.payload),
                station.i.valid.eq(feeding[index]),
                station.o.ready.eq(taking[index]),
            ]
            with m.If(feeding[index]):
                m.d.comb += pattern.o.ready.eq(station.i.ready)
            with m.If(taking[index]):
                m.d.comb += [arrives.eq(station.o.valid), result.eq(station.o.payload)]
        return arrives, result


class _Printer(wiring.Component):
    """Execute a script of :func:`golden.selftest.self_test.script`, for ever."""

    def __init__(self, script: bytes, pause: int):
        self._script = script
        self._pause = pause
        super().__init__({
            "run": Out(_run_signature),
            "text": Out(stream.Signature(8)),
            "passed": Out(1),
            "failed": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        position = Signal(range(len(self._script)))
        command = self._command(m, position)
        code = Signal(8)  # register behind the memory, which is slow
        digit = Signal(3)  # of a number or a verdict
        verdict = Signal()  # of the unit run last, then of all
        all_correct = Signal(init=1)
        timer = Signal(range(self._pause))

        def step():
            m.d.sync += [position.eq(position + 1), digit.eq(0)]
            m.next = "FETCH"

        def printed(byte, last):
            """Print one of several bytes; step behind the last."""
            m.d.comb += [self.text.valid.eq(1), self.text.payload.eq(byte)]
            with m.If(self.text.ready):
                m.d.sync += digit.eq(digit + 1)
                with m.If(last):
                    step()

        with m.FSM():
            with m.State("FETCH"):
                m.next = "DECODE"
            with m.State("DECODE"):
                m.d.sync += code.eq(command)
                m.next = "EXECUTE"
            with m.State("EXECUTE"), m.Switch(code):
                for each in ("RUN", "SIGNATURE", "VERDICT"):  # states of the same names
                    with m.Case(getattr(self_test, each)):
                        m.next = each
                with m.Case(self_test.RESULT):
                    m.d.sync += [verdict.eq(all_correct), self.passed.eq(all_correct),
                                 self.failed.eq(~all_correct)]
                    m.next = "VERDICT"
                with m.Case(self_test.REPEAT):
                    m.d.sync += [position.eq(0), all_correct.eq(1), timer.eq(self._pause - 1)]
                    m.next = "PAUSE"
                with m.Default():
                    printed(code, last=1)
            with m.State("RUN"):
                m.d.comb += self.run.request.eq(1)
                with m.If(self.run.done):
                    m.d.sync += [
                        verdict.eq(self.run.correct),
                        all_correct.eq(all_correct & self.run.correct),
                    ]
                    step()
            with m.State("SIGNATURE"):
                nibble = self.run.digest.word_select(~digit, 4)  # most significant first
                printed(rom(b"0123456789ABCDEF", nibble, IntFormat(8, signed=False)), digit == 7)
            with m.State("VERDICT"):
                text = rom(PASS + FAIL, digit[:2] | (~verdict << 2), IntFormat(8, signed=False))
                printed(text, digit == len(PASS) - 1)
            with m.State("PAUSE"):
                m.d.sync += timer.eq(timer - 1)
                with m.If(timer == 0):
                    m.next = "FETCH"
        return m

    def _command(self, m, position):
        """Return what is at `position` of the script, in the cycle after."""
        m.submodules.script = script = memory.Memory(
            shape=8, depth=len(self._script), init=list(self._script),
            attrs={"ram_style": "block"})
        read = script.read_port()
        m.d.comb += read.addr.eq(position)
        return read.data
