"""Packaging: the libraries and the commands, both by glob."""

import re
from glob import glob
from pathlib import Path

from setuptools import find_packages, setup

VERSION = re.search(r'VERSION = "(.+)"', Path("lib/codaboot/__init__.py").read_text())[1]

setup(
    name="coda-boot",
    version=VERSION,
    description="Boot a Linux machine whose root lives in Coda: small commands, one job each",
    license="MIT",
    python_requires=">=3.11",
    package_dir={"": "lib"},
    packages=find_packages("lib"),
    scripts=sorted(glob("bin/coda-*")),
    install_requires=["docopt-ng>=0.9,<0.10", "sh>=2.2,<3", "pyroute2>=0.9.5,<0.10"],
)
