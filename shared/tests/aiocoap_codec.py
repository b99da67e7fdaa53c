"""aiocoap's codec of whole TCP frames, as a filter: requests on standard input, answers on standard output.

A request is a kind and a length (one and four bytes, big endian) and so many bytes:

    D  a frame; the answer is what it means, or "!" and the error that aiocoap has with it
    E  a meaning; the answer is its frame

An answer is a length (four bytes) and so many bytes. A meaning is text: code, token, payload and then
number=value for each option, all in hexadecimal but the numbers, separated by spaces.
"""

import sys

from aiocoap import Message
from aiocoap.numbers.codes import Code
from aiocoap.numbers.optionnumbers import OptionNumber
from aiocoap.optiontypes import OpaqueOption
from aiocoap.transports.tcp import _decode_message, _extract_message_size, _serialize


def meaning(frame):
    if sum(_extract_message_size(frame)) != len(frame):
        return "!length"
    try:
        message = _decode_message(frame)
    except Exception as error:
        return "!" + type(error).__name__
    options = [f" {int(o.number)}={o.encode().hex()}" for o in message.opt.option_list()]
    head = f"{int(message.code)} {message.token.hex()}- {message.payload.hex()}-"
    return head + "".join(options)


def frame(text):
    code, token, payload, *options = text.split(" ")
    message = Message(code=Code(int(code)), _token=bytes.fromhex(token[:-1]))
    message.payload = bytes.fromhex(payload[:-1])
    for option in options:
        number, value = option.split("=")
        message.opt.add_option(OpaqueOption(OptionNumber(int(number)), bytes.fromhex(value)))
    return _serialize(message)


def main():
    requests, answers = sys.stdin.buffer, sys.stdout.buffer
    while head := requests.read(5):
        body = requests.read(int.from_bytes(head[1:], "big"))
        answer = meaning(body).encode() if head[:1] == b"D" else frame(body.decode())
        answers.write(len(answer).to_bytes(4, "big") + answer)


main()
