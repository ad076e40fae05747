"""Which part of the package is missing, and how it comes."""

from importlib.metadata import version


def missing_extra(module: str | None, extra: str) -> str:
    """Return what to install for a module that isn't there.

    Never by the package's bare name: nobody has published it on an index, so that whoever takes the name there would
    decide what gets installed. pip asks no index for the name of a file, whether it is there or not.
    """
    wheel = f"elasticache_iam_operator-{version('elasticache-iam-operator')}-py3-none-any.whl"
    return (
        f"{module} is not installed; run, with the release's file: pip install './{wheel}[{extra}]', "
        f"or in a clone: pip install '.[{extra}]'"
    )
