"""What the documentation says against what the code does: links, reasons, settings, metrics, fields, tests it names."""

import ast
import importlib
import pkgutil
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import click
import pytest
import yaml
from click.testing import CliRunner
from pydantic_core import PydanticUndefined
from tests.builders import load_script

import elasticache_iam
from elasticache_iam.api.config import OperatorConfig
from elasticache_iam.api.parse import parse_group, parse_user
from elasticache_iam.cli.main import cli
from elasticache_iam.cli.operator import operator
from elasticache_iam.core.diagnosis import Cause
from elasticache_iam.core.errors import OperatorError
from elasticache_iam.core.plan.attachment import AttachmentState, cache_ref
from elasticache_iam.core.policy import operator_policy
from elasticache_iam.core.status import READY

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
SOURCE = ROOT / "operator" / "elasticache_iam"
REFERENCE = DOCS / "reference"

PAGES = [
    ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md", "examples/README.md")
] + sorted(DOCS.rglob("*.md"))

REASON = re.compile(r"[A-Z][A-Za-z]+")
STAGES = {"ok", "waiting", "blocked", "unknown"}


def names_of(paths: list[Path]) -> list[str]:
    return [str(path.relative_to(ROOT)) for path in paths]


def table_rows(page: Path, first_header: str) -> Iterator[list[str]]:
    """Yield the cells of all rows of the tables whose first column has that header."""
    inside = False
    for line in page.read_text(encoding="utf-8").splitlines():
        if not line.startswith("|"):
            inside = False
            continue
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if cells[0] == first_header:
            inside = True
        elif inside and not set(line) <= set("|-: "):
            yield cells


# -- examples --------------------------------------------------------------------------------------------------------


def example_folders() -> list[str]:
    return sorted(folder.name for folder in (ROOT / "examples").iterdir() if folder.is_dir())


def test_every_example_is_in_the_index():
    rows = table_rows(ROOT / "examples" / "README.md", "folder")

    assert sorted(re.findall(r"\((\S+)\)", row[0])[0] for row in rows) == example_folders()


@pytest.mark.parametrize("folder", [name for name in example_folders() if name not in {"clients", "three-roles"}])
def test_the_index_names_the_caches_of_an_example(folder: str):
    caches = {
        cache_ref(cache).id
        for path in (ROOT / "examples" / folder).glob("*.yaml")
        for body in yaml.safe_load_all(path.read_text(encoding="utf-8"))
        if body["kind"] == "UserGroup"
        for cache in parse_group(body).spec.caches
    }
    row = next(row for row in table_rows(ROOT / "examples" / "README.md", "folder") if f"({folder})" in row[0])

    assert set(re.findall(r"`([a-z]+-prod)`", row[1])) == caches


def is_part(excerpt: object, whole: object) -> bool:
    if isinstance(excerpt, dict) and isinstance(whole, dict):
        return all(is_part(value, whole.get(name)) for name, value in excerpt.items())
    return excerpt == whole


