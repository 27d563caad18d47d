"""
C{split}: measure what splitting alone costs, without I/O, beside Twisted's own
receivers.
"""

import argparse
import statistics
import struct
import time
from collections.abc import Callable, Sequence
from functools import partial

from twisted.internet.protocol import Protocol
from twisted.internet.testing import StringTransport
from twisted.protocols.basic import (
    LineOnlyReceiver,
    LineReceiver,
)

from twisted_echo.bench.arguments import number
from twisted_echo.framing.line_receiver import FastLineOnlyReceiver, FastLineReceiver
from twisted_echo.framing.string_receiver import (
    FastInt8StringReceiver,
    FastInt16StringReceiver,
    FastInt32StringReceiver,
    FastIntNStringReceiver,
)

CHUNK = 64 * 1024
MEBIBYTE = 1024 * 1024


class _Silent:
    """
    A receiver that does nothing with a line.
    """

    delimiter = b"\n"
    MAX_LENGTH = 8 * MEBIBYTE

    def lineReceived(self, line: bytes) -> None:
        pass


class StockLines(_Silent, LineReceiver):
    pass


class StockOnlyLines(_Silent, LineOnlyReceiver):
    pass


class FastLines(_Silent, FastLineReceiver):
    pass


class FastOnlyLines(_Silent, FastLineOnlyReceiver):
    pass


class FastBlocks(FastLines):
    def blockReceived(self, block: bytes) -> None:
        pass


class _SilentStrings:
    """
    The same with a string.
    """

    def stringReceived(self, string: bytes) -> None:
        pass


class _SilentBlocks:
    """
    The same with a block.
    """

    def blockReceived(self, block: bytes) -> None:
        pass


def frame_receivers(
    fast: type[FastIntNStringReceiver],
) -> list[tuple[str, type[Protocol]]]:
    """
    Receivers of frames of one kind: Twisted's, and the fast one with two hooks.
    """
    (stock,) = [each for each in fast.__bases__ if each is not FastIntNStringReceiver]
    kinds = (
        (stock.__name__, _SilentStrings, stock),
        (f"{fast.__name__}.stringReceived", _SilentStrings, fast),
        (f"{fast.__name__}.blockReceived", _SilentBlocks, fast),
    )
    return [(name, type(name, (silent, base), {})) for name, silent, base in kinds]


def time_chunks(receiver: type[Protocol], chunks: Sequence[bytes]) -> float:
    """
    Feed the chunks to a new receiver.

    @return: seconds of processor time.
    """
    protocol = receiver()
    protocol.makeConnection(StringTransport())
    began = time.process_time()
    for chunk in chunks:
        protocol.dataReceived(chunk)
    return time.process_time() - began


def chunks_of_lines(size: int) -> list[bytes]:
    """
    Sixteen chunks of 64 KiB, filled with lines of C{size} bytes, delimiter
    included, that run on from chunk to chunk.
    """
    data = (b"x" * (size - 1) + b"\n") * (16 * CHUNK // size + 1)
    return [data[start : start + CHUNK] for start in range(0, 16 * CHUNK, CHUNK)]


def chunks_of_frames(
    fast: type[FastIntNStringReceiver], sizes: Sequence[int]
) -> list[bytes]:
    """
    The same, filled with frames of these sizes, prefixes included, again and again.
    """
    format, prefix = fast.structFormat, fast.prefixLength
    some = b"".join(
        struct.pack(format, size - prefix) + b"x" * (size - prefix) for size in sizes
    )
    data = some * (16 * CHUNK // len(some) + 1)
    return [data[start : start + CHUNK] for start in range(0, 16 * CHUNK, CHUNK)]


def pieces_of_one_line(size: int) -> list[bytes]:
    """
    One line of C{size} bytes in pieces of 512.
    """
    return [b"x" * 512] * (size // 512) + [b"\n"]


def compare(
    cases: Sequence[tuple[str, Callable[[], float]]], rounds: int
) -> dict[str, list[float]]:
    """
    Run every case in turn, C{rounds} times, so that drift hits all alike.
    """
    results: dict[str, list[float]] = {name: [] for name, _ in cases}
    for _ in range(rounds):
        for name, case in cases:
            results[name].append(case())
    return results


def report(results: dict[str, list[float]], unit: float, suffix: str) -> None:
    """
    Print each case's median, and by how much the first one's is longer, round
    by round: the median of the ratios and their spread.
    """
    first = next(iter(results.values()))
    for name, seconds in results.items():
        ratios = sorted(a / b for a, b in zip(first, seconds, strict=True))
        print(
            f"  {name:36s} {statistics.median(seconds) / unit:12.1f} {suffix}"
            f"   {statistics.median(ratios):8.2f} x"
            f"  ({ratios[0]:.2f} to {ratios[-1]:.2f})"
        )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--rounds",
        type=number(int, 1, 1000),
        default=7,
        metavar="N",
        help="how often each case runs (7)",
    )


def measure_lines(rounds: int) -> None:
    """
    Lines in chunks, as a busy connection has them.
    """
    receivers: list[tuple[str, type[Protocol]]] = [
        ("LineReceiver", StockLines),
        ("LineOnlyReceiver", StockOnlyLines),
        ("FastLineReceiver.lineReceived", FastLines),
        ("FastLineOnlyReceiver.lineReceived", FastOnlyLines),
        ("FastLineReceiver.blockReceived", FastBlocks),
    ]
    for size in (16, 64, 512):
        chunks = chunks_of_lines(size)
        print(f"lines of {size} bytes in chunks of 64 KiB")
        results = compare(
            [(name, partial(time_chunks, each, chunks)) for name, each in receivers],
            rounds,
        )
        report(results, len(chunks) * CHUNK / size / 1e9, "ns a line")


def measure_long_line(rounds: int) -> None:
    """
    One line in many pieces: a cost that is not linear would show.
    """
    one, four = pieces_of_one_line(MEBIBYTE), pieces_of_one_line(4 * MEBIBYTE)
    print("a line of 1 MiB in pieces of 512 bytes")
    results = compare(
        [
            ("LineReceiver", partial(time_chunks, StockLines, one)),
            ("FastLineReceiver", partial(time_chunks, FastLines, one)),
            ("FastLineReceiver, 4 MiB", partial(time_chunks, FastLines, four)),
        ],
        rounds,
    )
    report(results, 1e-3, "ms")


def measure_frames(rounds: int) -> None:
    """
    Frames of one length, and of lengths in turn.
    """
    for fast in (
        FastInt8StringReceiver,
        FastInt16StringReceiver,
        FastInt32StringReceiver,
    ):
        for name, sizes in (
            ("16 bytes", [16]),
            # 16 bytes on the average.
            ("5 to 27 bytes", [(7 * each) % 23 + 5 for each in range(23)]),
        ):
            chunks = chunks_of_frames(fast, sizes)
            print(f"frames of {name} in chunks of 64 KiB")
            results = compare(
                [
                    (kind, partial(time_chunks, each, chunks))
                    for kind, each in frame_receivers(fast)
                ],
                rounds,
            )
            report(results, len(chunks) * CHUNK / 16 / 1e9, "ns a frame")


def run(options: argparse.Namespace) -> int:
    print("ratios: the first row's time over this row's, median (least to most)")
    measure_lines(options.rounds)
    measure_long_line(options.rounds)
    measure_frames(options.rounds)
    return 0
