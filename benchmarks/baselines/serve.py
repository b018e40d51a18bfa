"""What the baselines share: each is a server, so that its rounds can alternate with heed's.

One JSON request per line on standard input, {"do": name, ...arguments}; one JSON answer per line on standard output.
"""

import json
import os
import re
import sys
import time

# Without a terminal, libraries' progress and warnings would only mix with the answers.
answers, sys.stdout = sys.stdout, sys.stderr


def serve(**handlers):
    import torch

    reply({"ready": True, "torch": torch.__version__, "threads": torch.get_num_threads(),
           "hugePages": os.environ.get("THP_MEM_ALLOC_ENABLE") == "1"})
    handlers["peak"] = peak
    for line in sys.stdin:
        request = json.loads(line)
        try:
            reply(handlers[request.pop("do")](**request))
        except Exception as error:  # the driver says which baseline failed, and why
            reply({"error": f"{type(error).__name__}: {error}"})


def reply(answer):
    print(json.dumps(answer), file=answers, flush=True)


def peak():
    """The most memory that this process has held."""
    status = open("/proc/self/status").read()
    return {"peakBytes": 1024 * int(re.search(r"^VmHWM:\s*(\d+) kB$", status, re.M)[1])}


def times_of(run, seconds, prepare=lambda: None):
    """Seconds of each call for about `seconds` in all, at least one call; `prepare` runs before each, outside the timing."""
    times, start = [], time.perf_counter()
    while not times or time.perf_counter() - start < seconds:
        prepare()
        before = time.perf_counter()
        run()
        times.append(time.perf_counter() - before)
    return times
