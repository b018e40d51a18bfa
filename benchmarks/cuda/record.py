"""record.py FILE KEY... JSON: sets a value in a JSON file, as a whole, so that a run that is cut keeps what it has.
JSON is a text, or @FILE of one a line. record.py FILE: prints a summary."""

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


if __name__ == "__main__":
    if len(sys.argv) > 2:
        text = sys.argv[-1]
        lines = open(text[1:]) if text.startswith("@") else ()
        value = [json.loads(line) for line in lines if line.startswith("{")] if lines else json.loads(text)
        record(sys.argv[1], sys.argv[2:-1], value)
    else:
        for name, stage in read(sys.argv[1]).get("stages", {}).items():
            print(f"{name:10} {'passed' if stage['rc'] == 0 else 'FAILED'} {stage['seconds']:4} s")
