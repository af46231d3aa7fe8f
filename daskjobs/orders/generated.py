"""Synthetic orders with known anomalies: the same bytes for the same seed and rows, on any machine."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv

from daskjobs.cores import cores
from daskjobs.orders.money import decimals_of

NEGATIVE_PRICE = WRONG_TOTAL = 20  # rows in a thousand
FAILED = 50

BLOCK_ROWS = 100_000  # can't be changed without changing the data: each block has a random stream of its own
YEAR_START, YEAR_SECONDS = 1_735_689_600, 365 * 86_400  # 2025, in which the orders are spread evenly
FIRST_ORDER, USERS = 100_000_001, 100_000
REGIONS = ("north", "south", "east", "west", "central")
PAYMENT_MODES = ("card", "paypal", "transfer", "cash")
LIST_PRICES = {
    "keyboard": 4990,
    "mouse": 2490,
    "monitor": 18900,
    "laptop": 89900,
    "headset": 7990,
    "webcam": 5490,
    "desk": 24900,
    "chair": 15900,
    "lamp": 3990,
    "cable": 890,
    "charger": 1990,
    "backpack": 6490,
}

KNOWN = ("negative_price", "wrong_total", "failed_transaction")
TRUTH_SCHEMA = pa.schema([("row", pa.int64()), *((anomaly, pa.bool_()) for anomaly in KNOWN)])


def blocks(seed: int, rows: int) -> Iterator[tuple[pa.Buffer, pa.Table]]:
    """Yield all blocks in order, each as `make_block` makes it, on all cores, with only a few in memory at a time."""
    most = cores()
    made: deque[Future[tuple[pa.Buffer, pa.Table]]] = deque()
    with ThreadPoolExecutor(most) as pool:
        for start in range(0, rows, BLOCK_ROWS):
            made.append(pool.submit(make_block, seed, start, rows))
            if len(made) > most:
                yield made.popleft().result()
        while made:
            yield made.popleft().result()


def make_block(seed: int, start: int, rows: int) -> tuple[pa.Buffer, pa.Table]:
    """Make the block of orders from 0-based row ``start``: its CSV text, and its rows of the truth."""
    size = min(BLOCK_ROWS, rows - start)
    # numpy guarantees that a bit generator's raw stream never changes, but not its distributions.
    raw = np.random.PCG64([seed, start // BLOCK_ROWS]).random_raw(size * 8).reshape(size, 8).T

    def draw(index: int, below: int) -> npt.NDArray[np.int64]:
        drawn: npt.NDArray[np.int64] = np.mod(raw[index], np.uint64(below)).astype(np.int64)
        return drawn

    row = np.arange(start, start + size)
    product = draw(0, len(LIST_PRICES))
    negative, wrong, failed = (
        draw(index, 1000) < share for index, share in ((1, NEGATIVE_PRICE), (2, WRONG_TOTAL), (3, FAILED))
    )
    quantity = 1 + draw(4, 5)
    price = np.array(list(LIST_PRICES.values()))[product] * (80 + draw(5, 41)) // 100 * np.where(negative, -1, 1)
    total = quantity * price + np.where(wrong, 1 + (raw[2] >> np.uint64(32)).astype(np.int64) % 10_000, 0)
    table = pa.table(
        {
            "order_id": FIRST_ORDER + row,
            "user_id": 1 + draw(6, USERS),
            "region": pa.array(REGIONS).take(pa.array(draw(7, len(REGIONS)))),
            "product": pa.array(list(LIST_PRICES)).take(pa.array(product)),
            "quantity": quantity,
            "price": decimals_of(price),
            "total_amount": decimals_of(total),
            "payment_mode": pa.array(PAYMENT_MODES).take(
                pa.array((raw[7] >> np.uint64(32)).astype(np.int64) % len(PAYMENT_MODES))
            ),
            "status": pa.array(["success", "failed"]).take(pa.array(failed.astype(np.int64))),
            "timestamp": (YEAR_START + row * YEAR_SECONDS // rows).astype("datetime64[s]"),
        }
    )
    text = pa.BufferOutputStream()
    pa.csv.write_csv(table, text, pa.csv.WriteOptions(include_header=False, quoting_style="none"))
    truth = pa.table([row + 1, negative, wrong, failed], schema=TRUTH_SCHEMA).filter(
        pa.array(negative | wrong | failed)
    )
    return text.getvalue(), truth
