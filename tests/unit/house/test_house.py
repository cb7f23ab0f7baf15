"""The house rules: imports between packages, limits of length, what the C core may use, and wording."""

import ast
import functools
import graphlib
import importlib
import inspect
import re
import subprocess
import sys
import types
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

import netdevns

ROOT = Path(__file__).resolve().parents[3]
PACKAGE = ROOT / "netdevns"
CSRC = ROOT / "csrc"

# One way: a folder imports from those before it, and from itself.
FOLDERS = [
    "limits", "descriptors", "netlink", "results", "reports", "errors", "text", "system", "_core", "_ffi", "engine",
    "state", "batch", "recovery", "api", "prepare", "oci", "nri", "conformance", "doctor", "cli",
    "__main__",
]  # fmt: skip
# Modules that import inside of functions, and why.
LATE_IMPORTS = {
    "__init__": "a public name loads its module when it is used",
    "cli.files": "cdi and hooks-dir refuse in words of their own where the compiled core is missing",
    "cli.main": "a command loads what it needs: `netdevns --help` and `features` need no compiled core",
    "doctor.checks": "a missing compiled core is a finding",
    "oci.hook": "a container without devices needs no compiled core",
    "oci.netavark": "a missing compiled core is reported as JSON, and logged",
    "nri.command": "the hook of --strict runs at each container's start, and needs no compiled core for most",
    "nri.hook": "the same",
    "oci.hook_command": "a missing compiled core is reported, and logged",
}
MODULES = sorted(PACKAGE.rglob("*.py"))


def module_name(path: Path) -> str:
    """`engine.native` for netdevns/engine/native.py, `engine` for its __init__.py."""
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")


def folder_of(module: str) -> str:
    """Its place in FOLDERS: that of its first folder, or its own."""
    return module.split(".")[0]


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


@functools.cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@functools.cache
def imports(path: Path, *, module_level: bool) -> list[tuple[int, str, list[str]]]:
    """(level, module, names) of each import that runs: nothing under `if TYPE_CHECKING`."""
    return [*_imports(parsed(path), module_level)]


def _imports(tree: ast.Module, module_level: bool) -> Iterator[tuple[int, str, list[str]]]:
    todo: list[ast.AST] = [tree]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.Import):
            for name in node.names:
                yield 0, name.name, []
        elif isinstance(node, ast.ImportFrom):
            yield node.level, node.module or "", [name.name for name in node.names]
        if is_type_checking(node):
            todo += node.orelse
        elif not (module_level and isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))):
            todo += ast.iter_child_nodes(node)


def own_imports(path: Path, *, module_level: bool = False) -> Iterator[str]:
    """The modules of the package that a module imports, anywhere in it: `netlink.wire`."""
    here = path.relative_to(PACKAGE).parent.parts
    for level, module, names in imports(path, module_level=module_level):
        if level:
            base = [*here[: len(here) + 1 - level], *filter(None, module.split("."))]
        elif module.split(".")[0] == "netdevns":
            base = module.split(".")[1:]
        else:
            continue
        for name in names or [""]:
            found = ".".join([*base, name] if [*base, name] in KNOWN else base)
            if found:
                yield found


KNOWN = [module_name(path).split(".") for path in MODULES] + [["_core"]]
OWN = [path for path in MODULES if path != PACKAGE / "__init__.py"]


def test_imports_run_one_way():
    """A module imports from its own folder, and from folders that stand before it in FOLDERS, also inside functions."""
    floor = {folder: number for number, folder in enumerate(FOLDERS)}
    above = [
        (module, other)
        for path in OWN
        for module in [module_name(path)]
        for other in own_imports(path)
        if floor[folder_of(other)] > floor[folder_of(module)]
    ]
    assert above == []


def test_no_imports_go_round_in_circles():
    """No module imports itself by way of others; what an __init__ hands on counts as its own."""
    graph = {module_name(path): {*own_imports(path)} - {module_name(path)} for path in OWN}
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError, with the circle


def test_folders_are_small():
    """At most fourteen modules a folder, so that one sees all of it at a glance."""
    counts = Counter(path.parent for path in MODULES if path.name != "__init__.py" and path.parent.name != "subjects")
    assert {str(folder): count for folder, count in counts.items() if count > 14} == {}


def test_only_the_engine_imports_the_compiled_core():
    """_ffi is imported by the engine alone, and the compiled module by _ffi alone."""
    importers = {
        (folder_of(module_name(p)), other) for p in OWN for other in own_imports(p) if other in ("_ffi", "_core")
    }
    assert importers == {("engine", "_ffi"), ("_ffi", "_core")}


