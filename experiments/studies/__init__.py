"""Studies: one question each, answered by a table and a picture. ``experiments.study_command`` names them."""
