"""A file store whose files are objects on a filesystem elsewhere (s3://, sftp://, any that fsspec opens).

Theory: clients see a tree in a folder of this machine, which is a local file store with all that it can do. A courier makes the far side
like that tree: it uploads files that changed, moves those that were renamed, removes those that are gone. What the far side has and the
folder has not is fetched when it is first read, by the megabyte. A ledger in the folder says how the two differ, so a kill loses nothing.

- `far`: the far side's files.
- `ledger`: what is there, and of which files bytes are still absent here.
- `courier`: makes the far side like the tree.
- `opening`: makes the tree like the far side, at the beginning.
- `store`: the file store.
"""

from labemu_store.file.bridge.opening import open_bridge
from labemu_store.file.bridge.store import BridgedFileStore

__all__ = ["BridgedFileStore", "open_bridge"]
