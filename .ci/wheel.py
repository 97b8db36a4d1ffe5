"""Build the distribution, look into it, and try it where nothing else is installed: `make wheel`.

The wheel is built from the source distribution, so that both are whole. Its files must be those of the package and no
others. It is then installed into a new environment, with nothing but its dependencies in the tested versions, and a
program that has never seen this repository uses it.
"""

import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
DIST = REPOSITORY / "dist"
WINGS = ("data", "demo", "evaluation", "explain", "finetune", "search", "serving", "training")
PROGRAM = Path(__file__).with_name("smoke.py")


def main() -> None:
    """Ends with 0 if all went well, and else with a line that says what did not."""
    for old in DIST.glob("mixture_of_transformers-*"):
        old.unlink()
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", DIST, REPOSITORY)
    (wheel,), (source,) = DIST.glob("*.whl"), DIST.glob("*.tar.gz")
    check_wheel(wheel)
    check_source(source)
    try_out(wheel)
    print(f"{wheel.relative_to(REPOSITORY)} and {source.name} hold what they should, and the wheel works by itself.")


def run(*command, **options) -> str:
    """What a command prints; ends this process with what it says where it fails."""
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, **options)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


def expected_modules() -> set[str]:
    """The Python files of the root, the wings and the command, by their names in the wheel."""
    folders = {"mixture_of_transformers": REPOSITORY, "mixture_of_transformers_command": REPOSITORY / "command"}
    folders |= {f"mixture_of_transformers/{wing}": REPOSITORY / wing for wing in WINGS}
    return {f"{name}/{path.name}" for name, folder in folders.items() for path in folder.glob("*.py")}


def check_wheel(wheel: Path) -> None:
    """Every module is there, with the mark of typed packages and the license, and nothing else."""
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    metadata = {name for name in names if ".dist-info/" in name}
    compare(wheel, expected_modules() | {"mixture_of_transformers/py.typed"}, names - metadata)
    if not any(name.endswith("/licenses/LICENSE") for name in metadata):
        sys.exit(f"{wheel.name} lacks the LICENSE")


def check_source(source: Path) -> None:
    """The source distribution holds what the wheel is made of, and neither tests nor benchmarks."""
    with tarfile.open(source) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    unwanted = sorted(name for name in names if name.split("/")[0] in ("tests", "benchmarks", "docs", "examples"))
    missing = {"LICENSE", "README.md", "CHANGELOG.md", "CITATION.cff", "SECURITY.md", "py.typed"} - names
    if unwanted or missing:
        sys.exit(f"{source.name} has {unwanted} and lacks {sorted(missing)}")


def compare(wheel: Path, expected: set[str], found: set[str]) -> None:
    if expected != found:
        sys.exit(f"{wheel.name} lacks {sorted(expected - found)} and has too much: {sorted(found - expected)}")


def try_out(wheel: Path) -> None:
    """Install the wheel into an environment of its own, far from this repository, and use it."""
    with tempfile.TemporaryDirectory(prefix="wheel-") as folder:
        run(sys.executable, "-m", "venv", f"{folder}/venv")
        pip = [f"{folder}/venv/bin/python", "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
        run(*pip, "--constraint", REPOSITORY / "constraints.txt", wheel)
        version = run(f"{folder}/venv/bin/mot", "--version", cwd=folder)
        if version.split() != ["mot", wheel.name.split("-")[1]]:
            sys.exit(f"mot --version printed {version!r}, and the wheel is {wheel.name}")
        run(f"{folder}/venv/bin/mot", "--help", cwd=folder)
        print(run(f"{folder}/venv/bin/python", "-I", "-c", PROGRAM.read_text(encoding="utf-8"), cwd=folder), end="")


if __name__ == "__main__":
    main()
