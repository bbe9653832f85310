"""Charts of a run: HoloViews objects, and what they draw as plain Datasets.

``*_data`` modules prepare Datasets and import no chart library; the modules
named after a chart assemble pictures from them; `style` holds every colour and
`caption` every word that explains a mark.
"""
