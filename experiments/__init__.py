"""Alice meets Bob: plays, audits, claims, their store and their figures.

- `game`: one play; all that can change a measurement, and nothing else.
- `audits`: what is asked of a cache, what is counted, and the verdict.
- `claims`: the claims, a folder a section of docs/theory.md.
- `judging`: what a claim is, and how its rows are judged.
- `engine`: blocks of work, their executors and their store.
- `drawing`: the style and the common panels of figures.
- `show`: the command, the screen and the report.
"""
