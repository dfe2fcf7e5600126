"""What happened, as records: one JSON Lines schema that the views, the reports, the tests and a bug report all read."""
