"""A fuzz run over raw bytes: python tests/fuzz.py --minutes 60 --seed 1

Takes the corpus and what it has made before, changes bytes, and runs the stages on the result, with settings drawn by
chance. Each run must end in the oracle's results, with which tests/opinions.py must agree, or in one sentence of bad
input; anything else is kept in --keep, and the exit code is 1.
"""

import argparse
import json
import logging
import random
import sys
import time
import traceback
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

sys.path.insert(0, str(Path(__file__).parent))

import inline
import opinions
import oracle
from daskjobs.errors import InputError

CORPUS = Path(__file__).parent / "corpus"
TOKENS = [
    b'"', b'""', b'","', b',"', b'",', b'"\n', b'\n"', b'" ,', b"\\", b'\\"', b"\\\n", b"\\N",
    b",", b";", b"\t", b"|", b"\n", b"\r", b"\r\n", b"\n\n", b"\x00", b"\xff", b"\xc3",
    b"\xef\xbb\xbf", b"-", b"-0", b".", b"e5", b"NaN", b" ", b"success", b"failed", b"2025-02-30", b"T", b"Z",
    b"+02:00", b" UTC", b".50", b"-.5", b"5.", b".0000000", b"A1", b"9" * 18, b"0" * 40,
    b"{", b"}", b"[", b"]", b"{}", b"}{", b'":', b": ", b"null", b"true", b"1e2", b"[1.50, {}]", b"\\ud83d", b"\\u00e9",
    b'"price": 10.50, ', b'"more": "x", ', b"PAR1", b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"\xe2\x80\xa8", b"\x85", b"\x1c",
]  # fmt: skip
HEADER = ",".join(oracle.COLUMNS).encode() + b"\n"
MOST_BYTES, MOST_FILES = 20_000, 2000
REAL = 0.005  # of the runs are on a Dask cluster, which takes a second each
PACKED = (b"PAR1", b"\x1f\x8b", b"\x28\xb5\x2f\xfd")
ORDER = dict(zip(oracle.COLUMNS, ["A1", "U", "n", "p", 2, 10.5, 21, "card", "success", "2025-03-01"], strict=True))


def mutated(data: bytes, others: list[bytes], chance: random.Random) -> bytes:
    """Change a file in one to eight places: bytes, tokens, lines and pieces of other files."""
    for _ in range(chance.randint(1, 8)):
        at, end = sorted(chance.randrange(len(data) + 1) for _ in range(2))
        end = min(end, at + chance.choice([1, 4, 64, 512]))
        other = chance.choice(others)
        start = chance.randrange(len(other) + 1)
        piece = chance.choice(
            [
                b"",
                chance.randbytes(chance.randint(1, 4)),
                chance.choice(TOKENS),
                data[at:end] * 2,
                other[start : start + 200],
            ]
        )
        data = data[:at] + piece + (data[end:] if chance.random() < 0.6 else data[at:])
    return data[:MOST_BYTES]


def one(folder: Path, data: bytes, chance: random.Random) -> str:
    """Run the stages on a file twice, with other partitions, blocks and workers; return what came of it."""
    (folder / "x").write_bytes(data)
    dialect = {
        "delimiter": chance.choice([",", ",", ",", ",", ";", "\t", "|"]),
        "quoting": chance.choice(["rfc4180", "rfc4180", "none", "backslash"]),
    }
    encoding = chance.choice(["", "", "", "", "cp1252", "utf-16", "shift_jis"])
    results = []
    try:
        for where in ("one", "two"):
            options = {
                "partitions": chance.randint(1, 7),
                "encoding": encoding,
                "workers": chance.randint(1, 2),
                **dialect,
            }
            block, real = chance.choice([16, 64, 1000, 1 << 22]), chance.random() < REAL
            results.append(inline.run(folder / where, str(folder / "x"), block, real, **options))
    except InputError:
        if results:
            raise  # what can be read once can be read twice
        return "refused"
    assert results[0] == results[1], "the results depend on partitions, blocks or workers"
    opinions_say = " and ".join(opinions.assert_agreed(folder / "one"))
    if not encoding and not data.startswith(PACKED):
        inline.assert_as_expected(results[0], oracle.expect({"x": data}, **dialect))
        return f"as the oracle says; opinions: {opinions_say}"
    return f"the same twice; opinions: {opinions_say}"


def main() -> int:
    """Fuzz until the time is over; print how many files came to what."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path, default=Path("fuzz-failures"))
    options = parser.parse_args()
    logging.getLogger("daskjobs").setLevel(logging.ERROR)  # warnings of rows that look like several
    chance = random.Random(options.seed)
    corpus = [path.read_bytes()[:MOST_BYTES] for path in sorted(CORPUS.iterdir()) if path.suffix != ".yaml"]
    corpus.append(HEADER + b"A1,U,n,p,2,10.50,21.00,card,success,2025-03-01 12:00:00\n" * 3)
    corpus.append(b"".join(json.dumps(ORDER | {"order_id": f"J{n}"}).encode() + b"\n" for n in range(4)))
    pool, counts = list(corpus), Counter[str]()
    end = time.monotonic() + options.minutes * 60
    while time.monotonic() < end:
        old = chance.choice(pool)
        spared = old.find(b"\n") + 1 if chance.random() < 0.9 and not old.startswith(PACKED) else 0
        data = old[:spared] + mutated(old[spared:], corpus, chance)
        with TemporaryDirectory() as name:
            try:
                outcome = one(Path(name), data, chance)
            except Exception:
                outcome = "failed"
                options.keep.mkdir(exist_ok=True)
                (options.keep / f"{options.seed}-{counts.total()}.csv").write_bytes(data)
                traceback.print_exc()
        counts[outcome] += 1
        if outcome == "refused":
            continue  # what is no file of orders leads to more of that
        if len(pool) < MOST_FILES:
            pool.append(data)
        else:
            pool[chance.randrange(len(corpus), len(pool))] = data
    print(f"{options.minutes:g} minutes, seed {options.seed}, {counts.total():,} files")
    for outcome, count in counts.most_common():
        print(f"{count:8,} {outcome}")
    return 1 if counts["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
