"""Records of moves, where a call fails."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from netdevns.recovery import store


def test_record_is_kept_as_far_as_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """P7: an undo that has no descriptor left says what it could not restore; it does not end in another error."""

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
