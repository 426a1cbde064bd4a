"""The Huffman code of HPACK and QPACK strings (RFC 7541 5.2, RFC 9204 4.1.2), both ways, in linear time."""

from trilithon.wire.hpack_tables import CODE_LENGTHS, EOS

# An entry of the decoding machine: the symbol in the low eight bits, whether there is one, and where to go next.
EMITS = 256
STATE_SHIFT = 9
# States are numbered times sixteen, so that a state plus a nibble is the place of the entry. The first eight are
# those that only ones lead to: what a string may end in (RFC 7541 5.2: padding is the beginning of EOS, under 8 bits).
PADDED = 7 << 4
BROKEN = EOS << 4


def assign_codes() -> list[int]:
    """Return the code of each octet and of EOS, worked out from the lengths (the code is canonical)."""
    codes = [0] * len(CODE_LENGTHS)
    code = length = 0
    for size, symbol in sorted((size, symbol) for symbol, size in enumerate(CODE_LENGTHS)):
        code <<= size - length
        codes[symbol] = code
        code += 1
        length = size
    return codes


def grow_tree(codes: list[int]) -> list[list[int]]:
    """Return the inner nodes of the code's tree: each the two nodes below, a leaf as -1 minus its symbol."""
    nodes: list[list[int]] = [[0, 0] for _ in range(EOS)]
    # Nodes 0 to 7 are the way of ones from the root. No code of ones alone is shorter than that of EOS.
    for depth in range(7):
        nodes[depth][1] = depth + 1
    grown = 8
    for symbol, code in enumerate(codes):
        node = nodes[0]
        for bit in range(CODE_LENGTHS[symbol] - 1, 0, -1):
            branch = code >> bit & 1
            if not node[branch]:
                node[branch] = grown
                grown += 1
            node = nodes[node[branch]]
        node[code & 1] = -1 - symbol
    return nodes


def build_machine(nodes: list[list[int]]) -> list[int]:
    """Return the decoding machine: for each node and each nibble, the symbol completed on the way and the next node.

    No code is shorter than five bits, so a nibble completes one symbol at most. Completing EOS leads to the state
    `BROKEN`, which nothing leads out of.
    """
    machine = []
    for start in nodes:
        for nibble in range(16):
            node, emitted = start, 0
            place = 0
            for bit in (3, 2, 1, 0):
                place = node[nibble >> bit & 1]
                if place < 0:
                    symbol = -1 - place
                    if symbol == EOS:
                        place = EOS
                        break
                    emitted = EMITS | symbol
                    place = 0
                node = nodes[place]
            machine.append((place << 4 << STATE_SHIFT) | (0 if place == EOS else emitted))
    return machine + [BROKEN << STATE_SHIFT] * 16


CODES = assign_codes()
LENGTHS = list(CODE_LENGTHS)
MACHINE = build_machine(grow_tree(CODES))


def decode_huffman(data: bytes, start: int, end: int) -> bytes | None:
    """Return the string coded in `data[start:end]`, None when it is no string of this code.

    That is: EOS in it, or an end that is not the beginning of EOS, shorter than a byte (RFC 7541 5.2). The caller
    owes 0 <= start <= end <= len(data). Linear; the result is at most 8/5 as long as the code.
    """
    if start < 0 or end > len(data) or start > end:
        raise IndexError("no such part of the data")
    room = bytearray((end - start) * 8 // 5 + 1)
    symbols = room
    octets = data
    size = 0
    state = 0
    for octet in octets[start:end]:
        entry = MACHINE[state + (octet >> 4)]
        if entry & EMITS:
            symbols[size] = entry & 255
            size += 1
        entry = MACHINE[(entry >> STATE_SHIFT) + (octet & 15)]
        if entry & EMITS:
            symbols[size] = entry & 255
            size += 1
        state = entry >> STATE_SHIFT
    if state > PADDED:
        return None
    return bytes(symbols[:size])


def measure_huffman(data: bytes) -> int:
    """Return how many bytes the code of `data` takes."""
    bits = 0
    for octet in data:
        bits += LENGTHS[octet]
    return (bits + 7) >> 3


def encode_huffman(data: bytes) -> bytes:
    """Return the code of `data`, padded with ones to a whole byte (RFC 7541 5.2). Linear."""
    room = bytearray(measure_huffman(data))
    coded = room
    size = 0
    pending = 0
    bits = 0
    for octet in data:
        length = LENGTHS[octet]
        pending = pending << length | CODES[octet]
        bits += length
        while bits >= 8:
            bits -= 8
            coded[size] = pending >> bits & 255
            size += 1
        pending &= 255
    if bits:
        coded[size] = (pending << (8 - bits) | (255 >> bits)) & 255
    return bytes(room)
