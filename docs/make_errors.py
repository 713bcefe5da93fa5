"""Write ``errors.md``: make every mistake of ``tests/catalogue`` and note the message.

``make generate`` runs this; it takes half a minute, and LAMMPS.
"""

import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
TARGET = Path(__file__).with_name("errors.md")


def main() -> None:
    """Write the page."""
    sys.path.insert(0, str(ROOT))
    from tests.catalogue.case import message
    from tests.catalogue.desk import Desk
    from tests.catalogue.page import CASES, render

    with tempfile.TemporaryDirectory() as folder:
        desk = Desk(Path(folder))
        page = render({name: message(case, desk) for name, case in CASES.items()})
    TARGET.write_text(page, encoding="utf-8")
    print(f"wrote {TARGET}")


if __name__ == "__main__":
    main()
