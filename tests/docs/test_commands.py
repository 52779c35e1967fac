"""Every command of the documents runs: a test a page, in the page's order, in an empty folder."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

from fnac.cli import cli

from .commands import Command, commands, pages, spans, text_of
from .page_table import NOT_RUN, PAGES

OPTION = re.compile(r"(?<![\w-])--[a-z][a-z0-9-]*")
LIMIT = 1800  # seconds that one command may take


def asked(page: str) -> list[Command]:
    """Return the commands of a page that are tried, in the page's order."""
    named = [span for span in spans(page) if span.text in PAGES[page].spans]
    written = [one for one in commands(page) if (page, one.text) not in NOT_RUN]
    return sorted([*written, *named], key=lambda one: one.line)


def given(page: str, command: Command) -> str:
    """Return what is run for a command."""
    text = command.text
    for part, other in PAGES[page].instead.items():
        text = text.replace(part, other)
    return text


def attempt(page: str, command: Command, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a command as a reader would, in the folder of its page."""
    programs = folder.with_name("programs")
    programs.mkdir(exist_ok=True)
    for name, options in (("fnac", " -m fnac.cli"), ("python", "")):
        (programs / name).write_text(f'#!/bin/sh\nexec "{sys.executable}"{options} "$@"\n')
        (programs / name).chmod(0o755)
    environment = {**os.environ, "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}
    words = ["bash", "-euo", "pipefail", "-c"]
    if command.language == "python":
        words = [sys.executable, "-c"]
    return subprocess.run(
        [*words, given(page, command)],
        cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=LIMIT,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_the_commands_of_a_page_run(page: str, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    PAGES[page].before(folder)
    printed = ""
    for command in asked(page):
        done = attempt(page, command, folder)
        assert done.returncode == 0, f"{page}, {command}\n{done.stdout}{done.stderr}"
        printed += done.stdout + done.stderr
    assert [name for name in PAGES[page].leaves if not (folder / name).exists()] == []
    assert [words for words in PAGES[page].says if words not in printed] == []


def test_every_page_with_commands_is_tried() -> None:
    untried = {
        page
        for page in pages()
        if page not in PAGES and any((page, one.text) not in NOT_RUN for one in commands(page))
    }
    assert untried == set()
    assert sum(len(asked(page)) for page in PAGES) > 60


def test_the_table_names_what_the_pages_say() -> None:
    """No entry outlives its command; a part that is replaced is part of one that is tried."""
    written = {(page, one.text) for page in pages() for one in commands(page)}
    assert set(NOT_RUN) - written == set()
    for page, known in PAGES.items():
        assert set(known.spans) <= {span.text for span in spans(page)}, page
        tried = "\n".join(one.text for one in asked(page))
        assert [part for part in known.instead if part not in tried] == [], page


@pytest.mark.parametrize("page", pages())
def test_commands_in_sentences_name_what_there_is(page: str) -> None:
    """``fnac COMMAND --option`` between backticks: the command and the option exist."""
    context = click.Context(cli, info_name="fnac")
    for span in spans(page):
        words = span.text.split()
        if words[0] != "fnac":
            continue
        names = [word for word in words[1:] if not word.startswith("-")]
        command = cli.get_command(context, names[0]) if names else None
        known = {"--version", "--json", "--debug", "--quiet", "--help"}
        if names and names[0] != "COMMAND":
            assert command is not None, f"{page}, {span}"
            known |= {option for one in command.params for option in one.opts}
        assert set(OPTION.findall(span.text)) - known == set(), f"{page}, {span}"


def test_a_continued_line_is_one_command() -> None:
    page = text_of("README.md")
    assert "\\\n" in page
    joined = [one for one in commands("README.md") if "--recipe cityscapes" in one.text]
    assert joined[0].text.startswith("fnac adapt seed.onnx --task seg")
    assert joined[0].text.endswith("-o runs/city")
