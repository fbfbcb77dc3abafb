"""What all of sim shares: tables on a terminal, digests of code."""