def test_the_first_page_shows_an_excerpt_of_the_quickstart():
    (block,) = re.findall(
        r"^```yaml\n(.*?)^```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )
    quickstart = [
        body
        for path in (ROOT / "examples" / "quickstart").glob("*.yaml")
        for body in yaml.safe_load_all(path.read_text(encoding="utf-8"))
    ]

    for excerpt in yaml.safe_load_all(block):
        assert any(is_part(excerpt, body) for body in quickstart), excerpt["kind"]


# -- links -----------------------------------------------------------------------------------------------------------


def prose(text: str) -> str:
    """Return a page without its code blocks."""
    return re.sub(r"^(```|~~~).*?^\1", "", text, flags=re.DOTALL | re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub makes of a page's headings."""
    headings = re.findall(r"^#+ (.*)$", prose(page.read_text(encoding="utf-8")), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=names_of(PAGES))
def test_links_lead_somewhere(page: Path):
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page.read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        if not file.exists() or (anchor and file.suffix == ".md" and anchor not in anchors(file)):
            broken.append(target)

    assert broken == []


def navigation() -> set[str]:
    """Return the pages and folders that the site's navigation names."""
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    return set(re.findall(r"^ +- (?:[^#\n]*: )?([\w/-]+(?:\.md|/))$", text.partition("\nnav:")[2], re.MULTILINE))


def test_every_page_is_in_the_navigation():
    named = navigation()

    pages = [path.relative_to(DOCS) for path in sorted(DOCS.rglob("*.md"))]

    assert [str(page) for page in pages if not {str(page), f"{page.parent}/"} & named] == []


def test_every_decision_is_in_their_table():
    decisions = {page.name.partition("-")[0]: page.name for page in (DOCS / "adr").glob("0*.md")}
    listed = re.findall(
        r"^\| \[(\d+)\]\((\S+)\) \|", (DOCS / "adr/README.md").read_text(encoding="utf-8"), re.MULTILINE
    )

    assert dict(listed) == decisions


@pytest.mark.parametrize("page", PAGES, ids=names_of(PAGES))
def test_a_test_that_a_page_names_exists(page: Path):
    missing = [
        f"{path}::{test}"
        for path, test in re.findall(r"`(tests/[\w/]+\.py)::(\w+)", page.read_text(encoding="utf-8"))
        if not re.search(rf"(?:def|class) {test}[(:]", (ROOT / path).read_text(encoding="utf-8"))
    ]

    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=names_of(PAGES))
def test_a_file_that_a_page_names_exists(page: Path):
    named = re.findall(
        r"`((?:operator|tests|charts|crds|examples|packaging|benchmarks|requirements|docs)/[\w./-]+)(?:::\w+)?`",
        page.read_text(encoding="utf-8"),
    )

    assert [path for path in named if not (ROOT / path).exists()] == []


# -- reasons ---------------------------------------------------------------------------------------------------------


def modules() -> Iterator[ModuleType]:
    for found in pkgutil.walk_packages(elasticache_iam.__path__, "elasticache_iam."):
        if not found.name.endswith("__main__"):
            yield importlib.import_module(found.name)


def subclasses(kind: type) -> Iterator[type]:
    yield kind
    for child in kind.__subclasses__():
        yield from subclasses(child)


def texts(node: ast.AST) -> set[str]:
    """Return the strings in an expression that look like a reason."""
    return {
        child.value
        for child in ast.walk(node)
        if isinstance(child, ast.Constant) and isinstance(child.value, str) and REASON.fullmatch(child.value)
    }


def binds_reason(target: ast.AST) -> bool:
    return any(isinstance(child, ast.Name) and child.id == "reason" for child in ast.walk(target))


def reasons_in(tree: ast.AST) -> set[str]:
    """Return the reasons that a module writes out: in stages, in arguments and variables called reason."""
    found: set[str] = set()
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name(id="Stage"), attr=attr), args=[_, reason, *_]):
                if attr in STAGES:
                    found |= texts(reason)
            case ast.Call(func=ast.Name(id="_draft"), args=[_, _, reason, *_]):
                found |= texts(reason)
            case ast.Assign(targets=[target], value=value) if binds_reason(target):
                found |= texts(value)
            case ast.For(target=target, iter=values) if binds_reason(target):
                found |= texts(values)
            case _:
                pass
        if isinstance(node, ast.Call):
            for keyword in node.keywords:
                if keyword.arg == "reason":
                    found |= texts(keyword.value)
    return found


def reasons_of_the_code() -> set[str]:
    for _ in modules():  # so that every error class is known
        pass
    found = {kind.reason for kind in subclasses(OperatorError) if kind.__module__.startswith("elasticache_iam.")}
    found |= {state.value for state in AttachmentState} | {cause.value for cause in Cause} | {READY}
    for layer in ("core", "reconcile", "tokens", "aws", "kube", "cache", "delivery"):
        for path in (SOURCE / layer).rglob("*.py"):
            found |= reasons_in(ast.parse(path.read_text(encoding="utf-8")))
    return found


