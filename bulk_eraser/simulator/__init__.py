"""The simulator: a stand-in for the Elevate GDPR API, for trying out, rehearsing and testing."""

from bulk_eraser.simulator.faults import FAULT_DESCRIPTIONS, FAULTS, FaultRates, parse_fault
from bulk_eraser.simulator.jobs import Jobs
from bulk_eraser.simulator.server import Counts, Simulator

__all__ = [
    "FAULTS",
    "FAULT_DESCRIPTIONS",
    "Counts",
    "FaultRates",
    "Jobs",
    "Simulator",
    "parse_fault",
]
