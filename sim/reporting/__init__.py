"""A report in one HTML file: what estimates and explorations have found, to be looked at."""
