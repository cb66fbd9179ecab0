"""The peers' side of benches/run: `python -m peers.worker DATA EXCHANGE`, requests and answers as JSON lines.

- `setup ROW` makes a row, `check ROW` compares with what the Rust side left in EXCHANGE/ROW.answer.safetensors,
- `measure ROW SECONDS CLOCK` gives the median seconds of one call, on the wall's clock or the processor's, `drop ROW` frees the row.
"""

import gc
import json
import sys
import time
from pathlib import Path

from . import rows, safetensors_file


CLOCKS = {"wall": time.perf_counter, "processor": time.process_time}


def measure(run, seconds, clock):
    """Median of as many calls as fit into `seconds`, three at least."""
    times, begin = [], time.perf_counter()
    while len(times) < 3 or time.perf_counter() - begin < seconds:
        start = clock()
        run()
        times.append(clock() - start)
    return sorted(times)[len(times) // 2]


def main(data, exchange):
    made = {}
    for line in sys.stdin:
        request = json.loads(line)
        op, name, answer = request["op"], request["row"], {}
        try:
            if op == "setup":
                made[name] = rows.make(name, data, exchange)
            elif op == "check":
                made[name].check(safetensors_file.load(exchange / f"{name}.answer.safetensors"))
            elif op == "measure":
                answer["seconds"] = measure(made[name].run, request["seconds"], CLOCKS[request["clock"]])
            elif op == "drop":
                made.pop(name, None)
                gc.collect()
        except Exception as error:  # Whatever goes wrong is told to the program that asked.
            answer["error"] = f"{type(error).__name__}: {error}"
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
