"""Storage traffic: captured, put together again, decoded, and said whose it was.

What lives here, from the wire upwards; each part knows only those above it in this list:

- `record`: what a capture file holds (`Packet`, `Link`, `Annotation`); `files/` reads and writes pcap and pcapng as streams.
- `flows/`: Ethernet, IP and TCP headers, and TCP's bytes put back into their order.
- `protocols/`: iSCSI with SCSI, ONC RPC with MOUNT, NFSv3 and NFSv4: messages from bytes, and requests joined with their responses.
- `columns/`: reads and writes of a whole batch decoded together, many times as fast, for whoever only adds up.
- `command`: the result, one `Command` for each request that storage served.
- `naming`: which host, VM, datastore and disk an address, an initiator, a LUN or a path belongs to.
- `reader`: `read(url)`, the way in for Python programs. `reports/`: summaries and comparisons.
- `layers/`: the same protocols as scapy layers, to look at every field and to build packets. scapy is imported nowhere else.
- `views/`: ladder diagrams, waterfalls and plots. `capture/`: live links of a running lab.

Nothing here is in the path of the data: packets are copied by the kernel, decoded elsewhere, and a wrong decoder harms no one.
"""
