"""The commands that the pages tell operators to run, taken from the pages."""

import re
import shlex
from pathlib import Path

DOCS = Path(__file__).resolve().parent.parent / "docs"


def recipe(page, words, **values):
    """The one command of the page that has these words, with its placeholders filled in: `<agent pod>` by `agent_pod`.

    It is without its first word, the program.
    """
    blocks = re.findall(r"^```sh\n(.*?)^```", (DOCS / page).read_text(), re.M | re.S)
    commands = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    [found] = [command for command in commands if words in command]
    filled = re.sub(r"<([A-Za-z -]+)>", lambda it: values[it[1].replace(" ", "_")], found)
    return shlex.split(filled)[1:]
