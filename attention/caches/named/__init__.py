"""Which cache a name stands for.

`registry` lists those that come along, `installed` finds those that other packages announce, `specs` reads
``name:parameter=value,...`` and ``package.module:factory``. A new family adds itself to `registry`, and nothing else
has to know of it.
"""
