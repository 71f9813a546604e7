"""All tasks of a benchmark by one setting: fine-tune, judge, quantize, compare.

`settings` says what can be chosen, `plan` what is to be run on which data, `record` keeps what was
found, `runs` does the work, `table` shows it beside the published card.
"""
