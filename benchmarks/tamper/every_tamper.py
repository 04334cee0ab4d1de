"""All tampers, the older ones first."""

from benchmarks.tamper import later_tampers
from benchmarks.tamper.tampers import TAMPERS

assert later_tampers.FORGED  # which adds its own to the list
EVERY_TAMPER = tuple(TAMPERS)
