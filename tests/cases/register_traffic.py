"""Accesses to registers, right and wrong."""

import random
from dataclasses import dataclass

from golden.soc.registers import REGISTERS, SPACE_BITS, WORD_BYTES, Answer, RegisterFile


@dataclass(frozen=True)
class Access:
    """A register that is read, or written where there is a `value`."""

    address: int
    value: int | None = None

    def done(self, file: RegisterFile) -> tuple[bool, int]:
        """Return whether it is fine, and what is read."""
        if self.value is not None:
            return file.write(self.address, self.value) == Answer.DONE, 0
        value, answer = file.read(self.address)
        return answer == Answer.DONE, value


def traffic(seed: int, count: int) -> list[Access]:
    """Return a read and a write of every address there is, and random ones behind these."""
    rng = random.Random(seed)
    addresses = range(0, 1 << SPACE_BITS, WORD_BYTES)
    known = [register.address for register in REGISTERS.values()]
    return [*(Access(address) for address in addresses),
            *(Access(address, rng.getrandbits(32)) for address in addresses),
            *(Access(rng.choice(known), rng.choice([None, rng.getrandbits(32)]))
              for _ in range(count))]
