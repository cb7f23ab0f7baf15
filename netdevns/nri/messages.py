"""The messages of NRI that the plugin reads and writes.

Source: containerd/nri, pkg/api/api.proto; containerd/ttrpc, request.proto.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from .protobuf import Message, encoded

PLUGIN_SERVICE = "nri.pkg.api.v1alpha1.Plugin"
RUNTIME_SERVICE = "nri.pkg.api.v1alpha1.Runtime"
RUN, STOP, REMOVE, CREATE = "RunPodSandbox", "StopPodSandbox", "RemovePodSandbox", "CreateContainer"
# NRI 0.8 and older call StateChange with such a number, except for CREATE.
EVENTS = {1: RUN, 2: STOP, 3: REMOVE, 4: CREATE}
EVENT_MASK = sum(1 << (number - 1) for number in EVENTS)
OK, UNKNOWN, INVALID, DEADLINE, UNIMPLEMENTED, INTERNAL = 0, 2, 3, 4, 12, 13  # google.rpc.Code
REQUEST_TIMEOUT_MAX_S = 3600.0


@dataclass(frozen=True)
class Pod:
    """A pod's sandbox, as far as its runtime says.

    Attributes:
        id: The sandbox's; a pod that is started again gets another one.
        name, namespace: Of the pod, in Kubernetes.
        annotations: Of the pod and of its sandbox; strings, if they come from NRI.
        netns: The path of its network namespace; empty: it has none of its own, or has ended.
        pid: The sandbox's process; 0: there is none.
    """

    id: str
    name: str = ""
    namespace: str = ""
    annotations: Mapping[str, object] = field(default_factory=dict)
    netns: str = ""
    pid: int = 0

    @classmethod
    def decode(cls, message: Message) -> Pod:
        """A PodSandbox. Raises Malformed."""
        namespaces = [(each.text(1), each.text(2)) for each in message.message(8).messages(5)]
        netns = next((path for kind, path in namespaces if kind == "network"), "")
        return cls(message.text(1), message.text(2), message.text(4), message.texts(6), netns, message.number(9))

    @property
    def label(self) -> str:
        """For messages: NAMESPACE/NAME."""
        return f"{self.namespace}/{self.name}" if self.namespace else self.name or self.id


@dataclass(frozen=True)
class Request:
    """A call: `timeout_s` is what its client waits; 0: it does not say."""

    service: str
    method: str
    payload: bytes
    timeout_s: float = 0

    @classmethod
    def decode(cls, data: bytes) -> Request:
        """A ttrpc request. Raises Malformed."""
        message = Message(data)
        return cls(message.text(1), message.text(2), message.data(3), message.number(4) / 1e9)

    def encode(self) -> bytes:
        return encoded({1: self.service, 2: self.method, 3: self.payload})


@dataclass(frozen=True)
class Response:
    """An answer: `code` is OK or a google.rpc.Code, with `text`."""

    payload: bytes = b""
    code: int = OK
    text: str = ""

    @classmethod
    def decode(cls, data: bytes) -> Response:
        """A ttrpc response. Raises Malformed."""
        message = Message(data)
        status = message.message(1)
        return cls(message.data(2), status.number(1), status.text(2))

    def encode(self) -> bytes:
        return encoded({1: encoded({1: self.code, 2: self.text}), 2: self.payload})


@dataclass(frozen=True)
class Configuration:
    """What the runtime says of itself: `request_timeout_s` is the time for an answer; 0: it does not say."""

    runtime: str
    version: str
    request_timeout_s: float

    @classmethod
    def decode(cls, payload: bytes) -> Configuration:
        """A ConfigureRequest. Raises Malformed."""
        message = Message(payload)
        return cls(message.text(2), message.text(3), min(message.number(5) / 1000, REQUEST_TIMEOUT_MAX_S))


def registration(name: str, index: str) -> bytes:
    """The call by which a plugin registers; `index`: two digits, the order of plugins."""
    return Request(RUNTIME_SERVICE, "RegisterPlugin", encoded({1: name, 2: index})).encode()


def subscription() -> bytes:
    """A ConfigureResponse: the events that the plugin wants."""
    return encoded({2: EVENT_MASK})


def event(request: Request) -> tuple[str, Pod]:
    """The event of a pod, in either dialect; "": another one. Raises Malformed."""
    message = Message(request.payload)
    if request.method == "StateChange":
        return EVENTS.get(message.number(1), ""), Pod.decode(message.message(2))
    return request.method, Pod.decode(message.message(1))


def synchronized(payload: bytes) -> tuple[list[Pod], bool, bytes]:
    """The pods of a SynchronizeRequest, whether more follow, and the answer to it. Raises Malformed."""
    message = Message(payload)
    has_more = bool(message.number(3))
    return [Pod.decode(each) for each in message.messages(1)], has_more, encoded({2: int(has_more)})
