"""Carry finished tiles out of the MAC array, one beat per cycle, beside the next tile."""

from amaranth.hdl import Array, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

from golden.common import formats
from golden.common.checks import integer
from golden.common.config import AcceleratorConfig
from golden.common.formats import Mode
from golden.cycles.product_cycles import DRAIN, RESULTS
from golden.product.packing import slot
from golden.product.tiling import drain_cycles

from ..common.checks import check_config
from ..common.delayed import delayed
from ..common.operands import TileMode, by_mode
from ..common.shapes import shape_of
from .processing_element import sums_signature

__all__ = ["TileDrain", "accumulators_layout", "starts_layout"]

_COL_SLOTS = max(mode.col_slots for mode in Mode)
_QUEUE = RESULTS  # beats; 5 are on their way at full rate, and 6 may have to be promised


def starts_layout(config: AcceleratorConfig) -> data.ArrayLayout:
    """Start value of each logical column; W8A8 uses the first half."""
    return data.ArrayLayout(shape_of(formats.ACC), _COL_SLOTS * config.cols)


def accumulators_layout(config: AcceleratorConfig) -> data.StructLayout:
    """One output beat: results of adjacent columns of a row, the last beat of a tile marked."""
    return data.StructLayout({
        "values": data.ArrayLayout(shape_of(formats.ACC), config.lanes),
        "last": 1,
    })


