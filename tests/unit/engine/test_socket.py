"""nd_sock_open in the caller's namespace, without privilege; integration tests enter others."""

import errno
import fcntl
import os
import signal
import socket
import struct

import pytest

from netdevns.engine import EngineError, Socket
from tests.support import require

SOL_NETLINK = 270
NETLINK_CAP_ACK, NETLINK_EXT_ACK, NETLINK_GET_STRICT_CHK = 10, 11, 12


@pytest.fixture
def own():
    """A socket of the engine in this namespace."""
    try:
        made = Socket()
    except EngineError as e:
        require("netns", f"no NETLINK_ROUTE socket here: {e}")
    yield made
    made.close()


@pytest.fixture
def python_socket(own):
    """The same socket as a Python socket."""
    with socket.socket(fileno=os.dup(own.fd)) as same:
        yield same


def open_descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


def test_portid_is_the_kernels_choice(own, python_socket):
    """The portid is read back: only a process's first socket gets its pid."""
    with Socket() as second:
        ours, theirs = (getattr(each, "raw", each).portid for each in (own, second))
        assert ours == python_socket.getsockname()[0] != 0
        assert theirs != ours


@pytest.mark.parametrize(
    "option",
    [
        pytest.param(NETLINK_CAP_ACK, id="cap-ack"),
        pytest.param(NETLINK_EXT_ACK, id="ext-ack"),
        pytest.param(NETLINK_GET_STRICT_CHK, id="strict-chk"),
    ],
)
def test_options_are_on(python_socket, option):
    """Short acks, extack texts, and dumps that honour their filter."""
    assert python_socket.getsockopt(SOL_NETLINK, option) == 1


def test_time_out_is_10_seconds(python_socket):
    """SO_RCVTIMEO is set, so that an exchange times out."""
    assert struct.unpack("@ll", python_socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, 16)) == (10, 0)


def test_descriptor_is_closed_on_exec(own):
    """Programs that the caller starts do not inherit it."""
    assert fcntl.fcntl(own.fd, fcntl.F_GETFD) & fcntl.FD_CLOEXEC


def test_close_twice(own):
    """A second close does not close another descriptor."""
    before = open_descriptors()
    own.close()
    own.close()
    assert own.fd == -1
    assert len(before - open_descriptors()) <= 1


def test_context_manager_closes():
    """A socket is closed at the end of its block."""
    before = open_descriptors()
    try:
        with Socket() as s:
            assert s.fd >= 0
    except EngineError as e:
        require("netns", f"no NETLINK_ROUTE socket here: {e}")
    assert open_descriptors() <= before


def test_files_are_read(tmp_path):
    """Each file's text, cut to 63 bytes; a negative errno for one that cannot be read."""
    short, long, none = tmp_path / "short", tmp_path / "long", tmp_path / "none"
    short.write_text("0\n")
    long.write_text("x" * 100)
    with Socket(-1, dict.fromkeys(map(str, (short, long, none, tmp_path)))) as s:
        assert s.files == {
            str(short): "0\n",
            str(long): "x" * 63,
            str(none): -errno.ENOENT,
            str(tmp_path): -errno.EISDIR,
        }


def test_files_are_written(tmp_path):
    """A file with a text is written, in order with those that are read; a negative errno if that fails."""
    file, none = tmp_path / "file", tmp_path / "none" / "file"
    file.write_text("0")
    with Socket(-1, {str(file): "1", str(none): "1", str(tmp_path): "1"}) as s:
        assert s.files == {str(file): "1", str(none): -errno.ENOENT, str(tmp_path): -errno.EISDIR}
    assert file.read_text() == "1"


def test_file_that_is_not_a_namespace():
    """If setns refuses, there is an error, nothing stays open, and the signal mask is restored."""
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    with open("/dev/null", "rb") as null:
        before = open_descriptors()
        with pytest.raises(EngineError) as caught:
            Socket(null.fileno())
    assert (caught.value.errno, caught.value.step) == (errno.EINVAL, "open")
    assert caught.value.extack == "setns into the namespace was refused"
    assert open_descriptors() <= before
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == mask


def test_closed_descriptor():
    """A closed descriptor is EBADF."""
    with pytest.raises(EngineError) as caught:
        Socket(1 << 20)
    assert caught.value.errno == errno.EBADF
