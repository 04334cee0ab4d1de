"""What concerns the project as a whole: import arrows, quiet imports, configurations, the lock, limits of size."""

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.conftest import ROOT

PACKAGES = ("rlhf_core", "data_contracts", "flows")
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))
LOCK = ROOT / "requirements.lock"


def run_python(code: str, folder: Path, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def modules_of(*packages: str) -> list[str]:
    paths = [path.relative_to(ROOT).with_suffix("") for path in SOURCES if path.relative_to(ROOT).parts[0] in packages]
    return [".".join(path.parts).removesuffix(".__init__") for path in paths]


def tracked_files() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [path for name in listed.split("\0") if name and (path := ROOT / name).is_file()]


def test_import_arrows_hold() -> None:
    linter = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([linter, "--no-cache", "--no-logo"], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout


def test_every_public_type_name_is_there_once() -> None:
    homes: dict[str, list[str]] = {}
    for path in SOURCES:
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            for name in public_types(node):
                homes.setdefault(name, []).append(path.relative_to(ROOT).as_posix())
    assert {name: paths for name, paths in homes.items() if len(paths) > 1} == {}


def public_types(node: ast.stmt) -> list[str]:
    """Names of a class or of a type alias that a statement at the top of a module defines."""
    match node:
        case ast.ClassDef(name=name):
            names = [name]
        case ast.Assign(targets=[ast.Name(id=name)], value=value) if "TypeVar(" not in ast.unparse(value):
            names = [name]
        case _:
            names = []
    return [name for name in names if name[0].isupper() and not name.isupper()]


def test_help_is_answered_without_heavy_imports(tmp_path: Path) -> None:
    heavy = {"torch", "transformers", "prefect", "mlflow", "pandas", "great_expectations"}
    code = f"import sys, rlhf_core, data_contracts, flows.cli; print(sorted({heavy} & set(sys.modules)))"
    assert run_python(code, tmp_path).strip() == "[]"


def test_a_configuration_is_shown_and_explained_without_heavy_imports(tmp_path: Path) -> None:
    heavy = {"torch", "transformers", "prefect", "mlflow", "great_expectations", "scipy.stats", "sklearn"}
    path = ROOT / "configs" / "embedded.yaml"
    code = (
        "import sys, pathlib, flows.config.reference, flows.config.origins\n"
        f"flows.config.origins.effective_yaml(pathlib.Path({str(path)!r})); flows.config.reference.settings_page()\n"
        f"print(sorted({heavy} & set(sys.modules)))\n"
        f"import flows.pipeline.preflight; print(sorted({heavy - {'scipy.stats'}} & set(sys.modules)))"
    )
    assert run_python(code, tmp_path).split() == ["[]", "[]"]


def test_data_are_read_and_measured_without_models_and_suites(tmp_path: Path) -> None:
    rows = [{"prompt": f"q{i}", "chosen": f"yes {i} " * (1 + i % 3), "rejected": f"no {i}"} for i in range(60)]
    (tmp_path / "pairs.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    code = (
        "import sys, pathlib, flows.data.ingest, flows.data.inspection\n"
        "from flows.config.data import ContractConfig, FileData, FileSource, Shares\n"
        "from flows.data.audits.labels import measure_labels\n"
        "from flows.data.sources import open_sources\n"
        "from flows.data.step_timer import Clock\n"
        "from flows.data.tables import make_tables\n"
        "work, source = pathlib.Path('work'), FileSource(path=str(pathlib.Path('pairs.jsonl').absolute()))\n"
        "reads = open_sources(FileData(preferences=(source,)), seed=0)\n"
        "tables = make_tables(reads, Shares(), ContractConfig(), folder=work, clock=Clock(), near=0.7)\n"
        "assert measure_labels(tables['preferences']).pairs\n"
        "print(sorted({'torch', 'transformers', 'datasets', 'great_expectations'} & set(sys.modules)))"
    )
    assert run_python(code, tmp_path).strip() == "[]"


def test_the_recipe_runs_without_the_pipeline(tmp_path: Path) -> None:
    code = (
        f"import sys, {', '.join(modules_of('rlhf_core'))}; print(sorted({{'prefect', 'mlflow'}} & set(sys.modules)))"
    )
    assert run_python(code, tmp_path).strip() == "[]"


@pytest.mark.slow
def test_imports_have_no_effect(tmp_path: Path) -> None:
    code = (
        "import os, sys; before = dict(os.environ); sys.argv += ['--unknown']\n"
        f"import {', '.join(modules_of(*PACKAGES))}, mlflow, rlhf_core\n"
        "ours = {name for name in {**os.environ, **before} if os.environ.get(name) != before.get(name)}\n"
        "print(sorted(name for name in ours if name.startswith(('PREFECT', 'MLFLOW', 'RLHF'))), os.listdir('.'))"
    )
    environment = {"PREFECT_HOME": str(tmp_path / "prefect"), "MPLCONFIGDIR": str(tmp_path / "matplotlib")}
    folder = tmp_path / "work"
    folder.mkdir()
    assert run_python(code, folder, **environment).strip() == "[] []"


FOR_INGESTION = {"pandalm"}


def test_what_an_installed_wheel_says_names_nothing_that_only_a_clone_has() -> None:
    of_module = 1  # line where a module says what it is, which its readers see
    places = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in SOURCES
        for node in list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))[1:]
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        if node.lineno > of_module and re.search(r"docs/\w|`make ", node.value)
    ]
    assert places == []


def test_there_are_configurations() -> None:
    assert {"embedded.yaml", "real_sample.yaml", "hh_rlhf.yaml"} <= {path.name for path in CONFIGS}


