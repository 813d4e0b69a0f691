"""`make recording`: draw a watched sync of the running demo as docs/watch.svg, the picture of the README."""

from __future__ import annotations

import os
import pty
import re
import sys
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.text import Text

ROOT: Final = Path(__file__).parents[1]
PICTURE: Final = ROOT / "docs/watch.svg"
TOKEN: Final = ROOT / ".demo/operator.token"
COMMAND: Final = ("catalogsync", "sync", "start", "shopify:demo.myshopify.com", "--full", "--watch")
_WIDTH_COLUMNS: Final = 104
_ERASE: Final = re.compile(r"\r?(?:\x1b\[2K(?:\x1b\[1A)?)+")
"""How rich erases the last frame of a live display before it draws the next one."""
_CURSOR: Final = re.compile(r"\x1b\[\?25[lh]")


def record() -> str:
    """Run the command in a terminal of fixed width and return all that it wrote. Raises SystemExit if it fails."""
    os.environ.update(COLUMNS=str(_WIDTH_COLUMNS), LINES="20", TERM="xterm-256color")
    os.environ.setdefault("CATALOGSYNC_TOKEN_FILE", str(TOKEN))
    written: list[bytes] = []

    def read(terminal: int) -> bytes:
        data = os.read(terminal, 65_536)
        written.append(data)
        return data

    program = Path(sys.executable).with_name(COMMAND[0])
    status = pty.spawn([str(program), *COMMAND[1:]], read)
    if status:
        raise SystemExit(f"{' '.join(COMMAND)} failed: is the demo running (make demo)?")
    return b"".join(written).decode()


def frames(output: str) -> list[str]:
    """Return the frames of the live display in order, the last one with the summary."""
    parts = _ERASE.split(_CURSOR.sub("", output))
    return [part.replace("\r\n", "\n").strip("\n") for part in parts if part.strip()]


def draw(shown: list[str]) -> None:
    """Write the picture: the command, one frame while the sync runs, and the summary."""
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        console = Console(record=True, width=_WIDTH_COLUMNS, file=nowhere, force_terminal=True)
        console.print(f"$ {' '.join(COMMAND)}", highlight=False)
        for frame in shown[-2:]:
            console.print(Text.from_ansi(frame))
        console.save_svg(str(PICTURE), title="catalogsync")


def main() -> None:
    """Record a sync and draw it."""
    draw(frames(record()))


if __name__ == "__main__":
    main()
