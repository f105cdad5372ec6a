"""NFSv4's operations, attributes and structures as rows of fields; `labctl.trace.layers.xdr` says how to read them.

Names are those of RFC 7531 (4.0), RFC 5662 (4.1), RFC 7863 (4.2) and RFC 8276 (extended attributes), without their prefixes.
"""

from __future__ import annotations

from typing import Final

from labctl.trace.protocols.rpc.nfs4_words import OPERATIONS, STABLE

ENUMS: Final = {
    "objtype": {
        1: "NF4REG", 2: "NF4DIR", 3: "NF4BLK", 4: "NF4CHR", 5: "NF4LNK", 6: "NF4SOCK", 7: "NF4FIFO", 8: "NF4ATTRDIR", 9: "NF4NAMEDATTR",
    },
    "locktype": {1: "READ_LT", 2: "WRITE_LT", 3: "READW_LT", 4: "WRITEW_LT"},
    "stable": dict(enumerate(STABLE)),
    "committed": dict(enumerate(STABLE)),
    "opentype": {0: "OPEN4_NOCREATE", 1: "OPEN4_CREATE"},
    "createmode": {0: "UNCHECKED4", 1: "GUARDED4", 2: "EXCLUSIVE4", 3: "EXCLUSIVE4_1"},
    "claim": {
        0: "CLAIM_NULL", 1: "CLAIM_PREVIOUS", 2: "CLAIM_DELEGATE_CUR", 3: "CLAIM_DELEGATE_PREV", 4: "CLAIM_FH", 5: "CLAIM_DELEG_CUR_FH",
        6: "CLAIM_DELEG_PREV_FH",
    },
    "delegation_type": {0: "OPEN_DELEGATE_NONE", 1: "OPEN_DELEGATE_READ", 2: "OPEN_DELEGATE_WRITE", 3: "OPEN_DELEGATE_NONE_EXT"},
    "state_protect": {0: "SP4_NONE", 1: "SP4_MACH_CRED", 2: "SP4_SSV"},
    "flavor": {0: "AUTH_NONE", 1: "AUTH_SYS", 6: "RPCSEC_GSS"},
    "content": {0: "NFS4_CONTENT_DATA", 1: "NFS4_CONTENT_HOLE"},
    "opnum": OPERATIONS,
    "how": {0: "SET_TO_SERVER_TIME4", 1: "SET_TO_CLIENT_TIME4"},
}  # fmt: skip
"""Words for values, by the field's name."""

STRUCTS: Final = {
    "nfsace4": "type:u flag:u access_mask:u who:s",
    "component4": "component:s",
    "fs_location4": "server:*component4 rootpath:*component4",
    "stateid4": "stateid:S",
    "channel_attrs4": "headerpadsize:u maxrequestsize:u maxresponsesize:u maxresponsesize_cached:u maxoperations:u maxrequests:u "
                      "rdma_ird:B",
    "callback_sec_parms4": (
        "flavor:u {flavor=1}stamp:u {flavor=1}machinename:s {flavor=1}uid:u {flavor=1}gid:u {flavor=1}gids:B "
        "{flavor=6}service:u {flavor=6}handle_from_server:o {flavor=6}handle_from_client:o"
    ),
    "nfs_impl_id4": "domain:s impl_name:s impl_date:T",
    "sec_oid4": "oid:o",
    "gsshandle4": "handle:o",
    "secinfo4": "flavor:u {flavor=6}oid:o {flavor=6}qop:u {flavor=6}service:u",
    "netloc4": "loctype:u {loctype=1|2}location:s {loctype=3}netid:s {loctype=3}addr:s",
    "layout4": "offset:h length:h iomode:u content_type:u body:o",
    "read_plus_content": "content:u offset:h {content=0}data:o {content=1}length:h",
    "entry4": "cookie:h entry_name:s attrs:F",
}  # fmt: skip
"""What rows name with `$`, `*` and `+`."""

_CHANNELS: Final = "fore:$channel_attrs4 back:$channel_attrs4"
_PROTECTED: Final = "{state_protect=1|2}must_enforce:B {state_protect=1|2}must_allow:B"
_OWNED: Final = "clientid:h owner:o"
_WRITTEN: Final = "callback_id:*stateid4 count:h committed:u writeverf:V"
_DENIED: Final = "{status=10010}offset:h {status=10010}length:h {status=10010}locktype:u {status=10010}clientid:h {status=10010}owner:o"

