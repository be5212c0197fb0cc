"""Write constraints.txt from pip reports, one per Python version.

For each Python:  pip install --dry-run --ignore-installed --report 3.11.json -e '.[test,nd2]'
Then:             python .ci/pin.py 3.11.json 3.12.json > .ci/constraints.txt
"""

import json
import sys
from collections import defaultdict
from pathlib import Path


def pins(report: dict) -> tuple[str, dict[str, str]]:
    python = report["environment"]["python_version"]
    found = (item["metadata"] for item in report["install"])
    return python, {m["name"].lower().replace("_", "-"): m["version"] for m in found}


def main() -> None:
    versions: dict[str, dict[str, str]] = defaultdict(dict)
    pythons = []
    for path in sys.argv[1:]:
        python, found = pins(json.loads(Path(path).read_text()))
        pythons.append(python)
        for name, version in found.items():
            versions[name][python] = version
    versions.pop("poolvox", None)
    print(f"# The versions that poolvox was tested with, on Python {' and '.join(pythons)}.")
    print("# Made by pin.py beside this file.")
    for name, by_python in sorted(versions.items()):
        if len(by_python) == len(pythons) and len(set(by_python.values())) == 1:
            print(f"{name}=={next(iter(by_python.values()))}")
            continue
        for python, version in by_python.items():
            sign = "<" if python == pythons[0] else ">="
            print(f'{name}=={version}; python_version {sign} "{pythons[1]}"')


main()
