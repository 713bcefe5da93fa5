"""Whether what a file calls options has the form of options, before anything reads them."""

from pathlib import Path
from typing import Any

from deepmd_dpa4.checkpoint.archive import FileError

DEEPEST = 32
KINDS: dict[str, type] = {
    "type": str,
    "type_map": list,
    "descriptor": dict,
    "fitting_net": dict,
    "info": dict,
    "model_branch_alias": list,
    "models": list,
}
"""Types of the entries of a ``model`` section that this package looks into."""


def check_params(path: Path, params: Any, where: str = "model") -> None:
    """Check a ``model`` section, of one branch or of all.

    Raises
    ------
    FileError
        If an entry has another type than DeePMD-kit writes.
    """
    _check_plain(path, params, where, 0)
    if not isinstance(params, dict):
        raise FileError(f"{path} is not a checkpoint of DeePMD-kit: `{where}` is a {type(params).__name__}")
    if "model_dict" in params:
        branches = params["model_dict"]
        if not isinstance(branches, dict) or not branches or not isinstance(params.get("shared_dict", {}), dict):
            raise FileError(f"{path} is not a checkpoint of DeePMD-kit: `{where}/model_dict` has no branches")
        for name, branch in branches.items():
            check_params(path, branch, f"{where}/model_dict/{name}")
        return
    for key, kind in KINDS.items():
        if params.get(key) is not None and not isinstance(params[key], kind):
            raise FileError(f"{path} is damaged: `{where}/{key}` is {params[key]!r:.60} but must be a {kind.__name__}")
    if not params.get("type_map"):
        raise FileError(f"{path} is not a checkpoint of DeePMD-kit: `{where}` has no `type_map`")
    texts = {key: params.get(key) for key in ("type_map", "model_branch_alias")}
    texts["info/observed_type"] = (params.get("info") or {}).get("observed_type")
    for key, names in texts.items():
        if not isinstance(names or [], list) or not all(isinstance(name, str) for name in names or []):
            raise FileError(f"{path} is damaged: `{where}/{key}` is {names!r:.60} but must be a list of texts")


def _check_plain(path: Path, value: Any, where: str, depth: int) -> None:
    """Containers, texts, numbers; a tensor among the options would be compared entry by entry."""
    if depth > DEEPEST:
        raise FileError(f"{path} is damaged: `{where}` is nested too deeply")
    if isinstance(value, dict):
        for key, part in value.items():
            if not isinstance(key, str):
                raise FileError(f"{path} is damaged: `{where}` has an entry called {key!r:.60}")
            _check_plain(path, part, f"{where}/{key}", depth + 1)
    elif isinstance(value, list | tuple):
        for part in value:
            _check_plain(path, part, where, depth + 1)
    elif not isinstance(value, str | int | float | bool | None):
        raise FileError(f"{path} is damaged: `{where}` holds a {type(value).__name__}")
