"""Hosts: whatever holds a cache and can be played against, one kind a module.

- `host`: what a host must do; no framework.
- `numpy_caches`: caches of `kvfloor.attention.caches.base.Cache`, ours and anybody's.
- `transformers`: caches of the transformers library and presses of kvpress, inside of a model.
- `llamacpp`: llama.cpp's own cache, inside of a model.
- `isolated`: any host, each party of it in a fresh process.
- `names`: which kind of host a name on the command line asks for.
"""
