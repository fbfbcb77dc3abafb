"""What of an FPGA is counted."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Resource:
    """A row of the utilisation table.

    Attributes
    ----------
    name
        What it is.
    cell
        nextpnr's name, which gives how many there are and how many are used.
    netlist
        Beginning of the names of the netlist cells to count as used instead, if any.
    """

    name: str
    cell: str
    netlist: str | None = None
