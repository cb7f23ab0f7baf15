"""Records of moves when a system call fails."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from netdevns.recovery import layout, store


def test_record_counts_as_kept_after_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """P7: an undo without free descriptors reports what it could not restore, and raises no other error."""

    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    with store.Journal(str(tmp_path / "records"), create=True) as journal:
        record = journal.write([])
        with monkeypatch.context() as patch:
            for call in ("stat", "listdir", "open"):
                patch.setattr(store.os, call, fail)
            assert record.keep()
        assert journal.names() == [record.name]
        assert store.UNDO in record.name
        os.unlink(record.name, dir_fd=journal.fd)
        with pytest.warns(RuntimeWarning, match="cannot rename it"):
            assert not record.keep()
        record.close()


def test_record_that_cannot_be_shortened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """P7: a warning names the file, and says that restored devices are restored again."""

    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with store.Journal(str(tmp_path / "records"), create=True) as journal:
        record = journal.write([])
        monkeypatch.setattr(store.os, "open", fail)
        monkeypatch.setattr(store.os, "pwrite", fail)
        with pytest.warns(RuntimeWarning, match="Input/output error; the next call restores all its devices again"):
            record.shorten([], [layout.Section(layout.DEVICE, {})])
        assert (journal.names(), record.fd) == ([record.name], -1)
