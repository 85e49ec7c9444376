"""Scripted sessions: every answer is given, written down and used up, and a person can take over (notebook 03)."""

import builtins

import pytest

from helpers.transcripts import scripted_input


def test_prompt_and_answer_are_printed_as_if_typed(capsys):
    """The answers come in order, and the transcript shows what a screen would show."""
    with scripted_input(["Ada", "6"]):
        assert (input("Name: "), input("How many? ")) == ("Ada", "6")
    assert capsys.readouterr().out == "Name: Ada\nHow many? 6\n"


def test_a_question_too_many_is_an_error():
    """A session that asks on after the last answer stops, instead of waiting for ever."""
    with pytest.raises(RuntimeError, match="no answer left for 'And now"), scripted_input([]):
        input("And now? ")


def test_an_answer_too_many_is_an_error():
    """Answers that were never asked for are named: the session did not go as it was written."""
    with pytest.raises(RuntimeError, match=r"were used: \['c'\]"), scripted_input(["n", "c"]):
        input()


def test_an_error_inside_is_not_hidden_by_answers_left_over():
    """What went wrong in the session is what the caller sees."""
    with pytest.raises(ZeroDivisionError), scripted_input(["never used"]):
        _ = 1 / 0


@pytest.mark.parametrize("fails", [False, True])
def test_input_is_given_back(fails):
    """After the session, also after one that failed, `input` is the real one again."""
    real = builtins.input
    with pytest.raises(RuntimeError) if fails else scripted_input([]), scripted_input(["x"] if fails else []):
        pass
    assert builtins.input is real


def test_live_steps_aside(monkeypatch):
    """With live=True the person at the keyboard is asked, and the script is ignored."""
    monkeypatch.setattr(builtins, "input", lambda prompt="": "typed")
    with scripted_input(["scripted"], live=True):
        assert input("> ") == "typed"


@pytest.mark.parametrize(
    "printed, kept",
    [
        ("> /var/tmp/ipykernel_71/4109551124.py(9)attend()", "> <cell>(9)attend()"),
        ("  /var/tmp/ipykernel_71/4109551124.py(4)<module>()", "  <cell>(4)<module>()"),
        (r"> C:\Users\Ada L\Temp\ipykernel_71\4109551124.py(9)f()", "> <cell>(9)f()"),
        ("> a/module.py(9)f()\n7 > 6", "> a/module.py(9)f()\n7 > 6"),
    ],
)
def test_only_the_temporary_name_of_a_cell_is_replaced(capsys, printed, kept):
    """On every system a cell is called <cell>, and everything else is printed as it is."""
    with scripted_input([]):
        print(printed)
    assert capsys.readouterr().out == kept + "\n"


def test_a_debugger_session_runs_through(capsys):
    """ipdb takes its commands from the script, and what it shows stands between them."""
    import ipdb

    def half(x):
        y = x / 2
        return y

    with scripted_input(["n", "p y", "c"]):
        assert ipdb.runcall(half, 6) == 3.0
    out = capsys.readouterr().out
    assert "ipdb> n\n" in out and "ipdb> p y\n3.0\n" in out and out.endswith("ipdb> c\n")
