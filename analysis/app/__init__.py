"""The app that ``actrace serve`` opens in a browser: all runs of a folder, to look at.

`view` is what is shown, as it stands in the URL; `folder` the runs there are;
`*_page` modules make a page each of both; `session` ties them to a browser's tab,
and `server` to a port. The only part that imports Panel; draws with `charts` and
computes nothing itself.
"""
