"""Faults that the local Hub commits on request."""

import re
import threading
from dataclasses import dataclass
from typing import Literal

FaultKind = Literal["cut_upload", "no_answer", "truncate", "reset", "corrupt"] | int


@dataclass
class Fault:
    """A fault that strikes the next `times` requests whose "METHOD /path" matches; `times` counts down.

    - `"cut_upload"`: half of the request's body is read, then the connection is reset; nothing is stored
    - `"no_answer"`: the request is carried out, then the connection is reset before the answer
    - `"truncate"`: half of the file is sent under its full Content-Length, then the connection is closed in order
    - `"reset"`: the same, but the connection is reset
    - `"corrupt"`: the file is sent with one bit flipped in its middle
    - a status, such as 503: the request is refused with it
    """

    kind: FaultKind
    pattern: str
    times: int = 1

    def strikes(self, method: str, path: str) -> bool:
        methods = {"cut_upload": ("POST", "PUT"), "truncate": ("GET",), "reset": ("GET",), "corrupt": ("GET",)}
        if self.times < 1 or method not in methods.get(str(self.kind), (method,)):
            return False
        return re.search(self.pattern, f"{method} {path}") is not None


class Faults:
    """The faults still to come, oldest first."""

    def __init__(self) -> None:
        self.planned: list[Fault] = []
        self.lock = threading.Lock()

    def add(self, fault: Fault) -> Fault:
        self.planned.append(fault)
        return fault

    def take(self, method: str, path: str) -> FaultKind | None:
        """Return what is to happen to this request, and count it."""
        with self.lock:
            for fault in self.planned:
                if fault.strikes(method, path):
                    fault.times -= 1
                    return fault.kind
        return None


def corrupted(content: bytes) -> bytes:
    """Flip one bit in the middle."""
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
