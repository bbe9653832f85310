"""Charts of a run: HoloViews objects, and what they draw as plain Datasets.

``*data`` modules prepare Datasets and import no chart library; the modules named
after a chart assemble pictures from them, of parts that stand in `grammar`: there
`style` holds every colour and `caption` every word that explains a mark.
"""