def test_imports_stand_at_the_top():
    """A module imports when it is loaded: what fails then fails before a device is touched."""
    inside = {
        module_name(path): found
        for path in MODULES
        if (found := {*own_imports(path)} - {*own_imports(path, module_level=True)})
    }
    late = {name for name in inside if folder_of(name) != "conformance"}
    assert late <= {*LATE_IMPORTS}, {name: inside[name] for name in late - {*LATE_IMPORTS}}


def loaded_by(statement: str) -> set[str]:
    """The modules that a statement loads in an isolated interpreter without site."""
    paths = [str(ROOT), *(p for p in sys.path if p.endswith("site-packages"))]
    code = f"import sys; sys.path += {paths!r}\nbefore = set(sys.modules); {statement}\n"
    code += "print(*set(sys.modules) - before)"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    return {*done.stdout.split()}


def test_loading_the_package_loads_nothing():
    """`import netdevns` alone is cheap: its names are loaded when they are used."""
    found = loaded_by("import netdevns")
    assert {name for name in found if name.startswith("netdevns")} == {"netdevns"}
    assert found & {"typing", "dataclasses", "re", "enum", "json", "cffi", "_cffi_backend"} == set()


def test_wire_works_without_the_compiled_core():
    """What only builds and reads messages, and the client in Python, need no compiled module and no cffi."""
    found = loaded_by(
        "import netdevns.netlink.wire, netdevns.netlink.rtnl, netdevns.netlink.route, netdevns.system.netns, "
        "netdevns.oci.config_json"
    )
    assert found & {"_cffi_backend", "cffi"} == set()


def test_reference_engine_works_without_the_compiled_core():
    """With NETDEVNS_ENGINE=reference a whole move loads no compiled module and no cffi."""
    statement = "import os; os.environ['NETDEVNS_ENGINE'] = 'reference'; import netdevns.api"
    assert loaded_by(statement) & {"_cffi_backend", "cffi"} == set()


def test_only_the_reference_engine_uses_the_client_in_python():
    """rtnl is imported by the reference engine, and by nothing else of a move."""
    users = {module_name(path) for path in OWN for other in own_imports(path) if other == "netlink.rtnl"}
    assert users == {"engine.reference", "engine.reference.phases", "engine.reference.socket", "conformance.world"}


def test_conformance_uses_nothing_that_it_judges():
    """The conformance suite sends and reads netlink, and draws tables: no engine, checks or transaction are in it."""
    users = [path for path in OWN if folder_of(module_name(path)) == "conformance"]
    assert users
    found = {folder_of(other) for path in users for other in own_imports(path)} - {"conformance"}
    assert found <= {"errors", "netlink", "system", "text"}
    loaded = loaded_by("import netdevns.conformance.command as c; c.every()")
    own = {name.split(".")[1] for name in loaded if name.startswith("netdevns.")}
    assert own <= {"conformance", "descriptors", "errors", "limits", "netlink", "reports", "results", "system", "text"}
    assert {name.split(".")[0] for name in loaded} & {"_cffi_backend", "cffi", "rich"} == set()


# ---- lengths -------------------------------------------------------------------------------------------------------

C_FILES = sorted(
    path
    for folder in (CSRC, CSRC / "hook", *(ROOT / "tests" / name for name in ("csrc", "embed", "hook")))
    for path in folder.glob("*.[ch]")
)


def lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


def c_functions(path: Path):
    """(name, lines) of each function: from the line of its name to the `}` in the first column."""
    name, begin = "", 0
    for number, line in enumerate(lines(path)):
        head = re.match(r"[a-z].*?(\w+)\(", line)
        if head and not line.rstrip().endswith(";"):
            name, begin = head.group(1), number
        if line == "}" and name:
            yield name, number - begin + 1
            name = ""


def long_files(paths):
    return {str(path): count for path in paths if (count := len(lines(path))) > 400}


def test_c_files_are_short():
    """No C file has more than 400 lines."""
    assert long_files(C_FILES) == {}


def test_c_functions_are_short():
    """No C function has more than 60 lines."""
    found = {path.name: dict(c_functions(path)) for path in C_FILES if path.suffix == ".c"}
    assert [name for name, functions in found.items() if not functions] == [], "the pattern above is wrong"
    assert [(name, f) for name, functions in found.items() for f, length in functions.items() if length > 60] == []


def test_python_modules_are_short():
    """No Python module has more than 400 lines."""
    assert long_files(MODULES) == {}


