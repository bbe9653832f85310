"""A report of runs: one HTML page that needs nothing else, or Markdown for a pull request.

`content` and `beside` gather words and numbers, `figures` chooses the charts,
`pictures` draws them into bytes, `page` and `markdown` write; `report` is the way in.
"""
