"""Locks of what two processes must not write at once: the map of a scene, the folder of a run in training."""

import contextlib
import errno
import os

from script import UserError

try:
    import fcntl
except ImportError:  # Windows
    import msvcrt

    fcntl = None

BUSY = (errno.EAGAIN, errno.EACCES, errno.EDEADLK)  # another process holds the lock


@contextlib.contextmanager
def held(path, busy):
    """Hold a lock within the block; yield whether it is held. The system releases it when the process dies.

    Where the folder cannot be written to, or lies on a drive that knows no locks, the block runs without.

    Args:
        path: of the file that is locked. It is made, with its folder, and removed at the end, with folders that are
            empty then and were made for it.
        busy: text of the error if another process holds the lock.

    Raises:
        UserError: another process holds the lock.
    """
    new_folders = [folder for folder in path.parents if not folder.exists()]
    file = _locked(path, busy)
    try:
        yield file is not None
    finally:
        if file:
            _remove(path, file)
        for folder in new_folders:
            with contextlib.suppress(OSError):  # it is not empty
                folder.rmdir()


def _locked(path, busy):
    """Return the open file, locked; None if that is not possible. Raise UserError if another process has locked it."""
    while True:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = open(path, "ab")  # noqa: SIM115 - open as long as the lock is held
        except OSError:
            return None
        try:
            _lock(file)
            if os.path.samestat(os.fstat(file.fileno()), os.stat(path)):
                return file
        except FileNotFoundError:
            pass  # another process removed it as it released it, after it was opened above
        except OSError as error:
            file.close()
            if error.errno in BUSY:
                raise UserError(busy) from None
            return None
        file.close()


def _lock(file):
    """Lock an open file, or raise OSError."""
    if fcntl:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    else:
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)


def _remove(path, file):
    """Remove a locked file and release it. Windows removes no open file."""
    if fcntl is None:
        file.close()
    with contextlib.suppress(OSError):
        path.unlink()
    file.close()
