"""A result as a Python script that rebuilds the experiment, runs it and asserts the stored numbers."""

from __future__ import annotations

import base64
import pprint
import zlib

import numpy as np

from analyses.grid import Grid
from analyses.result import Result
from workbench.replay import tolerance

INTRODUCTION = '''"""Runs one stored experiment again and asserts its numbers. Needs the workbench: workbench.api."""'''
IMPORTS = """import base64
import zlib

import numpy as np

from workbench.api import Experiment, run
"""
DECODE = '''
def stored(shape, text):
    """The stored values: float32, NaN where a value is missing."""
    return np.frombuffer(zlib.decompress(base64.b64decode(text)), dtype="<f4").reshape(shape)
'''
COMPARE = """for name, (shape, text) in STORED.items():
    grid = result.grid(name)
    found = grid.values if grid.valid is None else np.where(grid.valid, grid.values, np.nan)
    expected = stored(shape, text)
    assert found.shape == expected.shape, f"{name}: shape {found.shape}, stored {expected.shape}"
    assert (np.isnan(found) == np.isnan(expected)).all(), f"{name}: other values are missing"
    difference = float(np.nanmax(np.abs(found - expected), initial=0.0))
    print(f"{name}: largest difference {difference:.3g}")
    assert difference <= TOLERANCE, f"{name}: {difference} exceeds {TOLERANCE}\""""


COMPARE_CIRCUIT = """difference = circuit_difference(CIRCUIT, result.circuit)
print(f"circuit: {len(CIRCUIT['edges'])} edges, largest difference {difference:.3g}")
assert difference <= TOLERANCE, f"circuit: {difference} exceeds {TOLERANCE}\""""


def script(result: Result) -> str:
    """The script; every text of the user stands in it as a Python literal."""
    blocks = (INTRODUCTION, imports(result), DECODE, experiment_code(result), stored_code(result), RUN, compare(result))
    return "\n\n".join(blocks) + "\n"


def imports(result: Result) -> str:
    """What the script imports; more where the result found a circuit."""
    return (
        IMPORTS
        if result.circuit is None
        else IMPORTS.replace("import Experiment", "import Experiment, circuit_difference")
    )


def compare(result: Result) -> str:
    """Code that asserts the stored numbers, and the circuit where one was found."""
    return COMPARE if result.circuit is None else f"{COMPARE}\n\n{COMPARE_CIRCUIT}"


RUN = "result = run(EXPERIMENT)"


def experiment_code(result: Result) -> str:
    """Code that rebuilds the experiment and checks that it is the same one."""
    literal = pprint.pformat(result.experiment.to_json(), sort_dicts=False, width=100)
    return f"EXPERIMENT = Experiment.model_validate(\n{literal}\n)\nassert EXPERIMENT.id == {result.id!r}"


def stored_code(result: Result) -> str:
    """Code that holds the stored numbers."""
    lines = [f"    {name!r}: ({grid.values.shape!r}, {encoded(grid)!r})," for name, grid in result.grids.items()]
    found = (
        [] if result.circuit is None else [f"CIRCUIT = {pprint.pformat(result.circuit, sort_dicts=False, width=120)}"]
    )
    return "\n".join((f"TOLERANCE = {tolerance(result)!r}", "STORED = {", *lines, "}", *found))


def encoded(grid: Grid) -> str:
    """The values of a grid as text: little-endian float32, NaN where missing, compressed, base64."""
    values = np.asarray(grid.values, dtype="<f4")
    if grid.valid is not None:
        values = np.where(grid.valid, values, np.float32(np.nan)).astype("<f4")
    return base64.b64encode(zlib.compress(values.tobytes(), 9)).decode("ascii")
