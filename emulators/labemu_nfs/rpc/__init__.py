"""ONC RPC version 2 (RFC 5531): record marking, messages, credentials, the duplicate request cache, dispatch."""
