"""The cleaning of Wikipedia's articles, on rows made by hand with each kind of residue."""

import pytest

from helpers.wikipedia import MINIMUM, clean_article

FIRST = "The old bridge over the river was built of grey stone, and it is still used by the people of the two towns today."
LAST = (
    "In the winter the road is closed, because the snow lies deep on the mountain and no car can pass before the month of May."
)


def between(text, before="\n\n", after="\n\n"):
    """Return what is left of `text` between two paragraphs of an article."""
    article, reason = clean_article("Bridge", f"{FIRST}{before}{text}{after}{LAST}")
    assert reason is None
    lines = article.split("\n")
    assert lines[:2] == ["Bridge", FIRST]
    assert lines[-1] == LAST
    return "\n".join(lines[2:-1])


@pytest.mark.parametrize(
    "line",
    [
        "!Total||44||4",
        '37||3||colspan="2"|-||5||0',
        '{| class="wikitable sortable"',
        "|-",
        "|}",
        "! Name of the player",
        "! The name of the player is the head of a column, and a long one.",
        "! colspan=16 style=background:#dcdcdc; text-align:center| Midfielders",
        'style="text-align:left;" A cell with a long text which ends like a sentence and is none of it.',
        "align=center 12 matches were played by the first team in this season of the old league.",
        "| The cell of a table may well end like a sentence, and is none all the same.",
        "&lt;br&gt;",
        "<onlyinclude></onlyinclude>",
        "<!-- a comment of the writers -->",
        "&nbsp;",
        "\u200e\u200f",
        "[[Category:Bridges in Wales]]",
        "{{Infobox bridge|length=12}}",
        "__NOTOC__",
        "https://example.org/bridges",
        "History.",
        "History",
        "Early life.",
        "Club career statistics.",
        "== Early life ==",
        "Events in April ",
        ".",
        "( , )",
        "Traditional:",
        "The towns of the valley are:",
        "The towns of the valley are:\n\nHistory.",
        "The towns of the valley are:\n Upton\n Downton",
    ],
)
def test_a_line_that_is_no_prose_goes(line):
    """Lines of tables, markup, headings, lists whose items are gone and empty sentences leave no trace."""
    assert between(line) == ""


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("Yerevan () is the capital of Armenia.", "Yerevan is the capital of Armenia."),
        ("Bozdar Wada (, ) is a town in Sindh.", "Bozdar Wada is a town in Sindh."),
        ("Broc ([], ) is a town in Gruyère.", "Broc is a town in Gruyère."),
        ('She is called the Lady ( ""; ) by her people.', "She is called the Lady by her people."),
        ("Li Keqiang (; born 1955) was a politician.", "Li Keqiang (born 1955) was a politician."),
        ("Loei (Thai: เลย, ) is a province of Thailand.", "Loei (Thai: เลย) is a province of Thailand."),
        ("The city covers about  100 km .", "The city covers about 100 km."),
        ("The county has a total area of .", "The county has a total area of."),
        ("It was rebuilt in that year. . It burned again.", "It was rebuilt in that year. It burned again."),
        (". It lies in the constellation of Centaurus.", "It lies in the constellation of Centaurus."),
        ("It lies 689\u00a0m above\u2009the sea.", "It lies 689 m above the sea."),
        ("Suzuki\u200b was a swimmer\u00ad of \u200eJapan.", "Suzuki was a swimmer of Japan."),
        ("Rock &amp; roll &amp;nbsp;is a kind of music.", "Rock & roll is a kind of music."),
        ("The old line<br>is closed<br />today.", "The old line is closed today."),
        ('It is in California.<ref name="Re/code"></ref> It sells shares.', "It is in California. It sells shares."),
        ('It is old.<ref>Smith, "Bridges", 1990.</ref> It is high.', "It is old. It is high."),
        ("Water is H<sub>2</sub>O in short.", "Water is H2O in short."),
        ("It crosses the [[River Taff|Taff]] near [[Cardiff]].", "It crosses the Taff near Cardiff."),
        ("thumb|right|200px|The bridge is seen from the west.", "The bridge is seen from the west."),
        ("It is '''very''' old and ''high''.", "It is very old and high."),
        ("It has a page (https://example.org/a_b) of its own.", "It has a page of its own."),
        ("The bridge is old. Its parts include:", "The bridge is old."),
    ],
)
def test_residue_inside_a_sentence_is_mended(raw, clean):
    """Empty brackets, holes, entities, tags, links and odd spaces are mended, and the sentence stays."""
    assert between(raw) == clean


