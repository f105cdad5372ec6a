"""Running commands as an ordinary user, so that rootless labs are tested where the tests themselves run as root.

The user has an id that no account has, no group, no capability, a home folder of its own, and the checkout and its Python at the paths
that they really have. Those may lie under a folder that only root may enter (/root/labctl, a Python below /root). Opening that folder
up would change the machine, so instead the commands run in a mount namespace in which each such folder is replaced by an empty one
that holds, at the same paths, nothing but what is needed. One process holds that namespace; when it goes, so does all of it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

ORDINARY_UID = 60917  # above the accounts that adduser makes (1000 to 59999), below systemd's dynamic ones (61184)
READY = "ready"


class OrdinaryUser:
    """Somebody without rights, as whom commands can be run.

    Args:
        home: the user's home folder.
        uid: the user's id, and group id.
        prefix: what a command is run through; empty where we are that user already.
    """

    def __init__(self, home: Path, uid: int, prefix: Sequence[str]) -> None:
        self.home = home
        self.uid = uid
        self._prefix = list(prefix)

    def environment(self, extra: Mapping[str, str] | None = None) -> dict[str, str]:
        """Our environment with the user's home, and without what points into ours."""
        private = ("XDG_", "PIP_", "SUDO_")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(private)}
        return {**kept, "HOME": str(self.home), "USER": "ordinary", "LOGNAME": "ordinary", **(extra or {})}

    def argv(self, argv: Sequence[str]) -> list[str]:
        """The command that runs `argv` as this user; for a Popen of one's own, with `environment()`."""
        return [*self._prefix, *argv]

    def run(
        self, argv: Sequence[str], *, timeout: float = 60.0, check: bool = True, env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end, in the user's home folder.

        Args:
            argv: the command.
            timeout: seconds.
            check: whether a failure is an AssertionError that shows what the command wrote.
            env: variables besides the usual ones.
        """
        done = subprocess.run(
            self.argv(argv),
            cwd=self.home,
            env=self.environment(env),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        if check and done.returncode != 0:
            raise AssertionError(f"{argv} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return done


def closed_ancestor(path: Path) -> Path | None:
    """The topmost folder on the way to `path` that others may not enter."""
    for folder in reversed([path, *path.parents]):
        if folder.is_dir() and not stat.S_IMODE(folder.stat().st_mode) & stat.S_IXOTH:
            return folder
    return None


def needed_paths(checkout: Path) -> list[Path]:
    """What a command of the checkout reads: the checkout, the environment that runs us, and the Python which that was made with.

    Raises:
        AssertionError: one of these is itself closed to others, so that showing it would not help.
    """
    wanted = {checkout.resolve(), Path(sys.prefix).resolve(), Path(sys.base_prefix).resolve()}
    for path in wanted:
        if closed_ancestor(path) == path:
            raise AssertionError(
                f"{path} cannot be entered by others; to test as an ordinary user: chmod -R o+rX {path}"
            )
    return sorted(path for path in wanted if not any(other in path.parents for other in wanted))


_SHOW = """
# $1: an empty folder to keep bind mounts in; then for each closed folder: its path, and the needed paths below it, and a "--"
shelf=$1; shift; n=0
mount --make-rprivate /
mount -t tmpfs -o mode=0755 shelf "$shelf"
while [ $# -gt 0 ]; do
    closed=$1; shift; first=$n
    while [ "$1" != -- ]; do
        mkdir "$shelf/$n"; mount --rbind "$1" "$shelf/$n"; ln -s "$1" "$shelf/path$n"; n=$((n + 1)); shift
    done
    shift
    mount -t tmpfs -o mode=0755 closed "$closed"
    i=$first
    while [ $i -lt $n ]; do
        path=$(readlink "$shelf/path$i"); mkdir -p "$path"; mount --move "$shelf/$i" "$path"; i=$((i + 1))
    done
done
umount "$shelf"
echo ready
exec sleep infinity
"""


def _closed_folders(paths: Sequence[Path]) -> list[str]:
    """The arguments of the script above."""
    groups: dict[Path, list[Path]] = {}
    for path in paths:
        if closed := closed_ancestor(path):
            groups.setdefault(closed, []).append(path)
    arguments: list[str] = []
    for closed, below in sorted(groups.items()):
        arguments += [str(closed), *map(str, below), "--"]
    return arguments


@contextlib.contextmanager
def ordinary_user(home: Path, checkout: Path, uid: int = ORDINARY_UID) -> Iterator[OrdinaryUser]:
    """An ordinary user while the context lasts; where we are not root, we ourselves.

    Args:
        home: an empty folder that becomes the home; made if need be. Folders above it are to be open to everybody.
        checkout: what the user must be able to read.
        uid: an id that no account has.
    """
    home.mkdir(exist_ok=True)
    if os.geteuid() != 0:
        yield OrdinaryUser(home, os.geteuid(), [])
        return
    os.chown(home, uid, uid)
    home.chmod(0o700)
    shelf = home.with_name(home.name + ".shelf")
    shelf.mkdir()
    arguments = [str(shelf), *_closed_folders(needed_paths(checkout))]
    with subprocess.Popen(
        ["unshare", "-m", "sh", "-ec", _SHOW, "holder", *arguments], stdout=subprocess.PIPE, text=True
    ) as holder:
        try:
            assert holder.stdout is not None
            if holder.stdout.readline().strip() != READY:
                raise AssertionError("the ordinary user's mount namespace could not be made")
            enter = ["nsenter", f"--mount=/proc/{holder.pid}/ns/mnt", "env", f"--chdir={home}"]
            drop = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "--inh-caps=-all"]
            yield OrdinaryUser(home, uid, [*enter, *drop])
        finally:
            holder.kill()
    shutil.rmtree(shelf)
