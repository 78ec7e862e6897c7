"""What runs inside the peers' own virtual environment: each peer's real code on our workloads.

One file a peer, started as `python -m bench.peers.NAME`, that speaks `bench.child`.
Nothing here may import more than the standard library, `bench` and the peer.
"""
