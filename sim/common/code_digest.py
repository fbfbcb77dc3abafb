"""What code a result depends on, as a digest: results of other code are not taken for its own."""

import ast
import hashlib
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

_ROOT = Path(__file__).parent.parent.parent
_PACKAGES = ("golden", "sim")


@lru_cache
def digest(*modules: str) -> str:
    """Return the SHA-256 of modules of this program and of all that they import of it.

    Comments, docstrings and layout do not count; Python's version and other packages neither.

    Raises
    ------
    ValueError
        If this program has no such module: it would have the digest of nothing.
    """
    for name in modules:
        if name.partition(".")[0] in _PACKAGES and _file(name) is None:
            raise ValueError(f"modules must be those of this program, not {name!r}")
    found, wanted = {}, list(modules)
    while wanted:
        name = wanted.pop()
        package = name.rpartition(".")[0]
        wanted += [package] if package else []
        path = _file(name)
        if path is not None and path not in found:
            tree = ast.parse(path.read_bytes())
            wanted += _imports(tree, path)
            found[path] = _content(tree)
    whole = "".join(found[path] for path in sorted(found))
    return hashlib.sha256(whole.encode()).hexdigest()


def _file(module: str) -> Path | None:
    """Return the file of a module of this program, None for anything else."""
    if module.partition(".")[0] not in _PACKAGES:
        return None
    place = _ROOT.joinpath(*module.split("."))
    files = (place.with_suffix(".py"), place / "__init__.py")
    return next((file for file in files if file.is_file()), None)


def _imports(tree: ast.Module, path: Path) -> Iterator[str]:
    """Yield the names of what may be modules."""
    package = path.parent.relative_to(_ROOT).parts
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            before = package[:len(package) - node.level + 1] if node.level else ()
            name = ".".join((*before, *([node.module] if node.module else [])))
            yield name
            yield from (f"{name}.{alias.name}" for alias in node.names)


def _content(tree: ast.Module) -> str:
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [part for part in body if not _is_constant(part)]
    return ast.dump(tree)


def _is_constant(part: ast.stmt) -> bool:
    return isinstance(part, ast.Expr) and isinstance(part.value, ast.Constant)
