"""What a SCIM filter means, a second time: scim2-filter-parser reads it, and the few rules below judge it.

Standard input, one JSON value a line: first the resources, {"Users": [...], "Groups": [...]}, then any number of
{"kind": "Users", "filter": "..."}. Each of these is answered by one line, the list of ids that the filter means, or
{"error": "..."}. Written from RFC 7644 section 3.4.2.2; shares nothing with musterd. Where the RFC is silent, a line
says so and follows what src/scim/eval.rs documents.
"""

import json
import sys
import unicodedata
from datetime import datetime

from scim2_filter_parser.ast import AttrPath, Filter, LogExpr
from scim2_filter_parser.lexer import SCIMLexer
from scim2_filter_parser.parser import SCIMParser

CORE = "urn:ietf:params:scim:schemas:core:2.0:"
EXACT = {"id", "externalid", "groups.value", "members.value", "manager.value"}
TIMES = {"meta.created", "meta.lastmodified"}


def part(text):
    """Silent RFC: letters without case are folded by Unicode (NFKC and lower case), both sigmas are one."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).lower())
    return folded.replace("\u03c2", "\u03c3")


def key(text):
    """Silent RFC: outer white space of a value, and of what is compared whole, does not count."""
    return part(text.strip())


def member(thing, name):
    """Names have no case (RFC 7643 section 2.1)."""
    found = [value for known, value in thing.items() if known.lower() == name.lower()]
    return found[0] if found else None


def each(value):
    return value if isinstance(value, list) else [] if value is None else [value]


def present(value):
    if isinstance(value, dict):
        return any(present(inner) for inner in value.values())
    return value is not None and value != "" and value != []


def values(path, thing, parent, whole):
    """The values at a path, and its name without URN. `whole`: complex values are not narrowed to their `value`."""
    if path.uri and not path.uri.startswith(CORE):
        thing = member(thing, path.uri) or {}
    name = path.attr_name.lower()
    found = each(member(thing, name))
    full = f"{parent}.{name}" if parent else name
    sub = path.sub_attr.value if path.sub_attr else None
    if sub is None and not whole and any(isinstance(value, dict) for value in found):
        # Silent RFC: a complex attribute without its sub-attribute stands for its `value`.
        sub = "value"
    if sub is None and not whole and full in ("emails", "groups", "members", "manager"):
        sub = "value"
    if sub is not None:
        found = [inner for value in found for inner in each(member(value, sub))]
        full = f"{full}.{sub.lower()}"
    return found, full


def instant(text):
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def compare(op, name, value, literal):
    if isinstance(value, bool):
        return op == "eq" and value == (literal.lower() == "true")
    if name in TIMES:
        value, wanted = instant(value), instant(literal)
    elif name in EXACT:
        wanted = literal
    else:
        value, wanted = key(value), part(literal) if op in ("co", "sw", "ew") else key(literal)
    return {
        "eq": lambda: value == wanted,
        "co": lambda: wanted in value,
        "sw": lambda: value.startswith(wanted),
        "ew": lambda: value.endswith(wanted),
        "gt": lambda: value > wanted,
        "ge": lambda: value >= wanted,
        "lt": lambda: value < wanted,
        "le": lambda: value <= wanted,
    }[op]()


def attribute(op, path, literal, thing, parent):
    if isinstance(path.attr_name, Filter):
        # `emails[type eq "work"].value eq "x"` is no RFC: one element satisfies both.
        chosen = path.attr_name
        place = chosen.namespace
        bare = AttrPath(place.attr_name, None, place.uri)
        elements, full = values(bare, thing, parent, True)
        sub = AttrPath(place.sub_attr.value, None, None)
        return any(truth(chosen.expr, one, full) and attribute(op, sub, literal, one, full) for one in elements)
    found, name = values(path, thing, parent, op == "pr")
    if op == "pr":
        return any(present(value) for value in found)
    if op == "ne":
        # Silent RFC: `ne` is the opposite of `eq`, of several values and of none alike.
        return not attribute("eq", path, literal, thing, parent)
    if literal == "null":
        # Silent RFC: null is what is not there.
        return not any(present(value) for value in found)
    return any(compare(op, name, value, literal) for value in found)


def chain(node):
    """The terms and words of a row such as `a or b and c`, of which the library makes a tree that leans to the left."""
    if isinstance(node.expr, LogExpr) and not node.negated and node.namespace is None:
        return [*chain(node.expr.expr1), node.expr.op.lower(), *chain(node.expr.expr2)]
    return [node]


def truth(node, thing, parent=""):
    if node.namespace is not None:
        elements, full = values(node.namespace, thing, parent, True)
        return any(truth(node.expr, one, full) for one in elements)
    if node.negated:
        return not truth(node.expr, thing, parent)
    row = chain(node)
    if len(row) > 1:
        # "and" binds more strongly than "or" (RFC 7644 section 3.4.2.2); the library gives both the same rank.
        groups = [[]]
        for item in row:
            if item == "or":
                groups.append([])
            elif item != "and":
                groups[-1].append(item)
        return any(all(truth(term, thing, parent) for term in group) for group in groups)
    if isinstance(node.expr, Filter):
        return truth(node.expr, thing, parent)
    said = node.expr
    return attribute(said.value.lower(), said.attr_path, said.comp_value and said.comp_value.value, thing, parent)


def main():
    lines = iter(sys.stdin)
    resources = json.loads(next(lines))
    for line in lines:
        asked = json.loads(line)
        try:
            tree = SCIMParser().parse(SCIMLexer().tokenize(asked["filter"]))
            answer = [thing["id"] for thing in resources[asked["kind"]] if truth(tree, thing)]
        except Exception as error:  # The test is told, whatever it is.
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


main()
