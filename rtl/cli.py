"""What the command lines share."""

import argparse


class Parser(argparse.ArgumentParser):
    """Reports what is wrong with the options in one line, with exit status 2."""

    def error(self, message):
        self.exit(2, f"{self.prog}: error: {message}\n")
