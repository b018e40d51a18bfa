"""record.py FILE KEY... JSON: sets a value in a JSON file, as a whole, so that a run that is cut keeps what it has.
JSON is a text, or @FILE of one a line, of which the last may be cut. record.py FILE: prints a summary. record.py --csv FILE:
ncu's table as JSON lines, an object for each launch."""

import csv
import json
import os
import sys


def read(path):
    return json.load(open(path)) if os.path.exists(path) else {}


def record(path, keys, value):
    data = read(path)
    at = data
    for key in keys[:-1]:
        at = at.setdefault(key, {})
    at[keys[-1]] = value
    with open(path + ".new", "w") as file:
        json.dump(data, file, indent=1)
    os.replace(path + ".new", path)


def lines_of(path):
    values = []
    for line in open(path):
        if not line.startswith("{"):
            continue
        try:
            values.append(json.loads(line))
        except ValueError:
            if line.endswith("\n"):
                raise
    return values


def launches_of(path):
    launches = {}
    table = csv.DictReader(line for line in open(path) if line.startswith('"'))
    for row in table:
        launch = launches.setdefault(row["ID"], {"kernel": row["Kernel Name"]})
        launch[f"{row['Metric Name']} ({row['Metric Unit']})"] = row["Metric Value"]
    return launches.values()


if __name__ == "__main__":
    if sys.argv[1] == "--csv":
        for launch in launches_of(sys.argv[2]):
            print(json.dumps(launch))
    elif len(sys.argv) > 2:
        text = sys.argv[-1]
        record(sys.argv[1], sys.argv[2:-1], lines_of(text[1:]) if text.startswith("@") else json.loads(text))
    else:
        for name, stage in read(sys.argv[1]).get("stages", {}).items():
            outcome = {0: "passed", None: "not begun"}.get(stage["rc"], f"FAILED ({stage['rc']})")
            print(f"{name:12} {outcome:12} {stage['seconds']:4} s")
