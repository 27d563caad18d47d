"""
The elements of DER, one by one; pure, imports nothing from Twisted. (X.690 has them.)

What must hold: whatever the bytes, reading them gives what is there or raises a
L{BadDER}, in time and memory that are linear in their length.
"""

from functools import lru_cache

__all__ = ["BadDER", "Elements", "oid", "only"]

_LONGEST_OID = 128
"""
Bytes of an object identifier. The longest in use hold a UUID, in twenty.
"""


class BadDER(ValueError):
    """
    The bytes are no DER, or not of the expected form.
    """


class Elements:
    """
    A sequence of elements, to be taken one by one.
    """

    __slots__ = ("_at", "_data", "_end")

    def __init__(self, data: bytes, start: int = 0, end: int | None = None) -> None:
        self._data, self._at = data, start
        self._end = len(data) if end is None else end

    @property
    def tag(self) -> int | None:
        """
        The tag of the next element; None after the last.
        """
        return self._data[self._at] if self._at < self._end else None

    def _advance(self) -> tuple[int, int]:
        """
        Go to the next element, which must be there.

        @return: where the content of this one begins and ends.
        """
        data, end = self._data, self._end
        at = self._at + 1
        if data[self._at] & 0x1F == 0x1F:
            # A number of several bytes, which is none that is asked for.
            while at < end and data[at] & 0x80:
                at += 1
            at += 1
        if at >= end:
            raise BadDER("it ends within an element")
        size, at = data[at], at + 1
        if size & 0x80:
            digits = size & 0x7F
            if not 1 <= digits <= 4 or at + digits > end:
                raise BadDER("the length of an element is not encoded as DER requires")
            size, at = int.from_bytes(data[at : at + digits], "big"), at + digits
        if size > end - at:
            raise BadDER("it ends within an element")
        self._at = at + size
        return at, self._at

    def _next(self, tag: int) -> tuple[int, int]:
        if self._at >= self._end or self._data[self._at] != tag:
            found = "nothing" if self.tag is None else f"{self.tag:#04x}"
            raise BadDER(f"expected the tag {tag:#04x}, found {found}")
        return self._advance()

    def take(self, tag: int) -> bytes:
        """
        Take the next element, which must have a tag, and return its content.
        """
        start, end = self._next(tag)
        return self._data[start:end]

    def enter(self, tag: int) -> "Elements":
        """
        Take the next element, which must have a tag, as a sequence of elements.
        """
        return Elements(self._data, *self._next(tag))

    def skip(self) -> tuple[bytes, bytes]:
        """
        Take the next element, whatever its tag: the whole, and its content.
        """
        begin = self._at
        if begin == self._end:
            raise BadDER("an element is missing")
        start, end = self._advance()
        return self._data[begin:end], self._data[start:end]

    def end(self) -> None:
        """
        Check that no element follows.
        """
        if self._at < self._end:
            raise BadDER(f"expected nothing more, found {self.tag:#04x}")


def only(parts: Elements, tag: int) -> Elements:
    """
    Take the only element, which must have a tag, as a sequence of elements.
    """
    inner = parts.enter(tag)
    parts.end()
    return inner


@lru_cache(256)
def oid(content: bytes) -> str:
    """
    Write an object identifier as numbers with dots.
    """
    if not content or len(content) > _LONGEST_OID or content[-1] & 0x80:
        raise BadDER("an object identifier is broken, or too long")
    arcs, arc = [], 0
    for byte in content:
        if byte == 0x80 and not arc:
            raise BadDER("an object identifier is not in its shortest form")
        arc = arc << 7 | byte & 0x7F
        if not byte & 0x80:
            arcs.append(arc)
            arc = 0
    # The first two are in one number.
    first = min(arcs[0] // 40, 2)
    return ".".join(map(str, [first, arcs[0] - 40 * first, *arcs[1:]]))