ARGUMENTS: Final = {
    "ACCESS": "access:u", "CLOSE": "seqid:u open_stateid:S", "COMMIT": "offset:h count:u",
    "CREATE": "objtype:u {objtype=5}linkdata:s {objtype=3|4}specdata1:u {objtype=3|4}specdata2:u objname:s createattrs:F",
    "DELEGPURGE": "clientid:h", "DELEGRETURN": "deleg_stateid:S", "GETATTR": "attr_request:B", "GETFH": "", "LINK": "newname:s",
    "LOCK": "locktype:u reclaim:b offset:h length:h new_lock_owner:b {new_lock_owner!=0}open_seqid:u {new_lock_owner!=0}open_stateid:S "
            "{new_lock_owner=0}lock_stateid:S lock_seqid:u {new_lock_owner!=0}clientid:h {new_lock_owner!=0}owner:o",
    "LOCKT": f"locktype:u offset:h length:h {_OWNED}", "LOCKU": "locktype:u seqid:u lock_stateid:S offset:h length:h",
    "LOOKUP": "objname:s", "LOOKUPP": "", "NVERIFY": "obj_attributes:F",
    "OPEN": f"seqid:u share_access:u share_deny:u {_OWNED} opentype:u {{opentype=1}}createmode:u "
            "{opentype=1,createmode=2|3}createverf:V {opentype=1,createmode!=2}createattrs:F claim:u {claim=1}delegate_type:u "
            "{claim=2|5}delegate_stateid:S {claim=0|2|3}file:s",
    "OPENATTR": "createdir:b", "OPEN_CONFIRM": "open_stateid:S seqid:u",
    "OPEN_DOWNGRADE": "open_stateid:S seqid:u share_access:u share_deny:u", "PUTFH": "object:o", "PUTPUBFH": "", "PUTROOTFH": "",
    "READ": "stateid:S offset:h count:u", "READDIR": "cookie:h cookieverf:V dircount:u maxcount:u attr_request:B", "READLINK": "",
    "REMOVE": "target:s", "RENAME": "oldname:s newname:s", "RENEW": "clientid:h", "RESTOREFH": "", "SAVEFH": "", "SECINFO": "objname:s",
    "SETATTR": "stateid:S obj_attributes:F", "SETCLIENTID": "verifier:V id:o cb_program:u netid:s addr:s callback_ident:u",
    "SETCLIENTID_CONFIRM": "clientid:h verifier:V", "VERIFY": "obj_attributes:F", "WRITE": "stateid:S offset:h stable:u data:o",
    "RELEASE_LOCKOWNER": _OWNED, "BACKCHANNEL_CTL": "cb_program:u sec_parms:*callback_sec_parms4",
    "BIND_CONN_TO_SESSION": "sessid:I dir:u use_conn_in_rdma_mode:b",
    "EXCHANGE_ID": f"verifier:V ownerid:o flags:u state_protect:u {_PROTECTED} {{state_protect=2}}hash_algs:*sec_oid4 "
                   "{state_protect=2}encr_algs:*sec_oid4 {state_protect=2}window:u {state_protect=2}num_gss_handles:u "
                   "client_impl_id:*nfs_impl_id4",
    "CREATE_SESSION": f"clientid:h sequence:u flags:u {_CHANNELS} cb_program:u sec_parms:*callback_sec_parms4",
    "DESTROY_SESSION": "sessionid:I", "FREE_STATEID": "stateid:S",
    "GET_DIR_DELEGATION": "signal_deleg_avail:b notification_types:B child_attr_delay:T dir_attr_delay:T child_attributes:B "
                          "dir_attributes:B",
    "GETDEVICEINFO": "device_id:I layout_type:u maxcount:u notify_types:B",
    "GETDEVICELIST": "layout_type:u maxdevices:u cookie:h cookieverf:V",
    "LAYOUTCOMMIT": "offset:h length:h reclaim:b stateid:S new_offset:b {new_offset!=0}last_write_offset:h time_changed:b "
                    "{time_changed!=0}time_modify:T update_type:u body:o",
    "LAYOUTGET": "signal_layout_avail:b layout_type:u iomode:u offset:h length:h minlength:h stateid:S maxcount:u",
    "LAYOUTRETURN": "reclaim:b layout_type:u iomode:u returntype:u {returntype=1}offset:h {returntype=1}length:h {returntype=1}stateid:S "
                    "{returntype=1}body:o",
    "SECINFO_NO_NAME": "style:u", "SEQUENCE": "sessionid:I sequenceid:u slotid:u highest_slotid:u cachethis:b", "SET_SSV": "ssv:o digest:o",
    "TEST_STATEID": "stateids:*stateid4", "DESTROY_CLIENTID": "clientid:h", "RECLAIM_COMPLETE": "one_fs:b",
    "ALLOCATE": "stateid:S offset:h length:h", "DEALLOCATE": "stateid:S offset:h length:h",
    "COPY": "src_stateid:S dst_stateid:S src_offset:h dst_offset:h count:h consecutive:b synchronous:b source_server:*netloc4",
    "COPY_NOTIFY": "src_stateid:S destination_server:$netloc4", "IO_ADVISE": "stateid:S offset:h count:h hints:B",
    "OFFLOAD_CANCEL": "stateid:S", "OFFLOAD_STATUS": "stateid:S", "READ_PLUS": "stateid:S offset:h count:u",
    "SEEK": "stateid:S offset:h what:u",
    "WRITE_SAME": "stateid:S stable:u offset:h block_size:h block_count:h reloff_blocknum:h block_num:u reloff_pattern:h pattern:o",
    "CLONE": "src_stateid:S dst_stateid:S src_offset:h dst_offset:h count:h", "GETXATTR": "xattr_name:s",
    "SETXATTR": "option:u xattr_name:s xattr_value:o", "LISTXATTRS": "cookie:h maxcount:u", "REMOVEXATTR": "xattr_name:s", "ILLEGAL": "",
}  # fmt: skip

