"""Boards that :mod:`rtl.build` knows, one module each."""

from . import icebreaker, ulx3s_25f, ulx3s_85f
from .board import Board

BOARDS: dict[str, Board] = {module.BOARD.name: module.BOARD
                            for module in (icebreaker, ulx3s_25f, ulx3s_85f)}
