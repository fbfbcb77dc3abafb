"""The images of a start: one run of the core after the other, each with places of its own."""

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from golden.core.isa import STATUS_BITS, Status
from golden.soc.registers import IMAGES_BITS

from ..memory.memory_port import ADDRESS
from .registers import PLACES

__all__ = ["Images"]


class Images(wiring.Component):
    """Begin the run of the next image when that of one has ended without an error.

    Between two of them there are two cycles in which the core does nothing.

    Members
    -------
    begins : ``In(1)``
        The first run begins in this cycle.
    images, image_offset, logits_offset, image_stride, logits_stride : ``In``
        As the registers of these names have them when it begins; strides until all has ended.
    done, status, exited : ``In(1)``, ``In(STATUS_BITS)``, ``In(1)``
        Of the core.
    again : ``Out(1)``
        The next run begins in this cycle.
    more : ``Out(1)``
        A run has ended, and another one is to come.
    image, logits : ``Out(32)``
        Offsets of the run, from the cycle after its beginning on.
    images_done : ``Out(IMAGES_BITS)``
        Images of this start whose runs have ended without an error.
    images_exited : ``Out(IMAGES_BITS)``
        Those of them whose runs have ended at an EXIT.
    """

    def __init__(self):
        super().__init__({
            "begins": In(1), "images": In(IMAGES_BITS), **{name: In(ADDRESS) for name in PLACES},
            "done": In(1), "status": In(STATUS_BITS), "exited": In(1),
            "again": Out(1), "more": Out(1),
            "image": Out(ADDRESS), "logits": Out(ADDRESS), "images_done": Out(IMAGES_BITS),
            "images_exited": Out(IMAGES_BITS),
        })

    def elaborate(self, platform):
        m = Module()
        counted = Signal()  # the run that has ended has been
        left = Signal(IMAGES_BITS)  # to come behind the present one
        fine = self.done & (self.status == Status.FINE)
        m.d.comb += self.more.eq(fine & (left != 0))
        m.d.sync += self.again.eq(self.more & ~self.again)
        with m.If(fine & ~counted):
            m.d.sync += [self.images_done.eq(self.images_done + 1), counted.eq(1),
                         self.images_exited.eq(self.images_exited + self.exited)]
        with m.If(self.again):
            m.d.sync += [left.eq(left - 1), counted.eq(0),
                         self.image.eq(self.image + self.image_stride),
                         self.logits.eq(self.logits + self.logits_stride)]
        with m.If(self.begins):
            m.d.sync += [counted.eq(0), self.images_done.eq(0), self.images_exited.eq(0),
                         left.eq(self.images - (self.images != 0)),
                         self.image.eq(self.image_offset), self.logits.eq(self.logits_offset)]
        return m
