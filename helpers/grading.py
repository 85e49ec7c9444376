"""Grading: runs the checks over a folder of students' notebooks, and writes what each exercise got as a table (CSV)."""

import csv
import json
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nbformat
import psutil
from nbclient import NotebookClient
from nbclient.exceptions import DeadKernelError

from helpers import checks

COLUMNS = ("student", "notebook", "exercise", "state", "mistake", "answer")
HANGS, CRASHES, MISSING = "hangs", "crashes", "missing"
MOST_CRASHES = 3  # of one notebook, after which the rest of it is given up
GRADE = """
import json as _json
from helpers import checks as _checks
_verdict = _checks.{name}.judge({name})
print("GRADE " + _json.dumps([_verdict.state, _verdict.mistake, _verdict.message]))
"""


def grade(folder, out, seconds):
    """Grade every notebook in a folder, each in a process of its own for at most so many seconds; write the table `out`.

    The folder holds a folder for each student, or notebooks named after them. Raises ValueError if there is none.
    """
    folder = Path(folder)
    files = sorted(file for file in folder.rglob("*.ipynb") if ".ipynb_checkpoints" not in file.parts)
    if not files:
        raise ValueError(f"There is no notebook (.ipynb) in {folder}: give the folder that holds the students' notebooks.")
    with open(out, "w", encoding="utf-8", newline="") as stream, ThreadPoolExecutor(os.cpu_count()) as pool:
        table = csv.writer(stream)
        table.writerow(COLUMNS)
        for file, rows in zip(files, pool.map(lambda file: graded(file, seconds), files), strict=True):
            student = file.relative_to(folder).parts[0] if file.parent != folder else file.stem
            table.writerows([student, file.name, *row] for row in rows)
            stream.flush()
            print(f"{student}, {file.name}: {sum(row[1] == 'correct' for row in rows)} of {len(rows)} correct", flush=True)


def graded(file, seconds):
    """Return [exercise, state, mistake, answer] for each exercise of one notebook, run in a process of its own."""
    try:
        sources = [cell.source for cell in nbformat.read(file, as_version=4).cells if cell.cell_type == "code"]
    except Exception as error:  # nbformat raises what json and jsonschema raise
        return [["", CRASHES, "", f"This is no notebook that can be read: {type(error).__name__}."]]
    names = expected(sources)
    if not names:
        return [["", MISSING, "", "No exercise of the course is in this notebook."]]
    command = [sys.executable, "-P", "-m", "helpers.grading", str(file), str(seconds / 3), *names]
    env = {name: value for name, value in os.environ.items() if name != "COURSE_STRICT"}
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, encoding="utf-8") as worker:
        try:
            output, after = worker.communicate(timeout=seconds)[0], CRASHES
        except subprocess.TimeoutExpired:
            for process in [*psutil.Process(worker.pid).children(recursive=True), worker]:
                process.kill()
            output, after = worker.communicate()[0], HANGS
    found = {row[0]: row for row in map(json.loads, output.splitlines())}
    answer = f"The notebook was stopped after {seconds} seconds." if after == HANGS else "The notebook's process ended."
    return [found.get(name, [name, after, "", answer]) for name in names]


def expected(sources):
    """Return the names of the exercises that a notebook should hold: those of the notebook of which it defines most."""
    defined = set(re.findall(r"^def (\w+)\(", "\n".join(sources), re.MULTILINE))
    best = max(checks.MODULES, key=lambda notebook: len(defined & set(checks.exercises(notebook))))
    names = list(checks.exercises(best))
    return names if defined & set(names) else []


def work(file, seconds, names):
    """Run a notebook, then the check of each exercise in the same kernel; print each result as a line of JSON.

    A cell that kills the kernel is left out, and all begins anew. The student's own calls of the checks are left out.
    """
    notebook, bad = nbformat.read(file, as_version=4), set()
    cells = [c for c in notebook.cells if c.cell_type == "code" and "check" not in c.metadata.get("tags", [])]
    notebook.cells = [*cells, *(nbformat.v4.new_code_cell(GRADE.format(name=name)) for name in names)]
    options = {"timeout": seconds, "interrupt_on_timeout": True, "allow_errors": True, "kernel_name": "python3"}
    done = set()
    while len(bad) < MOST_CRASHES:
        client = NotebookClient(notebook, resources={"metadata": {"path": str(Path(file).parent)}}, **options)
        with client.setup_kernel():
            for i, cell in enumerate(notebook.cells):
                name = names[i - len(cells)] if i >= len(cells) else None
                if i in bad or name in done:
                    continue
                try:
                    client.execute_cell(cell, i)
                except DeadKernelError:
                    bad.add(i)
                    if name:
                        report(done, name, CRASHES, "", "The check of it ended the kernel.")
                    break
                if name:
                    report(done, name, *result(name, cell))
            else:
                return


def report(done, name, *row):
    """Print the result of an exercise as a line of JSON, and note that it has one."""
    print(json.dumps([name, *row]), flush=True)
    done.add(name)


def result(name, cell):
    """Return (state, mistake, answer) from the outputs of the cell that ran the check."""
    for output in cell.outputs:
        if output.output_type == "stream" and "GRADE " in output.text:
            return json.loads(output.text.rpartition("GRADE ")[2])
        if output.output_type == "error" and output.ename == "NameError" and repr(name) in output.evalue:
            return MISSING, "", f"{name} is not defined, or the cell that defines it has an error."
        if output.output_type == "error":
            return HANGS, "", f"{name} was stopped: {output.ename} {output.evalue}".strip()
    return HANGS, "", f"{name} did not end in time."


if __name__ == "__main__":
    work(sys.argv[1], float(sys.argv[2]), sys.argv[3:])
