"""The run of the notebooks under pytest: one thread, no network, and at the end a ledger of what each one took."""

from collections import defaultdict
from pathlib import Path

import nbformat
import psutil
import pytest

# Run in every kernel before the first cell: only this machine can be reached.
NO_NETWORK = """
import socket

def refuse(self, address, connect=socket.socket.connect):
    if isinstance(address, tuple) and address[0] not in ("127.0.0.1", "::1", "localhost"):
        raise OSError(f"The network is refused in this run: {address}.")
    return connect(self, address)

socket.socket.connect = refuse
"""

seconds, memory = defaultdict(float), defaultdict(int)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_setup(item):
    """Let the kernel, which starts with its first cell, have one thread and no network."""
    folder = item.config._tmp_path_factory.getbasetemp() / "ipython"
    startup = folder / "profile_default" / "startup"
    startup.mkdir(parents=True, exist_ok=True)
    (startup / "no_network.py").write_text(NO_NETWORK, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setenv("IPYTHONDIR", str(folder))
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    """Note the memory that the kernel holds after a cell."""
    try:
        return (yield)
    finally:
        process = psutil.Process(item.parent.kernel.km.provisioner.process.pid)
        item.user_properties.append(("memory", process.memory_info().rss))


def pytest_runtest_logreport(report):
    """Add up a notebook's seconds, and keep its largest memory."""
    if ".ipynb::" in report.nodeid:
        name = report.nodeid.split("::")[0]
        seconds[name] += report.duration
        memory[name] = max(memory[name], *(value for key, value in report.user_properties if key == "memory"), 0)


def pytest_terminal_summary(terminalreporter, config):
    """Print the ledger: seconds, memory, cells, and the share of code cells whose outputs are compared."""
    if seconds:
        terminalreporter.section("the notebooks")
        terminalreporter.write_line(f"{'':<40}{'seconds':>8}{'memory':>10}{'cells':>7}{'compared':>10}")
    for name in sorted(seconds):
        cells = nbformat.read(Path(config.rootpath) / name, as_version=4).cells
        code = [cell for cell in cells if cell.cell_type == "code"]
        compared = sum("nbval-ignore-output" not in cell.metadata.get("tags", []) for cell in code) / len(code)
        line = f"{name:<40}{seconds[name]:>8.0f}{memory[name] / 2**20:>6.0f} MiB{len(cells):>7}{compared:>10.0%}"
        terminalreporter.write_line(line)