def test_every_reason_is_explained_once_and_none_that_is_not_there():
    explained = [cells[0].strip("`") for cells in table_rows(REFERENCE / "conditions.md", "reason")]

    assert sorted(explained) == sorted(reasons_of_the_code())


@pytest.mark.parametrize("page", sorted(REFERENCE.glob("*.md")), ids=lambda page: page.name)
def test_every_row_of_a_table_has_a_cell_for_each_column(page: Path):
    columns = 0
    for line in page.read_text(encoding="utf-8").splitlines():
        cells = line.replace("\\|", "").count("|") if line.startswith("|") else 0
        assert not columns or not cells or cells == columns, line
        columns = cells


def test_reasons_are_found_wherever_they_are_written():
    tree = ast.parse(
        "Stage.ok(A, 'InACall', 'Message')\n"
        "reason = 'InAChoice' if x else y.reason\n"
        "reason, why = ('InATuple', 'not one') if z else (q, r)\n"
        "for outcome, reason in ((O.A, 'InALoop'),): ...\n"
        "raise NotFoundError('Message', reason='InAnArgument')\n"
    )

    assert reasons_in(tree) == {"InACall", "InAChoice", "InATuple", "InALoop", "InAnArgument"}


# -- settings, metrics, fields ---------------------------------------------------------------------------------------


def shown_default(default: object) -> str:
    if default is PydanticUndefined:
        return "required"
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    if isinstance(default, float):
        return f"`{default:g}`"
    return f"`{default}`"


def test_every_setting_is_explained_with_its_default():
    explained = {cells[0].strip("`"): cells[1] for cells in table_rows(REFERENCE / "configuration.md", "key")}
    fields = {str(field.alias): field.get_default() for field in OperatorConfig.model_fields.values()}

    assert set(explained) == set(fields)
    for key, default in fields.items():
        expected = {"none", "found out"} if default in (None, ()) else {shown_default(default)}
        assert explained[key] in expected, key


def test_every_option_is_explained_with_its_default():
    explained = {cells[0].strip("`"): cells for cells in table_rows(REFERENCE / "configuration.md", "option")}
    options = {option.opts[0]: option for option in operator.params}

    assert set(explained) == set(options)
    for name, option in options.items():
        assert (option.envvar or "") == explained[name][1].strip("`")
        assert isinstance(option.default, str | Path) is False or str(option.default) in explained[name][2]


def script(name: str) -> ModuleType:
    return load_script(DOCS / f"{name}.py")


def test_the_tables_are_up_to_date():
    module = script("tables")

    outdated = [
        path.name
        for path, contents in module.render_tables().items()
        if module.put_tables(path.read_text(encoding="utf-8"), contents) != path.read_text(encoding="utf-8")
    ]

    assert outdated == [], "run: python docs/tables.py"


def test_the_diagrams_are_up_to_date():
    outdated = [
        path.name
        for path, contents in script("diagrams").render_all()
        if not path.exists() or path.read_text(encoding="utf-8") != contents
    ]

    assert outdated == [], "run: python docs/diagrams.py"


def test_a_page_without_markers_is_refused():
    with pytest.raises(ValueError, match="no markers for metrics"):
        script("tables").put_tables("# Metrics", {"metrics": "| a |"})


def test_every_metric_is_counted_by_somebody():
    attributes = re.findall(
        r"self\.(\w+) = self\._(?:counter|gauge|histogram)", (SOURCE / "runtime/metrics.py").read_text()
    )
    callers = "".join(path.read_text(encoding="utf-8") for path in SOURCE.rglob("*.py"))
    unused = {f"elasticache_iam_{name}" for name in attributes if not re.search(rf"\.{name}\s*\.\w", callers)}

    assert unused == set()


# -- examples --------------------------------------------------------------------------------------------------------


