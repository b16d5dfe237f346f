"""The docs as a site: pages made of the code, files of this repository that pages link to, and what is checked of it all.

`hook` is what MkDocs calls; everything else is pure but for reading files of this repository.
"""