class TileDrain(wiring.Component):
    """Read the sums of one PE row after the other from the first, and add the start values.

    Throughput of one beat per cycle, and a latency of :attr:`LATENCY` cycles from the capture. The
    output queue lets the array run without a stall, see :class:`_Schedule`.

    Parameters
    ----------
    config : :class:`AcceleratorConfig`
        Array shape, lanes and accumulator widths.
    flight : int
        Cycles from `finish` to the capture of the same tile, the cycle after `captures`.

    Members
    -------
    ready : ``Out(1)``
        The last operands of a tile may be accepted.
    finish : ``In(1)``
        They are; only while `ready`.
    mode, start : ``In(TileMode)``, ``In(starts_layout(config))``
        Of the tile that is finished.
    captures : ``In(1)``
        In the next cycle the sums of that tile are captured: they are in the PE rows from the cycle
        after that on.
    sums : ``In(sums_signature(config)).array(cols)``
        Of the first PE row.
    move : ``Out(1).array(cols)``
        Sums are captured, or are to be those of the next PE row in the next cycle: all alike, a
        register for each column.
    o : ``Out(stream.Signature(accumulators_layout(config)))``
        Logical rows in order, in a row logical columns in order.
    """

    LATENCY = DRAIN

    def __init__(self, config: AcceleratorConfig, flight: int):
        check_config(config)
        self._config = config
        self._flight = integer("flight", flight, 1)
        super().__init__({
            "ready": Out(1, init=1),
            "finish": In(1),
            "mode": In(TileMode),
            "start": In(starts_layout(config)),
            "captures": In(1),
            "sums": In(sums_signature(config)).array(config.cols),
            "move": Out(1).array(config.cols),
            "o": Out(stream.Signature(accumulators_layout(config))),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.schedule = schedule = _Schedule(self._config, self._flight)
        capture = Signal()
        m.d.sync += capture.eq(self.captures)
        m.d.comb += [
            schedule.finish.eq(self.finish),
            schedule.capture.eq(capture),
            schedule.taken.eq(self.o.valid & self.o.ready),
            self.ready.eq(schedule.ready),
        ]

        # The tile in flight, then the one being drained.
        flight_mode, drain_mode = Signal(TileMode), Signal(TileMode)
        flight_start, drain_start = Signal.like(self.start), Signal.like(self.start)
        m.d.comb += schedule.mode.eq(flight_mode)
        with m.If(~schedule.in_flight):
            m.d.sync += [flight_mode.eq(self.mode), flight_start.eq(self.start)]
        with m.If(capture):
            m.d.sync += [drain_mode.eq(flight_mode), drain_start.eq(flight_start)]

        place = self._place(m, schedule, drain_mode, Mux(capture, flight_mode, drain_mode))
        starts = self._lanes(drain_start, place.beat)

        # Stage u: the sums of a PE row, and where in it the beat is.
        u_valid, u_last = Signal(), Signal()
        u_mode = Signal(TileMode)
        u_place = Signal.like(place)
        u_starts = [Signal.like(value, name=f"u_start_{lane}", reset_less=True)
                    for lane, value in enumerate(starts)]
        m.d.sync += [
            u_valid.eq(schedule.issue), u_last.eq(schedule.last),
            u_mode.eq(drain_mode), u_place.eq(place),
            *(register.eq(value) for register, value in zip(u_starts, starts, strict=True)),
        ]
        u_sums = self._row(m)
        self._results(m, u_valid, u_last, self._beat(u_sums, u_mode, u_place), u_starts)
        return m

    def _place(self, m, schedule, mode, next_mode):
        """Return the place of the beat that is issued, beats within a logical row and logical rows
        within a PE row, and let the sums move on with the last of a PE row.

        Whether they do, and whether a row ends, is known a cycle before: so many registers are
        told.
        """
        lanes, cols = self._config.lanes, self._config.cols
        final = {each: each.col_slots * cols // lanes - 1 for each in Mode}
        place = Signal(data.StructLayout({"upper": 1, "beat": range(max(final.values()) + 1)}))
        following, row_end = Signal.like(place), Signal()
        last = following.beat == by_mode(next_mode, final)
        m.d.comb += following.eq(place)
        with m.If(schedule.issue):
            m.d.comb += following.beat.eq(Mux(row_end, 0, place.beat + 1))
            with m.If(row_end):
                m.d.comb += following.upper.eq((mode == TileMode.W4A4) & ~place.upper)
        m.d.sync += [place.eq(following), row_end.eq(last)]
        shifts = (schedule.next_issue & last
                  & (following.upper | (next_mode != TileMode.W4A4)))
        for col, move in enumerate(self.move):
            m.d.comb += move.eq(delayed(m, shifts | self.captures, f"move_{col}", 1,
                                        attrs={"keep": 1}))
        return place

    def _row(self, m):
        """Register the sums of the first PE row."""
        registers = []
        for col, sums in enumerate(self.sums):
            held = {}
            for name in sums.signature.members:
                value = getattr(sums, name)
                held[name] = register = Signal.like(value, name=f"u_{name}_{col}", reset_less=True)
                m.d.sync += register.eq(value)
            registers.append(held)
        return registers

    def _beat(self, sums, mode, place):
        """Return the sum of each lane in a beat of a PE row."""
        def row(each, row_slot):
            return self._lanes([
                sums[col][f"slot{slot(row_slot, col_slot)}"]
                for col in range(self._config.cols) for col_slot in range(each.col_slots)],
                place.beat)

        rows = {each: row(each, 0) for each in Mode}
        return [Mux(place.upper, high, by_mode(mode, {each: rows[each][lane] for each in Mode}))
                for lane, high in enumerate(row(Mode.W4A4, 1))]

    def _lanes(self, columns, beat):
        """Return the values of `columns`, one per logical column, that form beat `beat`."""
        columns = [columns[n] for n in range(len(columns))]
        lanes = self._config.lanes
        return [Array(columns[lane::lanes])[beat] for lane in range(lanes)]

    def _results(self, m, valid, last, sums, starts):
        """Add and queue what the schedule issues; it has made sure of the room."""
        m.submodules.queue = queue = SyncFIFOBuffered(width=accumulators_layout(self._config).size,
                                                      depth=_QUEUE)
        # Stage v: sums and start values.
        v_valid, v_last = Signal(), Signal()
        v_sums = [Signal(shape_of(formats.ACC), name=f"v_sum_{lane}", reset_less=True)
                  for lane in range(len(sums))]
        v_starts = [Signal.like(value, name=f"v_start_{lane}", reset_less=True)
                    for lane, value in enumerate(v_sums)]

        # Stage r: results, within 32 bits as golden.product.mac_array promises.
        r_valid = Signal()
        r_result = Signal(accumulators_layout(self._config), reset_less=True)

        m.d.sync += [
            v_valid.eq(valid),
            v_last.eq(last),
            r_valid.eq(v_valid),
            r_result.last.eq(v_last),
        ]
        for lane, (v_sum, v_start) in enumerate(zip(v_sums, v_starts, strict=True)):
            m.d.sync += [
                v_sum.eq(sums[lane]),
                v_start.eq(starts[lane]),
                r_result.values[lane].eq(v_sum + v_start),
            ]
        m.d.comb += [
            queue.w_en.eq(r_valid),
            queue.w_data.eq(r_result),
            self.o.valid.eq(queue.r_rdy),
            self.o.payload.eq(queue.r_data),
            queue.r_en.eq(self.o.ready),
        ]


class _Schedule(wiring.Component):
    """Decide when a beat is issued to the output queue and when a tile may finish.

    Operands are never held up once accepted, so the tile before must have left the PE rows when the
    sums of the next arrive, `flight` cycles after its last operands. `ready` promises that: no more
    beats are left than there will be cycles, and the queue has room for all of them. With results
    taken every cycle, tiles finish exactly as often as the drain allows.

    Members
    -------
    finish, capture : ``In(1)``
        As in :class:`TileDrain`.
    mode : ``In(TileMode)``
        Of the tile in flight.
    taken : ``In(1)``
        A beat leaves the queue.
    ready : ``Out(1)``
    in_flight : ``Out(1)``
        A tile has finished, its sums are still to come.
    issue, last : ``Out(1)``
        A beat is issued; it is the last of its tile.
    next_issue : ``Out(1)``
        A beat is issued in the next cycle.
    """

    finish: In(1)
    capture: In(1)
    mode: In(TileMode)
    taken: In(1)
    ready: Out(1, init=1)
    in_flight: Out(1)
    issue: Out(1)
    last: Out(1)
    next_issue: Out(1)

    def __init__(self, config: AcceleratorConfig, flight: int):
        self._beats = {mode: drain_cycles(mode, config) for mode in Mode}
        self._flight = flight
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        left = Signal(range(max(self._beats.values()) + 1))  # beats of the tile to issue
        room = Signal(range(_QUEUE + 1), init=_QUEUE)  # places in the queue not yet promised
        next_left, next_room = Signal.like(left), Signal.like(room, init=0)
        next_in_flight = self.finish | (self.in_flight & ~self.capture)
        m.d.comb += [
            next_left.eq(Mux(self.capture, by_mode(self.mode, self._beats), left - self.issue)),
            next_room.eq(room + self.taken - self.issue),
            self.last.eq(left == 1),
            self.next_issue.eq((next_left != 0) & (next_room != 0)),
        ]
        m.d.sync += [
            left.eq(next_left),
            room.eq(next_room),
            self.in_flight.eq(next_in_flight),
            self.issue.eq(self.next_issue),
            self.ready.eq(~next_in_flight & (next_left <= self._flight + 1)
                          & (next_room >= next_left)),
        ]
        return m
