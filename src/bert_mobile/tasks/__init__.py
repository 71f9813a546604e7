"""What can be asked of BERT: a table of tasks, their data, metrics, reports and submission."""
