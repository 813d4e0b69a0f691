"""Contexts: named sets of addresses and files of credentials, in a configuration file of the user.

    current = "production"

    [contexts.production]
    catalog = "catalog.internal:50051"
    ca_file = "/etc/catalogsync/ca.pem"
    token_file = "/home/alice/.catalogsync-token"

The file contains no secrets: a context names the files that have them.
"""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from catalogsync_cli.atomic_file import replaced_file

SETTINGS: Final = ("catalog", "connector", "token_file", "tls", "ca_file", "cert_file", "key_file")
"""The options that a context may have, by their name in `Options`."""
_FLAGS: Final = frozenset({"tls"})
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class ContextInvalid(ValueError):
    """The configuration file cannot be used, or has no such context. The message says which and why."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Contexts:
    """The content of the configuration file."""

    current: str = ""
    """The context of commands that name none; "": none."""
    by_name: Mapping[str, Mapping[str, str | bool]] = field(default_factory=dict)
    """The settings of each context."""

    def get(self, name: str) -> Mapping[str, str | bool]:
        """Return the settings of a context. Raises ContextInvalid."""
        if name not in self.by_name:
            known = ", ".join(sorted(self.by_name)) or "none"
            raise ContextInvalid(f"there is no context {name!r}; there are: {known}")
        return self.by_name[name]


def config_file() -> Path:
    """Return the path of the configuration file: CATALOGSYNC_CONFIG, or in the user's configuration directory."""
    if explicit := os.environ.get("CATALOGSYNC_CONFIG"):
        return Path(explicit)
    base = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(base, "catalogsync", "config.toml")


def load_contexts(file: Path) -> Contexts:
    """Return the contexts in a file; none if it does not exist.

    Raises:
        ContextInvalid: the file cannot be read, is no TOML, or has unknown settings.
    """
    try:
        document = tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return Contexts()
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ContextInvalid(f"{file} cannot be read: {error}") from None
    contexts = document.get("contexts", {})
    current = document.get("current", "")
    if not isinstance(contexts, dict) or not isinstance(current, str):
        raise ContextInvalid(f'{file}: expected current = "NAME" and tables [contexts.NAME]')
    return Contexts(current=current, by_name={name: _checked(file, name, each) for name, each in contexts.items()})


def _checked(file: Path, name: str, settings: object) -> Mapping[str, str | bool]:
    if not isinstance(settings, dict):
        raise ContextInvalid(f"{file}: expected a table [contexts.{name}]")
    for key, value in settings.items():
        if key not in SETTINGS:
            raise ContextInvalid(f"{file}: [contexts.{name}] has an unknown setting {key!r}; known: {SETTINGS}")
        if not isinstance(value, bool if key in _FLAGS else str):
            raise ContextInvalid(f"{file}: [contexts.{name}] {key} has a value of the wrong type")
    return settings


def save_contexts(file: Path, contexts: Contexts) -> None:
    """Replace the file. Its directory is created; what is not a context is lost, comments as well.

    Raises:
        OSError: the file cannot be written.
    """
    lines = [f"current = {json.dumps(contexts.current)}"] if contexts.current else []
    for name, settings in sorted(contexts.by_name.items()):
        # A TOML basic string has the escapes of a JSON string.
        lines += ["", f"[contexts.{json.dumps(name)}]"]
        lines += [f"{key} = {json.dumps(settings[key])}" for key in SETTINGS if key in settings]
    file.parent.mkdir(parents=True, exist_ok=True)
    with replaced_file(file) as new:
        new.write(("\n".join(lines).lstrip() + "\n").encode())


def check_name(name: str) -> str:
    """Return the name of a new context. Raises ContextInvalid."""
    if not _NAME.fullmatch(name):
        raise ContextInvalid("expected a name of letters, digits, dots, hyphens and underscores, at most 64 long")
    return name
