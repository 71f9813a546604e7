"""What can be asked of BERT, as a table, and how well it is answered. No torch.

A task is a row (`task`) of the `table` (`glue_rows`, `other_rows`); `reading` finds its examples.
`predictions` tells what outputs mean, `metrics` and `spans` how good they are, `reports` where they
are wrong; `card_table` puts figures under the published card's, `submission` answers into the zip
of the GLUE server. Metrics need the extra `[evaluate]`.
"""
