"""Finished runs written anew: `compact` into fewer files, `thin` into fewer bytes.

`rewrite` writes a run after a plan and puts it in its place; `compact` and `thin`
make plans, `keeping` says what a thinning keeps, `marks` what a run says of it,
`guard` keeps a reader from taking what was thinned for counts, and `report` says
what was done.
"""