@pytest.mark.parametrize(
    "line",
    [
        "He died.",
        "She has won.",
        'He said: "It is a bridge ... of sighs!"',
        "Is it old? Yes, it is; very old, in fact!",
        "A comma (,) and a semicolon (;) are marks of punctuation.",
        "The file name ends in .txt, and the box is 5'11'' high.",
        "The function f(x) = 3.5 x is drawn in the set {1, 2} as a line.",
        "It may refer to itself, and it can mean a lot.",
        "The sources of the river are in the mountains.",
        "The notes of the scale are these: A, B and C.",
        'She wrote the following poem:\n\n"The bridge is old."',
        "There are two kinds of it:\nOne kind of bridge hangs from cables.\nThe other stands on arches.",
        "One long line that has lost its full stop is a sentence all the same, and it is of more than eighty characters",
    ],
)
def test_sentences_are_not_altered(line):
    """What only looks like residue stays as it is, character by character; only blank lines go."""
    assert between(line) == line.replace("\n\n", "\n")


HEADINGS = [
    "References",
    "Other websites",
    "Related pages",
    "Notes",
    "Sources",
    "Further reading",
    "See also",
    "External links",
]


@pytest.mark.parametrize("heading", HEADINGS)
@pytest.mark.parametrize("form", ["{}", "{}.", "{} ", "{}:", "== {} =="])
def test_the_tail_is_cut(heading, form):
    """From a heading such as References to the end all goes, sentences too; the heading may carry a full stop."""
    article, _ = clean_article("Bridge", f"{FIRST}\n\n{LAST}\n\n{form.format(heading)}\n\nJones, A. Bridges of the old world.")
    assert article == f"Bridge\n{FIRST}\n{LAST}"


def test_category_names_at_the_end_go():
    """The short lines without a full stop that follow the last sentence are names of categories."""
    article, _ = clean_article("Bridge", f"{FIRST}\n\n{LAST}\n\n1890 births\n1945 deaths\nBuildings and structures in Wales")
    assert article == f"Bridge\n{FIRST}\n{LAST}"


@pytest.mark.parametrize(
    ("title", "text", "reason"),
    [
        ("Mercury", "Mercury may refer to:\n Mercury (planet), the planet\n Mercury (element), the metal", "disambiguation"),
        ("Race", f"Race has many meanings. It can mean:\n\n{FIRST}\n\n{LAST}", "disambiguation"),
        ("Duma", f"The word Duma might also mean\n\n{FIRST}\n\n{LAST}", "disambiguation"),
        ("Stoke", f"Stoke may refer to one of several towns.\n\n{FIRST}\n\n{LAST}", "disambiguation"),
        ("Whip (disambiguation)", f"{FIRST}\n\n{LAST}", "disambiguation"),
        ("List of rivers of Chile", f"{FIRST}\n\n{LAST}\n\n" + "Bío Bío\n\n" * 300, "list"),
        ("Rivers of Wales", "These are the rivers of Wales:\n\n" + "Taff\n\n" * 300, "stub"),
        ("Livron", "Livron is a commune in southwestern France.", "stub"),
        ("Livron", " \n ", "empty"),
        ("Livron", None, "empty"),
        (None, FIRST + LAST, "empty"),
    ],
)
def test_articles_that_are_none_are_dropped(title, text, reason):
    """Disambiguation pages, lists, stubs and empty rows are dropped, and it is said why."""
    assert clean_article(title, text) == (None, reason)


def test_the_shortest_article_has_200_characters():
    """An article of 200 characters with its title is kept, one of 199 is a stub."""
    body = "It is " + "very " * 36 + "old."
    assert clean_article("T" * (MINIMUM - 1 - len(body)), body)[1] is None
    assert clean_article("T" * (MINIMUM - 2 - len(body)), body) == (None, "stub")
    assert MINIMUM == 200


def test_titles_keep_their_form():
    """A title is not touched, whatever it holds."""
    title = "Who's Afraid of the () & [ , ] – “Wolf”? (1966 movie)"
    assert clean_article(title, f"{FIRST}\n{LAST}")[0].split("\n")[0] == title
