"""The numbers of NFSv4: operations, attributes, flags (RFC 7531, RFC 5662, RFC 7863, RFC 8275, RFC 8276), and our limits of a COMPOUND."""

from __future__ import annotations

from enum import IntEnum

ILLEGAL = 10044
"""OP_ILLEGAL: how an operation that there is none of is answered (RFC 7530 16.14)."""


class Number(IntEnum):
    """nfs_opnum4."""

    ACCESS = 3
    CLOSE = 4
    COMMIT = 5
    CREATE = 6
    DELEGPURGE = 7
    DELEGRETURN = 8
    GETATTR = 9
    GETFH = 10
    LINK = 11
    LOCK = 12
    LOCKT = 13
    LOCKU = 14
    LOOKUP = 15
    LOOKUPP = 16
    NVERIFY = 17
    OPEN = 18
    OPENATTR = 19
    OPEN_CONFIRM = 20
    OPEN_DOWNGRADE = 21
    PUTFH = 22
    PUTPUBFH = 23
    PUTROOTFH = 24
    READ = 25
    READDIR = 26
    READLINK = 27
    REMOVE = 28
    RENAME = 29
    RENEW = 30
    RESTOREFH = 31
    SAVEFH = 32
    SECINFO = 33
    SETATTR = 34
    SETCLIENTID = 35
    SETCLIENTID_CONFIRM = 36
    VERIFY = 37
    WRITE = 38
    RELEASE_LOCKOWNER = 39
    BACKCHANNEL_CTL = 40
    BIND_CONN_TO_SESSION = 41
    EXCHANGE_ID = 42
    CREATE_SESSION = 43
    DESTROY_SESSION = 44
    FREE_STATEID = 45
    GET_DIR_DELEGATION = 46
    GETDEVICEINFO = 47
    GETDEVICELIST = 48
    LAYOUTCOMMIT = 49
    LAYOUTGET = 50
    LAYOUTRETURN = 51
    SECINFO_NO_NAME = 52
    SEQUENCE = 53
    SET_SSV = 54
    TEST_STATEID = 55
    WANT_DELEGATION = 56
    DESTROY_CLIENTID = 57
    RECLAIM_COMPLETE = 58
    ALLOCATE = 59
    COPY = 60
    COPY_NOTIFY = 61
    DEALLOCATE = 62
    IO_ADVISE = 63
    LAYOUTERROR = 64
    LAYOUTSTATS = 65
    OFFLOAD_CANCEL = 66
    OFFLOAD_STATUS = 67
    READ_PLUS = 68
    SEEK = 69
    WRITE_SAME = 70
    CLONE = 71
    GETXATTR = 72
    SETXATTR = 73
    LISTXATTRS = 74
    REMOVEXATTR = 75


LAST_OPERATION = (Number.RELEASE_LOCKOWNER, Number.RECLAIM_COMPLETE, Number.REMOVEXATTR)
"""The highest operation of each minor version; one beyond it is ILLEGAL there."""


