"""The entry point: `podium`, or `python -m podium`. Ctrl-C is no traceback even while the command is being loaded."""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line."""
    try:
        from podium.cli import main as run

        run()
    except KeyboardInterrupt:
        sys.exit("stopped by Ctrl-C")


if __name__ == "__main__":
    main()
