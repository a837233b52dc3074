"""llama-server: the argument tables of tools/server/README.md, which its own program writes."""

import re

import arguments

TEXT = True

ROW = re.compile(r"^\| `(?P<names>-[^`]*)` \| (?P<about>.*?)(?: \|)?$")
FRACTION = re.compile(r"default: -?\d+\.\d+")
INTEGERS = {"N", "PORT", "SEED", "SECONDS"}


def read(path):
    table = arguments.Table()
    for line in path.read_text().splitlines():
        row = ROW.match(line.replace(r"\|", "|"))
        if row is None:
            continue
        names, value, negations = split(row["names"])
        if not names:
            continue
        long = [n for n in names if n.startswith("--")]
        main = (long or names)[-1]
        takes = kind(value, row["about"], main)
        about = row["about"].lower()
        if "argument has been removed" in about:
            instead = re.search(r"use (--[\w-]+)", about)
            for name in names:
                table.removed[name] = instead[1] if instead else ""
            continue
        table.add(main, [n for n in names if n != main], takes, "deprecated" in about)
        if negations:
            negative = [n for n in negations if n.startswith("--")][-1]
            table.add(negative, [n for n in negations if n != negative], "switch")
    return table


def split(text):
    """Names, the placeholder of the value, and names that mean the opposite."""
    names, negations, value = [], [], ""
    for part in text.split(","):
        words = part.strip().split(None, 1)
        if not words:
            continue
        if not words[0].startswith("-"):
            # A comma inside a placeholder, such as `[none,layer]`.
            value += "," + part.strip()
            continue
        (negations if words[0].startswith("--no-") and names and not value else names).append(words[0])
        if len(words) > 1:
            value = words[1]
    if negations and not any(not n.startswith("--no-") for n in names):
        names, negations = names + negations, []
    return names, value.strip(), negations


def kind(value, about, main):
    if not value:
        return "switch"
    inner = value.strip("[]{}<>")
    listed = value[0] in "[{<" and re.split(r"[|,]", inner)
    if listed and len(listed) > 1 and all(re.fullmatch(r"[\w.+-]+", v) for v in listed):
        return sorted(listed)
    allowed = re.search(r"allowed values: ([\w, +-]+?)(?:<br/>|\(|$)", about)
    if allowed:
        return sorted(v.strip() for v in allowed[1].split(",") if v.strip())
    bullets = re.findall(r"<br/>- `?([\w.+-]+)`?:", about)
    if bullets and main not in ("--numa",):
        return {"known": sorted(set(bullets))}
    if value == "N" and FRACTION.search(about):
        return "number"
    if value in INTEGERS and not re.search(r"'auto'|\bauto\b|'all'", about):
        return "integer"
    return "text"
