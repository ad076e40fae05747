"""Leaves in the image what the operator uses, and compiles it. Runs in the build stage, with the operator's own Python.

    PYTHONPYCACHEPREFIX=/opt/operator/pycache /opt/operator/bin/python prune.py

The Kubernetes client is 60 MB of typed models and APIs, of which it imports five files; botocore knows 400 services, of
which it calls six; babel all of the world's calendars. What is compiled is all that stays, and the part of the standard
library that is imported at the start: at run time nothing can be written, and compiling at each start would take a
second.
"""

import compileall
import importlib
import os
import pkgutil
import py_compile
import shutil
import sys
import sysconfig
from pathlib import Path

SERVICES = ("eks", "elasticache", "iam", "memorydb", "resourcegroupstaggingapi", "signin", "sso", "sso-oidc", "sts")
"""The operator's, and those that botocore's own ways to credentials call."""
OF_NO_USE = ("boto3/examples", "boto3/data", "docutils", "pip", "setuptools", "pkg_resources", "_distutils_hack", "distutils-precedence.pth")
TYPED = ("kubernetes/client/api", "kubernetes/client/models", "kubernetes/aio/client/api", "kubernetes/aio/client/models")
LIBRARY = Path(sysconfig.get_paths()["purelib"])
STANDARD = Path(sysconfig.get_paths()["stdlib"])


def import_everything() -> set[Path]:
    """Import all of our modules, as the operator and its commands do, and return the files that were read."""
    import elasticache_iam

    for module in pkgutil.walk_packages(elasticache_iam.__path__, "elasticache_iam."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    files = (getattr(module, "__file__", None) for module in list(sys.modules.values()))
    return {Path(file).resolve() for file in files if file is not None}


def remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def prune(used: set[Path]) -> None:
    for name in OF_NO_USE:
        remove(LIBRARY / name)
        for told in LIBRARY.glob(f"{name.replace('-', '_')}-*.dist-info"):
            remove(told)
    for folder in TYPED:
        for file in (LIBRARY / folder).glob("*.py"):
            if file.resolve() not in used:
                file.unlink()
    for service in (LIBRARY / "botocore" / "data").iterdir():
        if service.is_dir() and service.name not in SERVICES:
            remove(service)
        for examples in service.glob("*/examples-1.json"):
            examples.unlink()
    for locale in (LIBRARY / "babel" / "locale-data").glob("*.dat"):
        if locale.stem not in {"root", "en", "en_US"}:
            locale.unlink()
    for pattern in ("*.pyi", "*.pyx", "*.pxd", "*.c", "*.h", "*.so.debug"):
        for file in LIBRARY.rglob(pattern):
            file.unlink()
    for tests in [folder for folder in LIBRARY.rglob("tests") if folder.is_dir()]:
        remove(tests)
    for file in Path(sys.executable).parent.iterdir():
        if not file.name.startswith("python") and file.name != "elasticache-iam":
            file.unlink()


def compile_all(used: set[Path]) -> None:
    # Unchecked: the files can't change; and so the result doesn't depend on their times.
    mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
    if not compileall.compile_dir(LIBRARY, quiet=2, invalidation_mode=mode):
        sys.exit("error: a library doesn't compile")
    for file in sorted(used):
        if file.suffix == ".py" and STANDARD in file.parents and LIBRARY not in file.parents:
            py_compile.compile(str(file), doraise=True, invalidation_mode=mode)
    # What only the standard library itself decides to import, by the way a program goes.
    for package in ("asyncio", "concurrent", "email", "encodings", "http", "importlib", "json", "logging", "multiprocessing", "urllib"):
        compileall.compile_dir(STANDARD / package, quiet=2, invalidation_mode=mode)


def main() -> None:
    if sys.pycache_prefix is None:
        sys.exit("error: set PYTHONPYCACHEPREFIX")
    sys.dont_write_bytecode = True
    used = import_everything()
    prune(used)
    shutil.rmtree(sys.pycache_prefix, ignore_errors=True)
    for cache in LIBRARY.rglob("__pycache__"):
        shutil.rmtree(cache, ignore_errors=True)
    compile_all(used)
    print(f"{len(used)} modules are imported at the start of a command", file=sys.stderr)


if __name__ == "__main__":
    os.environ.setdefault("AWS_EC2_METADATA_DISABLED", "true")
    main()
