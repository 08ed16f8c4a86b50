"""English that needs no second look: rules of CONTRIBUTING.md that a program can check."""

import re

from gourmetgram.settings import PROJECT_ROOT
from tests.support.sources import Prose, comments, docstrings, source_files, tracked_files

_QUESTION_WORD = re.compile(r"(?:What|Whether|Who|Whoever|Whose|Where|Which|How|Nobody|Somebody)\b")
_UNNAMED = re.compile(
    r"\b(?:[Nn]obody|[Ss]omebody|[Ww]hoever|[Ww]homever|[Ww]ho (?:takes|has|needs|wants|asks|reads)|no one)\b"
)


def test_a_docstring_begins_with_a_noun_or_a_verb() -> None:
    found = [
        f"{prose.where}: {prose.text.strip().splitlines()[0]}"
        for path in source_files()
        for prose in docstrings(path)
        if _QUESTION_WORD.match(prose.text.strip())
    ]
    assert found == []


def test_rules_name_their_subject() -> None:
    documents = [
        Prose(f"{path}:{number}", line)
        for path in tracked_files("*.md")
        for number, line in enumerate((PROJECT_ROOT / path).read_text().splitlines(), 1)
        if path.name != "CONTRIBUTING.md"
    ]
    code = [prose for path in source_files() for prose in (*docstrings(path), *comments(path))]
    assert [
        f"{prose.where}: {prose.text.strip()[:100]}" for prose in (*documents, *code) if _UNNAMED.search(prose.text)
    ] == []
