"""The commands `jaxkd distill`, `jaxkd tune` and `jaxkd report`.

They parse, open what is named, and call `jaxkd.distill`, `jaxkd.study.Study.tune` and
`jaxkd.study.StudyResults.report`. The commands `cache` and `export` are in the packages of these
names.
"""