def open_comments(path: Path):
    """(number, line) of each line that begins inside a block comment, up to the one that ends it."""
    is_open = False
    for number, line in enumerate(lines(path), 1):
        if is_open:
            yield number, line
        is_open = line.rfind("/*") > line.rfind("*/") if "/*" in line else is_open and "*/" not in line


def test_lines_of_a_c_comment_begin_with_a_star():
    """Each line of a block comment begins with ` *`: none was broken by a line feed that should have been a "\\n"."""
    found = [(path.name, *each) for path in C_FILES for each in open_comments(path)]
    assert [each for each in found if not each[2].lstrip("\t").startswith(" *")] == []


# Its functions are those of netdevns-core.h; all other files are the batch.
CORE = ("message", "socket", "exchange", "filter", "notify", "find", "replay", "compare", "load", "device")


def test_c_uses_libc_only_and_the_core_allocates_nothing():
    """Plain C: no Python, no output, no thread; the core has no memory of its own, the batch owns its."""
    never = re.compile(r"\b(printf|fprintf|puts|Py_\w+|pthread_create)\s*\(")
    memory = re.compile(r"\b(malloc|calloc|realloc|free)\s*\(")
    for path in CSRC.glob("*.c"):
        text = path.read_text(encoding="utf-8")
        assert path.name == "example.c" or not never.findall(text), path.name
        assert path.stem not in CORE or not memory.findall(text), path.name


def test_one_function_calls_setns():
    """Exactly one function of the core leaves the thread's namespace, and one of Python's, of the reference engine."""
    callers = set()
    for path in CSRC.glob("*.c"):
        name = ""
        for line in lines(path):
            head = re.match(r"[a-z].*?(\w+)\(", line)
            name = head.group(1) if head and not line.endswith(";") else name
            if re.search(r"\bsetns\(", line) and not line.lstrip().startswith("*"):
                callers.add(name)
    assert callers == {"open_there"}
    named = {p.name: p.read_text(encoding="utf-8").count("setns(") for p in MODULES}
    assert {name for name, count in named.items() if count} == {"rtnl.py"}


# ---- words ---------------------------------------------------------------------------------------------------------


def test_modules_have_a_docstring():
    """Each module says in its first line what it is."""
    assert [p for p in MODULES if p.name != "__main__.py" and not ast.get_docstring(parsed(p))] == []


def public_members() -> list:
    """Each public name, and the public methods and properties of public classes, and functions of public modules."""
    found = {}
    for name in netdevns.__all__:
        value = getattr(netdevns, name)
        if isinstance(value, str):  # JOURNAL_DIR, a constant
            continue
        found[name] = value
        for attribute, member in vars(value).items():
            if isinstance(value, types.ModuleType):
                mine = inspect.isfunction(member) and member.__module__ == value.__name__
            else:
                mine = isinstance(value, type) and isinstance(member, (types.FunctionType, classmethod, property))
            if mine and not attribute.startswith("_"):
                found[f"{name}.{attribute}"] = member
    return [pytest.param(name, member, id=name) for name, member in found.items()]


@pytest.mark.parametrize(("name", "member"), public_members())
def test_public_name_has_a_docstring(name, member):
    """Each public name has a docstring; a property may be described in its class's docstring instead."""
    said = member.__doc__
    if isinstance(member, property) and not said:
        owner, _, attribute = name.partition(".")
        said = re.search(rf"\b{attribute}\b.*:", getattr(netdevns, owner).__doc__)
    assert said


PUBLIC_FUNCTIONS = [p for p in public_members() if inspect.isfunction(p.values[1]) and p.id.split(".")[-1] != "lazy"]


@pytest.mark.parametrize(("name", "member"), PUBLIC_FUNCTIONS)
def test_public_function_says_what_its_arguments_are(name, member):  # noqa: ARG001  # the pair of the list
    """The docstring of a public function has a line for each argument, and says what it raises if it raises."""
    said = inspect.getdoc(member)
    for argument in inspect.signature(member).parameters:
        assert argument in ("self", "exc") or re.search(rf"^    [\w, ]*\b{argument}\b[\w, ]*:", said, re.MULTILINE), (
            argument
        )
    assert "Raises:" in said or " raise " not in inspect.getsource(member)


def test_exports_are_where_they_are_said_to_be():
    """The lazy table of the package and `__all__` name the same things, each in a module that has it."""
    assert set(netdevns._HOME) == set(netdevns.__all__)
    for name, home in netdevns._HOME.items():
        module = importlib.import_module(f"netdevns.{home}")
        assert name == home or hasattr(module, name)