class Attribute(IntEnum):
    """The bits of a bitmap4 of attributes (RFC 7530 5.6, RFC 8881 5.6, RFC 7862 12.2, RFC 8275 5, RFC 8276 8.2)."""

    SUPPORTED_ATTRS = 0
    TYPE = 1
    FH_EXPIRE_TYPE = 2
    CHANGE = 3
    SIZE = 4
    LINK_SUPPORT = 5
    SYMLINK_SUPPORT = 6
    NAMED_ATTR = 7
    FSID = 8
    UNIQUE_HANDLES = 9
    LEASE_TIME = 10
    RDATTR_ERROR = 11
    ACL = 12
    ACLSUPPORT = 13
    ARCHIVE = 14
    CANSETTIME = 15
    CASE_INSENSITIVE = 16
    CASE_PRESERVING = 17
    CHOWN_RESTRICTED = 18
    FILEHANDLE = 19
    FILEID = 20
    FILES_AVAIL = 21
    FILES_FREE = 22
    FILES_TOTAL = 23
    FS_LOCATIONS = 24
    HIDDEN = 25
    HOMOGENEOUS = 26
    MAXFILESIZE = 27
    MAXLINK = 28
    MAXNAME = 29
    MAXREAD = 30
    MAXWRITE = 31
    MIMETYPE = 32
    MODE = 33
    NO_TRUNC = 34
    NUMLINKS = 35
    OWNER = 36
    OWNER_GROUP = 37
    QUOTA_AVAIL_HARD = 38
    QUOTA_AVAIL_SOFT = 39
    QUOTA_USED = 40
    RAWDEV = 41
    SPACE_AVAIL = 42
    SPACE_FREE = 43
    SPACE_TOTAL = 44
    SPACE_USED = 45
    SYSTEM = 46
    TIME_ACCESS = 47
    TIME_ACCESS_SET = 48
    TIME_BACKUP = 49
    TIME_CREATE = 50
    TIME_DELTA = 51
    TIME_METADATA = 52
    TIME_MODIFY = 53
    TIME_MODIFY_SET = 54
    MOUNTED_ON_FILEID = 55
    DIR_NOTIF_DELAY = 56
    DIRENT_NOTIF_DELAY = 57
    DACL = 58
    SACL = 59
    CHANGE_POLICY = 60
    FS_STATUS = 61
    FS_LAYOUT_TYPES = 62
    LAYOUT_HINT = 63
    LAYOUT_TYPES = 64
    LAYOUT_BLKSIZE = 65
    LAYOUT_ALIGNMENT = 66
    FS_LOCATIONS_INFO = 67
    MDSTHRESHOLD = 68
    RETENTION_GET = 69
    RETENTION_SET = 70
    RETENTEVT_GET = 71
    RETENTEVT_SET = 72
    RETENTION_HOLD = 73
    MODE_SET_MASKED = 74
    SUPPATTR_EXCLCREAT = 75
    FS_CHARSET_CAP = 76
    CLONE_BLKSIZE = 77
    SPACE_FREED = 78
    CHANGE_ATTR_TYPE = 79
    SEC_LABEL = 80
    MODE_UMASK = 81
    XATTR_SUPPORT = 82


class FileType(IntEnum):
    """nfs_ftype4; up to FIFO they are those of labemu_store.file.types.FileKind."""

    REG = 1
    DIR = 2
    BLK = 3
    CHR = 4
    LNK = 5
    SOCK = 6
    FIFO = 7


class Access(IntEnum):
    """The bits of ACCESS (RFC 8881 18.1, RFC 8276 8.2)."""

    READ = 1
    LOOKUP = 2
    MODIFY = 4
    EXTEND = 8
    DELETE = 16
    EXECUTE = 32
    XAREAD = 64
    XAWRITE = 128
    XALIST = 256


class StableHow(IntEnum):
    """stable_how4."""

    UNSTABLE = 0
    DATA_SYNC = 1
    FILE_SYNC = 2


MAX_OPERATIONS = 128
"""Operations in a COMPOUND without a session: clients send below 20; pynfs fills one with 50."""

MAX_TAG = 1024
"""Bytes of a COMPOUND's tag; it is echoed, so it must not grow large. Clients send below 32."""

MAX_HANDLE = 128
"""NFS4_FHSIZE (RFC 7531); ours have 64 at most."""

MAX_OPAQUE = 1024
"""NFS4_OPAQUE_LIMIT (RFC 7531): bytes of owners and client identifiers."""

MAX_BITMAP = 64
"""Words of a bitmap4 that are read; attributes end in the third. A longer bitmap is BADXDR."""

MAX_FATTR = 65536
"""Bytes of the values of a fattr4 that are taken: an ACL of some hundred entries fits."""

MAX_ACES = 256
"""Entries of an ACL that are taken."""

MAX_XATTR = 65536
"""Bytes of an extended attribute's value: what Linux takes (XATTR_SIZE_MAX)."""
