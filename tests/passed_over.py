"""Counts tests that were passed over, and says why: `python -m tests.passed_over FILE ...` of `pytest --junitxml`."""

import sys
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree


def passed_over(results: Path) -> Counter[str]:
    """How many tests were passed over for each reason."""
    skipped = ElementTree.parse(results).getroot().iter("skipped")
    return Counter(each.get("message", "no reason") for each in skipped)


def main(files: list[str]) -> None:
    reasons = sum((passed_over(Path(file)) for file in files), Counter[str]())
    print(f"{reasons.total()} tests were passed over{':' if reasons else ''}")
    for reason, number in sorted(reasons.items()):
        print(f"  {number}: {reason}")


if __name__ == "__main__":
    main(sys.argv[1:])
