"""What a mutant must not do."""

from sim.cli import one_line


class Fault(AssertionError):
    """A mutant that was neither refused as documented nor used."""


def check_message(error: Exception) -> None:
    """Raise :exc:`Fault` unless an error is printed as one readable line."""
    text = one_line(error)
    if not (text and text.isprintable() and len(text) < 2000):
        raise Fault(f"the message is {text[:2000]!r}") from error
