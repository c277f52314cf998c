"""Ways to spoil a DICOM file, from a flipped bit to a sequence nested a thousand deep.

Every mutation takes bytes and a random generator and gives bytes; the same generator gives the
same file. Elements are found by walking explicit little-endian headers; in other files only the
blind mutations bite.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

START = 132
"""Behind the preamble and the mark DICM."""

LONG_VRS = tuple(b"OB OW OF OD OL OV SQ UN UT UC UR SV UV".split())
VRS = (*b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split(), *LONG_VRS)
LENGTHS = (0, 1, 2, 7, 0xFFFE, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)
NONSENSE = (
    b"", b"\\", b"\\\\\\\\", b"nan", b"-inf", b"1e400", b"-1", b"0", b"99999999999999999999",
    b"1\\2", b"1\\2\\3\\4\\5\\6", b"\0" * 8, b"\xff\xfe\xfd\xfc", b"\x1b$B\x1b(J", b"A" * 70,
    b"../../../etc/passwd", b"1.2.3.", b"20261399", b"\xff\xff", b"\xff\xff\xff\x7f",
)  # fmt: skip
TAGS = (0x00280010, 0x00280011, 0x00280008, 0x00280002, 0x00280100, 0x00280101, 0x00280103,
        0x00200032, 0x00200037, 0x00280030, 0x00080005, 0x00080008, 0x52009230, 0x52009229,
        0x7FE00010, 0x00020010, 0x00080018, 0x0043102F, 0xFFFEE000, 0xFFFEE00D)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Element:
    """Where an element of an explicit little-endian file lies: [start, value) head, then value."""

    start: int
    value: int
    end: int
    vr: bytes


def elements(content: bytes) -> list[Element]:
    """The top-level elements, as far as they can be walked."""
    found: list[Element] = []
    place = START
    while place + 8 <= len(content):
        vr = content[place + 4 : place + 6]
        if vr not in VRS:
            break
        long = vr in LONG_VRS
        value = place + (12 if long else 8)
        length = int.from_bytes(content[value - (4 if long else 2) : value], "little")
        end = len(content) if length == 0xFFFFFFFF else value + length
        found.append(Element(place, value, min(end, len(content)), vr))
        if end >= len(content):
            break
        place = end
    return found


def flip_bytes(content: bytes, random: Random) -> bytes:
    """Change some bytes, most of them in the header."""
    spoilt = bytearray(content)
    header = min(len(content), 4000)
    for _ in range(random.randint(1, 16)):
        end = header if random.random() < 0.7 else len(spoilt)
        if end > START:
            spoilt[random.randrange(START, end)] = random.randrange(256)
    return bytes(spoilt)


def truncate(content: bytes, random: Random) -> bytes:
    """Cut the end off, anywhere."""
    end = len(content) if random.random() < 0.5 else min(len(content), 4000)
    return content[: random.randrange(end + 1)]


def claim_length(content: bytes, random: Random) -> bytes:
    """Let an element claim a length that it has not."""
    found = elements(content)
    if not found:
        return flip_bytes(content, random)
    one = random.choice(found)
    width = 4 if one.vr in LONG_VRS else 2
    length = random.choice(LENGTHS) % (1 << 8 * width)
    return content[: one.value - width] + length.to_bytes(width, "little") + content[one.value :]


def overwrite_word(content: bytes, random: Random) -> bytes:
    """Write an extreme number over four bytes anywhere."""
    if len(content) < START + 8:
        return content
    place = random.randrange(START, min(len(content), 6000) - 4)
    return content[:place] + random.choice(LENGTHS).to_bytes(4, "little") + content[place + 4 :]


def wrong_vr(content: bytes, random: Random) -> bytes:
    """State another type for a value."""
    found = elements(content)
    if not found:
        return flip_bytes(content, random)
    one = random.choice(found)
    return content[: one.start + 4] + random.choice(VRS) + content[one.start + 6 :]


def wrong_tag(content: bytes, random: Random) -> bytes:
    """Give an element another name, often one that matters."""
    found = elements(content)
    if not found:
        return flip_bytes(content, random)
    one = random.choice(found)
    tag = random.choice(TAGS) if random.random() < 0.7 else random.getrandbits(32)
    return content[: one.start] + _head(tag) + content[one.start + 4 :]


def drop_double_or_move(content: bytes, random: Random) -> bytes:
    """Remove an element, or repeat it somewhere else."""
    found = elements(content)
    if not found:
        return flip_bytes(content, random)
    one, where = random.choice(found), random.choice(found).start
    piece = content[one.start : one.end]
    if random.random() < 0.5:
        return content[: one.start] + content[one.end :]
    return content[:where] + piece[:100_000] + content[where:]


def nonsense_value(content: bytes, random: Random) -> bytes:
    """Replace a value, with the right length."""
    found = [one for one in elements(content) if one.vr not in LONG_VRS]
    if not found:
        return flip_bytes(content, random)
    one = random.choice(found)
    value = random.choice(NONSENSE)
    value += b" " * (len(value) % 2)
    length = len(value).to_bytes(2, "little")
    return content[: one.value - 2] + length + value + content[one.end :]


def nest(content: bytes, random: Random) -> bytes:
    """Insert sequences in sequences, closed or not, of stated or undefined length."""
    found = elements(content)
    place = random.choice(found).start if found else START
    depth = random.choice((1, 3, 30, 300, 1500))
    tag = _head(random.choice((0x00081140, 0x52009229, 0x52009230, 0x00091001)))
    opening = (tag + b"SQ\0\0" + b"\xff" * 4 + _head(0xFFFEE000) + b"\xff" * 4) * depth
    closing = (_head(0xFFFEE00D) + bytes(4) + _head(0xFFFEE0DD) + bytes(4)) * depth
    return content[:place] + opening + (closing if random.random() < 0.6 else b"") + content[place:]


def spoil_pixels(content: bytes, random: Random) -> bytes:
    """Change bytes behind the header: fragments, their lengths, code streams."""
    spoilt = bytearray(content)
    start = max(START, content.find(b"\xe0\x7f\x10\x00"))
    for _ in range(random.randint(1, 24)):
        end = min(len(spoilt), start + (200 if random.random() < 0.6 else len(spoilt)))
        if end > start:
            spoilt[random.randrange(start, end)] = random.randrange(256)
    return bytes(spoilt)


def noise_block(content: bytes, random: Random) -> bytes:
    """Insert noise, or overwrite a stretch with zeros."""
    place = random.randrange(min(len(content), START), len(content) + 1)
    length = random.choice((1, 2, 13, 64, 4096))
    if random.random() < 0.5:
        return content[:place] + random.randbytes(length) + content[place:]
    return content[:place] + bytes(length) + content[place + length :]


MUTATIONS: tuple[Callable[[bytes, Random], bytes], ...] = (
    flip_bytes, truncate, claim_length, overwrite_word, wrong_vr, wrong_tag, drop_double_or_move,
    nonsense_value, nonsense_value, nest, spoil_pixels, noise_block,
)  # fmt: skip


def mutate(content: bytes, random: Random) -> bytes:
    """One to four mutations, one after the other."""
    for _ in range(random.choice((1, 1, 1, 2, 2, 4))):
        content = random.choice(MUTATIONS)(content, random)
    return content


def _head(tag: int) -> bytes:
    return (tag >> 16).to_bytes(2, "little") + (tag & 0xFFFF).to_bytes(2, "little")
