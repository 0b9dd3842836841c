"""
Compile requirements/*.in into hash-pinned requirements/*.txt, for every supported Python at once.

The output names packages, versions and hashes, and no host: it installs the same from any index.
"""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
UV = str(Path(sys.executable).with_name("uv"))

# bench.txt comes after dev.txt, and follows its versions where they share a package.
ALIKE = ["--constraints", "requirements/dev.txt"]
SETS = {
    "uv": ["requirements/uv.in"],
    "dev": ["pyproject.toml", "requirements/dev.in", "--all-extras"],
    "localstripe": ["requirements/localstripe.in"],
    "phoenix": ["requirements/phoenix.in"],
    "bench": ["pyproject.toml", "requirements/bench.in", "--all-extras", *ALIKE],
}
OPTIONS = [
    "--quiet",
    "--universal",
    "--generate-hashes",
    "--python-version=3.11",
    "--no-emit-index-url",
    "--no-emit-find-links",
    "--custom-compile-command=make pins",
]


def main() -> None:
    """Compile every set; arguments such as --upgrade are handed on to uv."""
    for name, inputs in SETS.items():
        output = f"requirements/{name}.txt"
        command = [UV, "pip", "compile", *inputs, *OPTIONS, "-o", output, *sys.argv[1:]]
        subprocess.run(command, cwd=ROOT, check=True)
        print(output)


if __name__ == "__main__":
    main()
