"""From packets to the bytes that TCP's users sent, in their order.

- `headers`: link, VLAN, IP and TCP headers of a whole batch, by the column.
- `stream`: one direction of a connection: which bytes come next, and what to do with those that come early, twice or never.
"""
