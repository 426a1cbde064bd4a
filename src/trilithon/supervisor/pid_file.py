"""The file that holds the supervisor's process id, locked for as long as that process lives."""

import contextlib
import errno
import fcntl
import os
import re
import stat

from trilithon.foundation.errors import ConfigError

_CONTENT = re.compile(rb"\s*[0-9]{0,10}\s*")
_MODE = 0o644


class PidFile:
    """One process's claim to a PID file. One thread uses it.

    The claim is a POSIX record lock: it ends with the process, however that ends, is not inherited by workers and
    cannot be mistaken for that of another program which got the same process id. Wherever the path leads to a file
    whose lock is held, a living server owns it; any other is stale. The file appears with its content in one step.
    """

    def __init__(self, path: str) -> None:
        # The working directory may be another one at the end.
        self.path = os.path.abspath(path)
        self._fd = -1

    def write(self) -> None:
        """Make the file, in the place of one that a dead server left; raises ConfigError, naming a living one's id."""
        fresh = self._draft()
        try:
            while not self._place(fresh):
                pass
        except OSError as error:
            self._discard(fresh)
            raise self._unwritable(error) from None
        except BaseException:
            self._discard(fresh)
            raise
        self._hold(fresh)

    def take_over(self) -> None:
        """Make the file ours although its owner lives: the one that this process replaces, or was replaced by.

        Raises ConfigError when it cannot be written.
        """
        fresh = self._draft()
        try:
            os.rename(self._draft_path(), self.path)
        except OSError as error:
            self._discard(fresh)
            raise self._unwritable(error) from None
        self._hold(fresh)

    def remove(self) -> None:
        """Remove the file if it is still ours; idempotent, and a file that cannot be removed is left."""
        if self._fd < 0:
            return
        with contextlib.suppress(OSError):
            if self.is_ours():
                os.unlink(self.path)
        os.close(self._fd)
        self._fd = -1

    def close_in_child(self) -> None:
        """Let go of the file in a process that was forked off: its lock is to end with its owner."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def is_ours(self) -> bool:
        """Tell whether the path leads to the file that this process made."""
        try:
            return self._fd >= 0 and os.path.samestat(os.lstat(self.path), os.fstat(self._fd))
        except FileNotFoundError:
            return False

    def _place(self, fresh: int) -> bool:
        """Put the draft in its place; False when what was there changed meanwhile, so that it has to be tried again."""
        try:
            os.link(self._draft_path(), self.path)
        except FileExistsError:
            return self._replace()
        os.unlink(self._draft_path())
        return True

    def _replace(self) -> bool:
        """Put the draft in the place of a stale file; raises ConfigError where it is not stale or no PID file."""
        try:
            old = os.open(self.path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        except FileNotFoundError:
            return False
        except OSError as error:
            if error.errno not in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
                raise
            raise ConfigError("pid_file", self.path, "is there and no file; choose another path") from None
        try:
            if not stat.S_ISREG(os.fstat(old).st_mode):
                raise ConfigError("pid_file", self.path, "is there and no file; choose another path")
            content = os.read(old, 64)
            if not _CONTENT.fullmatch(content):
                raise ConfigError("pid_file", self.path, "is a file that holds no process id; choose another path")
            try:
                fcntl.lockf(old, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except (BlockingIOError, PermissionError):
                pid = content.decode().strip() or "that is just starting"
                remedy = f"the server with process id {pid} runs already; stop it first, or choose another path"
                raise ConfigError("pid_file", self.path, remedy) from None
            # Who holds the lock of the file at the path may replace it; another start may have been faster.
            if not os.path.samestat(os.lstat(self.path), os.fstat(old)):
                return False
            os.rename(self._draft_path(), self.path)
        except FileNotFoundError:
            return False
        finally:
            os.close(old)
        return True

    def _draft(self) -> int:
        """Return the descriptor of a complete file beside the path, locked; raises ConfigError."""
        path = self._draft_path()
        fd = -1
        try:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, _MODE)
            os.fchmod(fd, _MODE)  # whatever the mask: the id is for everybody to read
            fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.write(fd, f"{os.getpid()}\n".encode())
            os.fsync(fd)
        except OSError as error:
            if fd >= 0:
                self._discard(fd)
            raise self._unwritable(error) from None
        return fd

    def _draft_path(self) -> str:
        return f"{self.path}.{os.getpid()}"

    def _hold(self, fresh: int) -> None:
        """Keep the new file's lock, and let go of the one before."""
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = fresh

    def _discard(self, fresh: int) -> None:
        with contextlib.suppress(OSError):
            os.unlink(self._draft_path())
        os.close(fresh)

    def _unwritable(self, error: OSError) -> ConfigError:
        reason = error.strerror or str(error)
        return ConfigError("pid_file", self.path, f"cannot be written: {reason}; choose a directory that can be")
