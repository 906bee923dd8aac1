"""Completion scripts for shells, made from the parser itself."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

SHELLS = ("bash", "zsh", "fish")


@dataclass(frozen=True, slots=True)
class _Command:
    name: str
    help: str
    #: Option → its help, or the choices of a positional argument.
    options: dict[str, str]
    choices: tuple[str, ...]
    files: bool


def script(shell: str, parser: argparse.ArgumentParser) -> str:
    """Return the script of a shell for every command and option of ``parser``."""
    commands = list(_commands(parser))
    return {"bash": _bash, "zsh": _zsh, "fish": _fish}[shell](commands)


def _commands(parser: argparse.ArgumentParser) -> Iterator[_Command]:
    for action in parser._actions:  # noqa: SLF001
        if not isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            continue
        helps = {c.dest: c.help or "" for c in action._choices_actions}  # noqa: SLF001
        for name, below in action.choices.items():
            own = [a for a in below._actions if a.help != argparse.SUPPRESS]  # noqa: SLF001
            options = {o: a.help or "" for a in own for o in a.option_strings if o.startswith("--")}
            choices = [str(c) for a in own for c in a.choices or () if not a.option_strings]
            files = any(a.type is Path for a in own)
            yield _Command(name, helps.get(name, ""), options, tuple(choices), files)


def _bash(commands: list[_Command]) -> str:
    cases = "\n".join(
        f"    {c.name}) words='{' '.join([*c.options, *c.choices])}'; files={int(c.files)} ;;"
        for c in commands
    )
    names = " ".join(c.name for c in commands)
    return f"""# nkscore completion for bash: source <(nkscore completion bash)
_nkscore() {{
  local current="${{COMP_WORDS[COMP_CWORD]}}" words='{names} --help --version' files=0
  if [ "$COMP_CWORD" -gt 1 ]; then
    words=''
    case "${{COMP_WORDS[1]}}" in
{cases}
    esac
  fi
  COMPREPLY=()
  if [ "$files" = 0 ] || [ "${{current#-}}" != "$current" ]; then
    local IFS=$' \\t\\n'
    COMPREPLY=( $(compgen -W "$words" -- "$current") )
  fi
}}
complete -o default -F _nkscore nkscore
"""


def _zsh(commands: list[_Command]) -> str:
    quoted = "\n".join(f"    '{c.name}:{_plain(c.help)}'" for c in commands)
    cases = "\n".join(
        f"    {c.name}) _arguments "
        + " ".join(f"'{o}[{_plain(h)}]'" for o, h in c.options.items())
        + (f" '1:choice:({' '.join(c.choices)})'" if c.choices else " '*:file:_files'")
        + " ;;"
        for c in commands
    )
    return f"""#compdef nkscore
# nkscore completion for zsh: source <(nkscore completion zsh)
_nkscore() {{
  local -a commands
  commands=(
{quoted}
  )
  if (( CURRENT == 2 )); then
    _describe command commands
    return
  fi
  local name=$words[2]
  shift words
  (( CURRENT-- ))
  case $name in
{cases}
  esac
}}
compdef _nkscore nkscore
"""


def _fish(commands: list[_Command]) -> str:
    lines = ["# nkscore completion for fish: nkscore completion fish | source"]
    for c in commands:
        lines.append(
            f"complete -c nkscore -n __fish_use_subcommand -a {c.name} -d '{_plain(c.help)}'"
        )
        here = f"-n '__fish_seen_subcommand_from {c.name}'"
        lines += [
            f"complete -c nkscore {here} -l {o.removeprefix('--')} -d '{_plain(h)}'"
            for o, h in c.options.items()
        ]
        if c.choices:
            lines.append(f"complete -c nkscore {here} -f -a '{' '.join(c.choices)}'")
    return "\n".join(lines) + "\n"


def _plain(text: str) -> str:
    """Return help without what shells read as marks."""
    return "".join(letter for letter in text if letter not in "'[]:\\`$\"").replace("%%", "%")