RESULTS: Final = {
    "ACCESS": "supported:u access:u", "CLOSE": "open_stateid:S", "COMMIT": "writeverf:V", "CREATE": "cinfo:C attrset:B", "DELEGPURGE": "",
    "DELEGRETURN": "", "GETATTR": "obj_attributes:F", "GETFH": "object:o", "LINK": "cinfo:C", "LOCK": f"lock_stateid:S {_DENIED}",
    "LOCKT": _DENIED, "LOCKU": "lock_stateid:S", "LOOKUP": "", "LOOKUPP": "", "NVERIFY": "",
    "OPEN": "stateid:S cinfo:C rflags:u attrset:B delegation_type:u {delegation_type=1|2}delegate_stateid:S "
            "{delegation_type=1|2}recall:b {delegation_type=2}limitby:u {delegation_type=2,limitby=1}filesize:h "
            "{delegation_type=2,limitby=2}num_blocks:u {delegation_type=2,limitby=2}bytes_per_block:u "
            "{delegation_type=1|2}permissions:$nfsace4 {delegation_type=3}why:u {delegation_type=3,why=1|2}will_tell:b",
    "OPENATTR": "", "OPEN_CONFIRM": "open_stateid:S", "OPEN_DOWNGRADE": "open_stateid:S", "PUTFH": "", "PUTPUBFH": "", "PUTROOTFH": "",
    "READ": "eof:b data:o", "READLINK": "link:s", "REMOVE": "cinfo:C", "RENAME": "source_cinfo:C target_cinfo:C", "RENEW": "",
    "RESTOREFH": "", "SAVEFH": "", "SECINFO": "flavors:*secinfo4", "SETATTR": "attrsset:B",
    "SETCLIENTID": "clientid:h verifier:V {status=10017}netid:s {status=10017}addr:s", "SETCLIENTID_CONFIRM": "", "VERIFY": "",
    "WRITE": "count:u committed:u writeverf:V", "RELEASE_LOCKOWNER": "", "BACKCHANNEL_CTL": "",
    "BIND_CONN_TO_SESSION": "sessid:I dir:u use_conn_in_rdma_mode:b",
    "EXCHANGE_ID": f"clientid:h sequenceid:u flags:u state_protect:u {_PROTECTED} {{state_protect=2}}hash_alg:u "
                   "{state_protect=2}encr_alg:u {state_protect=2}ssv_len:u {state_protect=2}window:u {state_protect=2}handles:*gsshandle4 "
                   "so_minor_id:h so_major_id:o server_scope:o server_impl_id:*nfs_impl_id4",
    "CREATE_SESSION": f"sessionid:I sequence:u flags:u {_CHANNELS}", "DESTROY_SESSION": "", "FREE_STATEID": "",
    "GETDEVICEINFO": "layout_type:u body:o notification:B {status=10005}mincount:u",
    "LAYOUTCOMMIT": "size_changed:b {size_changed!=0}new_size:h", "LAYOUTGET": "return_on_close:b stateid:S layout:*layout4",
    "LAYOUTRETURN": "stateid_present:b {stateid_present!=0}stateid:S",
    "SECINFO_NO_NAME": "flavors:*secinfo4",
    "SEQUENCE": "sessionid:I sequenceid:u slotid:u highest_slotid:u target_highest_slotid:u status_flags:u", "SET_SSV": "digest:o",
    "TEST_STATEID": "status_codes:B", "DESTROY_CLIENTID": "", "RECLAIM_COMPLETE": "", "ALLOCATE": "", "DEALLOCATE": "",
    "COPY": f"{_WRITTEN} {{status=0|10094}}consecutive:b {{status=0|10094}}synchronous:b",
    "COPY_NOTIFY": "lease_time:T cnr_stateid:S source_server:*netloc4", "IO_ADVISE": "hints:B", "OFFLOAD_CANCEL": "",
    "OFFLOAD_STATUS": "count:h complete:B", "READ_PLUS": "eof:b contents:*read_plus_content", "SEEK": "eof:b offset:h",
    "WRITE_SAME": _WRITTEN, "CLONE": "", "GETXATTR": "xattr_value:o", "SETXATTR": "cinfo:C",
    "LISTXATTRS": "cookie:h names:*component4 eof:b", "REMOVEXATTR": "cinfo:C", "ILLEGAL": "",
    "READDIR": "cookieverf:V entries:+entry4 eof:b",
}  # fmt: skip

