"""What the check of an input by DeePMD-kit finds, told as this package tells it: path, value, what is allowed."""

import re
from collections.abc import Mapping
from typing import Any

UNKNOWN = re.compile(r"undefined key `(?P<key>[^`]*)`.*?(?:Did you mean: (?P<near>.*)\?)?$")
KIND = re.compile(r"key `(?P<key>[^`]*)` gets wrong value type, requires <?(?P<kind>[^\s>]+)>?")
MISSING = re.compile(r"key `(?P<key>[^`]*)` is required")
CHOICE = re.compile(
    r"invalid choice `(?P<value>[^`]*)` for flag key `(?P<key>[^`]*)`\.(?:Did you mean: (?P<near>.*)\?)?"
)
RULE = re.compile(r"key `(?P<key>[^`]*)` gets bad value that fails to pass its extra checking\.\s*(?P<rule>.*)")
PLACE = re.compile(r"^\[at [^\]]*\]\s*")
KINDS = {
    "list": "a list",
    "list[int]": "a list of integers",
    "list[str]": "a list of strings",
    "dict": "a section of options, {...}",
    "bool": "true or false",
    "int": "an integer",
    "float": "a number",
    "str": "a string",
    "NoneType": "null",
    "None": "null",
}


def retell(error: Exception, document: Mapping[str, Any]) -> str:
    """Rewrite an error of the check of an input into one line.

    Parameters
    ----------
    error : Exception
        Of the package dargs, with the ``path`` of the section, or another one of the check.
    document : mapping
        The input, in which the value is looked up.
    """
    text = PLACE.sub("", " ".join(str(error).split()))
    section = str(getattr(error, "path", None) or "")
    found = UNKNOWN.search(text)
    if found:
        near = f"; did you mean `{found['near']}`?" if found["near"] else ""
        return f"`{_join(section, found['key'])}` is not an option of DeePMD-kit{near}"
    found = MISSING.search(text)
    if found:
        return f"`{_join(section, found['key'])}` is missing but must be given"
    found = CHOICE.search(text)
    if found:
        near = f"; did you mean {found['near']!r}?" if found["near"] else ""
        return f"`{_join(section, found['key'])}` is {found['value']!r} but must be one that DeePMD-kit knows{near}"
    found = KIND.search(text)
    if found:
        path = _join(section, found["key"])
        kinds = re.split(r"\|(?![^\[]*\])", found["kind"])
        kinds = [kind for kind in kinds if kind != "int" or "float" not in kinds]
        allowed = " or ".join(KINDS.get(kind, kind) for kind in kinds)
        return f"`{path}` is {_look_up(document, path)!r} but must be {allowed}"
    found = RULE.search(text)
    if found:
        path = _join(section, found["key"])
        return f"`{path}` is {_look_up(document, path)!r} but DeePMD-kit does not take it: {found['rule']}"
    return f"`{section}`: {text}" if section else text


def _join(section: str, key: str) -> str:
    return f"{section}/{key}" if section and section.rpartition("/")[2] != key else section or key


def _look_up(document: Any, path: str) -> Any:
    """The value at a path, None where there is none."""
    for key in path.split("/"):
        document = document.get(key) if isinstance(document, Mapping) else None
    return document