def manifests() -> Iterator[tuple[str, dict]]:
    """Yield the resources of ours in the pages' YAML blocks."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for block in re.findall(r"^```yaml\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE):
            for document in yaml.safe_load_all(block):
                if isinstance(document, dict) and str(document.get("apiVersion", "")).startswith(
                    "elasticache-iam.dev/"
                ):
                    yield f"{page.name}-{document['metadata']['name']}", document


@pytest.mark.parametrize("manifest", [found for _, found in manifests()], ids=[name for name, _ in manifests()])
def test_a_resource_on_a_page_is_a_good_one(manifest: dict):
    parse = {"UserGroup": parse_group, "ElastiCacheIAMUser": parse_user}[manifest["kind"]]

    assert parse(manifest).metadata.name == manifest["metadata"]["name"]


def test_the_policy_command_on_the_page_works():
    page = (DOCS / "install.md").read_text(encoding="utf-8")
    (command,) = re.findall(r"elasticache-iam (policy operator .*?) > operator-policy.json", page, flags=re.DOTALL)

    result = CliRunner().invoke(cli, shlex.split(command.replace("\\\n", " ")))

    assert yaml.safe_load(result.output) == operator_policy(
        owner="prod",
        partition="aws",
        account="111122223333",
        region="eu-central-1",
        boundary="arn:aws:iam::111122223333:policy/elasticache-iam-boundary",
    )


# -- commands --------------------------------------------------------------------------------------------------------


def shell_blocks(page: Path) -> list[str]:
    return re.findall(r"^ *```sh\n(.*?)^ *```", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("page", [page for page in PAGES if shell_blocks(page)], ids=lambda page: page.name)
def test_a_shell_takes_what_a_page_shows(page: Path):
    for block in shell_blocks(page):
        done = subprocess.run(["/bin/bash", "-n"], input=block, capture_output=True, text=True, check=False)

        assert (done.returncode, done.stderr) == (0, ""), block


def test_a_stolen_operators_token_loses_every_binding():
    page = "".join(shell_blocks(DOCS / "security" / "stolen-operator.md"))
    installed = yaml.safe_load_all((ROOT / "packaging" / "install.yaml").read_text(encoding="utf-8"))
    bindings = [
        (document["kind"].lower(), document["metadata"]["name"], document["metadata"].get("namespace", ""))
        for document in installed
        if document["kind"] in {"ClusterRoleBinding", "RoleBinding"}
    ]

    deleted = re.findall(r"^kubectl (?:-n (\S+) )?delete (\w+binding) (\S+)", page, flags=re.MULTILINE)

    assert len(bindings) > 1
    assert {(kind, name, namespace) for namespace, kind, name in deleted} == set(bindings)


OUR_COMMAND = re.compile(r"(?<![\w-])(?<!-n )(?<!--namespace )elasticache-iam ([a-z][^#|;&<>`)\n]*)")
GENERATED = REFERENCE / "cli.md"


def our_commands(page: Path) -> list[str]:
    """Return the calls of elasticache-iam on a page, in blocks and in the text."""
    text = page.read_text(encoding="utf-8")
    inline = re.findall(r"`(elasticache-iam [^`]*)`", prose(text))
    return OUR_COMMAND.findall("\n".join([*shell_blocks(page), *inline]).replace("\\\n", " "))


@pytest.mark.parametrize(
    "page", [page for page in PAGES if our_commands(page) and page != GENERATED], ids=lambda page: page.name
)
def test_a_command_that_a_page_shows_exists_with_its_options(page: Path):
    for line in our_commands(page):
        command: click.Command = cli
        words = line.replace('"', "").split()
        while words and isinstance(command, click.Group):
            name = words.pop(0)
            below = command.get_command(click.Context(command), name)
            assert below is not None, f"elasticache-iam {line}"
            command = below
        known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}

        unknown = [word for word in words if re.match(r"--?[a-z]", word) and word.partition("=")[0] not in known]

        assert unknown == [], f"elasticache-iam {line}"
