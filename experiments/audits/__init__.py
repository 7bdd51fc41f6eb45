"""Audits of any cache: what is asked, what is counted, the verdict; floors without a run.

What lives here puts questions and weighs answers; the play itself is that of `game`, so nothing here can
change what a claim measured.
"""
