"""Which module imports which, read from the sources."""

import ast
from pathlib import Path

PACKAGES = ("golden", "rtl", "sim")


def modules(root: Path, packages=PACKAGES) -> dict[str, Path]:
    """File of every module of the packages by its full name; a package's is its __init__."""
    found = {}
    for package in packages:
        for path in sorted((root / package).rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def import_graph(root: Path, packages=PACKAGES) -> dict[str, list[str]]:
    """What each module imports of the packages, within functions, too; not what only types need.

    A submodule does not count as its package: ``from .package import submodule`` is an import of
    the submodule alone, ``from .package import name`` one of the package.
    """
    known = modules(root, packages)
    return {name: sorted(_imports(path.relative_to(root), path.read_text(), known) - {name})
            for name, path in known.items()}


def _imports(path: Path, text: str, known) -> set[str]:
    tree = ast.parse(text)
    typing = {id(part) for node in ast.walk(tree) if isinstance(node, ast.If)
              and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")
              for branch in node.body for part in ast.walk(branch)}
    found = set()
    for node in ast.walk(tree):
        if id(node) in typing:
            continue
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = path.parent.parts
            before = package[:len(package) - node.level + 1] if node.level else ()
            base = ".".join((*before, *filter(None, [node.module])))
            names = [f"{base}.{alias.name}" for alias in node.names]
            found.update(name if name in known else base for name in names)
    return found & known.keys()