def test_the_readme_lists_the_configurations_that_there_are() -> None:
    listed = re.findall(r"^\| `configs/(\S+)` \|", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(listed) == [path.name for path in CONFIGS]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_configuration_loads_through_the_entry_point(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from flows.config.loading import load_config, load_ingest_config

    monkeypatch.setenv("RLHF_DATA", "data")
    assert load_ingest_config(path).storage.is_absolute()
    if path.stem not in FOR_INGESTION:
        assert load_config(path).storage.is_absolute()


@pytest.mark.parametrize("path", sorted((ROOT / "infra").rglob("*.yaml")), ids=lambda path: path.stem)
def test_what_infra_holds_is_yaml_and_names_configurations_that_exist(path: Path) -> None:
    text = path.read_text()
    assert all(isinstance(document, dict) for document in yaml.safe_load_all(text))
    assert [name for name in re.findall(r"configs/\w+\.yaml", text) if not (ROOT / name).exists()] == []


def test_the_lock_names_versions_and_nothing_of_a_machine() -> None:
    pins = [line for line in LOCK.read_text().splitlines() if line and not line.lstrip().startswith("#")]
    assert [pin for pin in pins if not re.fullmatch(r"[a-z0-9.-]+==[0-9][0-9a-z.]*", pin)] == []
    names = [pin.partition("==")[0] for pin in pins]
    assert len(names) == len(set(names))
    assert "torch==2.13.0" in pins
    assert not [name for name in names if name.startswith("nvidia")]  # resolved where the CPU wheel of torch is found


def test_the_lock_fits_the_project() -> None:
    from importlib.metadata import requires

    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    pins = dict(re.findall(r"^([a-z0-9.-]+)==(\S+)$", LOCK.read_text(), flags=re.MULTILINE))
    for line in requires("rlhf-ladder") or []:
        wanted = Requirement(line)
        assert wanted.specifier.contains(pins[canonicalize_name(wanted.name)]), line


def test_no_file_names_a_place_on_somebodys_machine() -> None:
    place = re.compile(r"(?<![\w.])/(?:home|Users|root|mnt|work|workspace)/\w+|file:/{2,3}\w")
    found = []
    for path in tracked_files():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue  # pictures and archives
        found += [f"{path.relative_to(ROOT)}: {match}" for match in place.findall(text)]
    assert found == []


PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
BESIDE = [ROOT / "benchmarks" / "README.md", ROOT / "infra" / "README.md"]
FENCED = re.compile(r"^ *```.*?^ *```", flags=re.DOTALL | re.MULTILINE)
TOP = "rlhf_core|flows|data_contracts|benchmarks|configs|infra|tests|docs"


def anchors_of(page: Path) -> set[str]:
    """Anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", FENCED.sub("", page.read_text(encoding="utf-8")), flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def links_of(page: Path) -> list[tuple[Path, str]]:
    """File and anchor that each relative link of a page leads to."""
    targets = re.findall(r"\]\(([^)\s]+)\)", FENCED.sub("", page.read_text(encoding="utf-8")))
    parts = [target.partition("#") for target in targets if not re.match(r"[a-z]+:", target)]
    return [((page.parent / path).resolve() if path else page, anchor) for path, _, anchor in parts]


@pytest.mark.parametrize("page", [*PAGES, *BESIDE], ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_link_of_the_documents_leads_somewhere(page: Path) -> None:
    links = links_of(page)
    assert [path for path, _ in links if not path.exists()] == []
    assert [(path, anchor) for path, anchor in links if anchor and anchor not in anchors_of(path)] == []


def test_every_path_that_the_documents_name_exists() -> None:
    named = {
        (page.relative_to(ROOT).as_posix(), path)
        for page in [*PAGES, *BESIDE]
        for path in re.findall(rf"`((?:{TOP})/[\w./-]+)[`:]", page.read_text(encoding="utf-8"))
    }
    assert len(named) > 100
    assert sorted((page, path) for page, path in named if not (ROOT / path).exists()) == []


def test_every_module_that_the_documents_run_or_name_exists() -> None:
    text = "\n".join(page.read_text(encoding="utf-8") for page in [*PAGES, *BESIDE, ROOT / "Makefile"])
    named = set(re.findall(r"\b(?:rlhf_core|flows|data_contracts|benchmarks)(?:\.[a-z_]\w*)+", text))
    assert len(named) > 15
    assert [name for name in sorted(named) if not is_module(name) and not is_module(name.rpartition(".")[0])] == []


def is_module(name: str) -> bool:
    path = ROOT.joinpath(*name.split("."))
    return path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()


def test_the_index_links_every_page() -> None:
    docs = ROOT / "docs"
    linked = {path for path, _ in links_of(docs / "index.md")}
    pages = {path for path in PAGES if docs in path.parents and docs / "decisions" not in path.parents}
    assert sorted(pages - linked - {docs / "index.md"}) == []
    assert docs / "decisions" in linked


def test_every_test_that_the_documents_name_exists() -> None:
    named = {
        (path, name)
        for page in (ROOT / "docs").rglob("*.md")
        for path, name in re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", page.read_text(encoding="utf-8"))
    }
    assert len(named) > 40
    known = {path: (ROOT / path).read_text(encoding="utf-8") for path, _ in named}
    assert [f"{path}::{name}" for path, name in sorted(named) if f"def {name}(" not in known[path]] == []


def test_files_and_functions_are_short() -> None:
    long = []
    for path in SOURCES:
        text = path.read_text(encoding="utf-8")
        if len(text.splitlines()) > 300:
            long.append(f"{path.relative_to(ROOT)}: more than 300 lines")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and lines_of_code(node) > 40:
                long.append(f"{path.relative_to(ROOT)}: {node.name} has more than 40 lines")
    assert long == []


def lines_of_code(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function's body after its docstring."""
    body = node.body[1:] if ast.get_docstring(node) is not None else node.body
    return (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0