ATTRIBUTES: Final = {  # RFC 8881 5.8, RFC 7862 12.2, RFC 8275 5, RFC 8276 8.2
    0: ("supported_attrs", "value:B"), 1: ("type", "objtype:u"), 2: ("fh_expire_type", "value:u"), 3: ("change", "value:h"),
    4: ("size", "value:h"), 5: ("link_support", "value:b"), 6: ("symlink_support", "value:b"), 7: ("named_attr", "value:b"),
    8: ("fsid", "major:h minor:h"), 9: ("unique_handles", "value:b"), 10: ("lease_time", "value:u"), 11: ("rdattr_error", "value:u"),
    12: ("acl", "value:*nfsace4"), 13: ("aclsupport", "value:u"), 14: ("archive", "value:b"), 15: ("cansettime", "value:b"),
    16: ("case_insensitive", "value:b"), 17: ("case_preserving", "value:b"), 18: ("chown_restricted", "value:b"),
    19: ("filehandle", "value:o"), 20: ("fileid", "value:h"), 21: ("files_avail", "value:h"), 22: ("files_free", "value:h"),
    23: ("files_total", "value:h"), 24: ("fs_locations", "fs_root:*component4 locations:*fs_location4"), 25: ("hidden", "value:b"),
    26: ("homogeneous", "value:b"), 27: ("maxfilesize", "value:h"), 28: ("maxlink", "value:u"), 29: ("maxname", "value:u"),
    30: ("maxread", "value:h"), 31: ("maxwrite", "value:h"), 32: ("mimetype", "value:s"), 33: ("mode", "value:u"),
    34: ("no_trunc", "value:b"), 35: ("numlinks", "value:u"), 36: ("owner", "value:s"), 37: ("owner_group", "value:s"),
    38: ("quota_avail_hard", "value:h"), 39: ("quota_avail_soft", "value:h"), 40: ("quota_used", "value:h"),
    41: ("rawdev", "specdata1:u specdata2:u"), 42: ("space_avail", "value:h"), 43: ("space_free", "value:h"),
    44: ("space_total", "value:h"), 45: ("space_used", "value:h"), 46: ("system", "value:b"), 47: ("time_access", "value:T"),
    48: ("time_access_set", "how:u {how=1}value:T"), 49: ("time_backup", "value:T"), 50: ("time_create", "value:T"),
    51: ("time_delta", "value:T"), 52: ("time_metadata", "value:T"), 53: ("time_modify", "value:T"),
    54: ("time_modify_set", "how:u {how=1}value:T"), 55: ("mounted_on_fileid", "value:h"), 56: ("dir_notif_delay", "value:T"),
    57: ("dirent_notif_delay", "value:T"), 58: ("dacl", "flag:u value:*nfsace4"), 59: ("sacl", "flag:u value:*nfsace4"),
    60: ("change_policy", "major:h minor:h"), 62: ("fs_layout_types", "value:B"), 63: ("layout_hint", "layout_type:u body:o"),
    64: ("layout_types", "value:B"), 65: ("layout_blksize", "value:u"), 66: ("layout_alignment", "value:u"),
    73: ("retention_hold", "value:h"), 74: ("mode_set_masked", "mode:u mask:u"), 75: ("suppattr_exclcreat", "value:B"),
    76: ("fs_charset_cap", "value:u"), 77: ("clone_blksize", "value:u"), 78: ("space_freed", "value:h"),
    79: ("change_attr_type", "value:u"), 80: ("sec_label", "lfs:u pi:u data:o"), 81: ("mode_umask", "mode:u umask:u"),
    82: ("xattr_support", "value:b"),
}  # fmt: skip
"""The attributes that are read, by their number: name and row."""
