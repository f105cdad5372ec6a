"""Decoding by the column: where a connection's messages of a whole batch are of the usual kind, they are decoded together.

Usual is: every segment there and in its order, every message a read, a write or what carries them, and no rule broken. A lane looks
at a connection's share of a batch without changing anything, says whether it can take all of it, and if so takes the connection from
the state before to the state after, just as its decoder would have done message by message (tests hold both to the same results).
Anything else is the decoder's, so that only one place knows what is to be said of it.

`direction` has the bytes of one side, `walk` cuts them into messages, `iscsi` and `nfs3` are lanes, `lanes` chooses, `plain` is what
comes out.
"""
